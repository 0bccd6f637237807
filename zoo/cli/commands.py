"""The usage text, and the commands that train nothing: ``list``, ``report`` and ``export``."""

from collections.abc import Callable, Sequence

from zoo.cli.compare import compare
from zoo.cli.shorthand import UsageError, load, take
from zoo.core.suggest import did_you_mean
from zoo.registry import DATA, FORMATS, MODULES, REPORT

_USAGE = """\
Pretraining techniques, each with data it is first tried on:

  {prog} list                                      modules and data, a line each
  {prog} --module {first}                      train with all defaults; results go to runs/
  {prog} --module {first} --data mnist         on other data
  {prog} --module {first} --help               the module's and the data's options
  {prog} --module {first} --module.lr 0.01 --data.batch_size 64 --trainer.max_epochs 5
  {prog} compare --data mnist --labels 1,10,100    did pretraining pay? several techniques against none
  {prog} report RUN [RUN ...] [--out FILE.html]    runs side by side on one page
  {prog} export PATH --format {formats} [--out FILE]
                                                   an encoder, or a checkpoint's, for other tools

The Lightning CLI, with YAML files and any class by its import path:

  {prog} fit|validate|test|predict --help
  {prog} fit --config FILE.yaml [--ckpt_path FILE.ckpt]
  {prog} test --module {first} --ckpt_path {run}/checkpoints/best.ckpt

modules: {modules}
data:    {data}"""


def example_run() -> str:
    """The folder of the first run of the registry's first technique, for examples in messages."""
    name = next(iter(MODULES))
    return f"runs/{name}-{MODULES[name].data}/1"


def usage(prog: str) -> str:
    """What ``--help`` prints.

    Args:
        prog: Name of the program, as the user typed it.
    """
    return _USAGE.format(
        prog=prog,
        first=next(iter(MODULES)),
        run=example_run(),
        formats="|".join(FORMATS),
        modules=", ".join(MODULES),
        data=", ".join(DATA),
    )


_COMMAND_USAGE = {
    "compare": """\
usage: {prog} compare [--data NAME|DIR] [--data.x VALUE] [--modules A,B] [--labels 1,10,100] [--budget 3m] [options]

Did pretraining pay? Techniques within equal budgets, fine-tuned on few labels, against what needs no pretraining. The
same command goes on where it was stopped; more techniques, labels and seeds are added to what is there.

  --data NAME|DIR        data, or a folder of images; --data.root and so on are their options
  --modules A,B          techniques, such as {first} or {first}:lr=0.01; import paths of one's own classes; folders of
                         exported encoders; torchvision:NAME or timm:NAME with their weights
  --labels 1,10,100      labels a class
  --seeds 5              labels, heads and orders, each the same for all that compare; fewer than 3 give no verdict
  --pretrainings N       pretrainings of each technique, in place of one for each seed
  --budget 3m            time of each pretraining, turned into steps by measuring: 45s, 3m, 1h
  --steps N              steps of each pretraining in place of a time
  --tuning_steps 600     steps of each fine-tuning
  --network NAME         trunk of all techniques that take one; by default each has its own
  --worth 1              smallest gain worth having, in points
  --jobs 1               processes at once
  --precision 32-true    precision of all trainings
  --out compared         folder: report.html, table.md, table.csv, verdict.json, cells.csv, plan.json
  --dry_run              only print the plan, and how long it takes""",
    "list": "usage: {prog} list\n\nTechniques and data, a line each.",
    "report": """\
usage: {prog} report RUN [RUN ...] [--out FILE.html]

Runs side by side on one page.

  RUN              folder of a run, such as {run}
  --out FILE.html  page to write; by default beside the runs""",
    "export": """\
usage: {prog} export PATH [--format {formats}] [--out FILE]

An encoder, or a checkpoint's with its classifier, for other tools.

  PATH           folder of an encoder, {run}/encoder, or a checkpoint, {run}/checkpoints/best.ckpt
  --format NAME  encoder: a folder that load_encoder reads; onnx (the default): for any runtime, what it needs to know
                 in its metadata; state: weights in the layout of torchvision or timm
  --out FILE     file to write; by default beside PATH""",
}


def command_usage(prog: str, command: str) -> str:
    """What ``--help`` prints after a command that trains nothing."""
    values = {"run": example_run(), "formats": "|".join(FORMATS), "first": next(iter(MODULES))}
    return _COMMAND_USAGE[command].format(prog=prog, **values)


def version() -> str:
    """The installed version."""
    return str(load("zoo.__version__"))


def listing(argv: Sequence[str] = ()) -> str:
    """The table that ``list`` prints."""
    rows = ["modules (--module NAME)"]
    rows += [f"  {name:<14} {entry.summary}; first tried on {entry.data}" for name, entry in MODULES.items()]
    rows += ["data (--data NAME)"]
    rows += [f"  {name:<14} {entry.summary}" for name, entry in DATA.items()]
    return "\n".join(rows)


def report(argv: Sequence[str]) -> str:
    """What ``report RUN...`` prints once the page is written: the answer, and the page's path.

    Raises:
        UsageError: no run, or an unknown option.
        FileNotFoundError: a folder is not that of a run.
    """
    folders = list(argv)
    out = take(folders, "--out")
    _refuse_options(folders, ["--out"])
    if not folders:
        raise UsageError(f"say which runs: report {example_run()} [more ...] [--out FILE.html]")
    return str(load(REPORT)(folders, out))


def export(argv: Sequence[str]) -> str:
    """The line that ``export PATH`` prints, once the file is written.

    Raises:
        UsageError: no path, or an unknown option or format.
        FileNotFoundError, ValueError: nothing to export, or not in this format.
    """
    paths = list(argv)
    form, out = take(paths, "--format") or "onnx", take(paths, "--out")
    _refuse_options(paths, ["--format", "--out"])
    if form not in FORMATS:
        raise UsageError(f"unknown format {form!r}{did_you_mean(form, FORMATS)}; there are: {', '.join(FORMATS)}")
    if len(paths) != 1:
        raise UsageError("say what to export: an encoder's folder or a checkpoint")
    from zoo.io.convert import export as write

    return f"written: {write(paths[0], form, out)}"


def _refuse_options(words: Sequence[str], known: Sequence[str]) -> None:
    if mistyped := [word for word in words if word.startswith("-")]:
        raise UsageError(f"unknown option {mistyped[0]!r}{did_you_mean(mistyped[0], known)}")


COMMANDS: dict[str, Callable[[Sequence[str]], str]] = {
    "list": listing,
    "compare": compare,
    "report": report,
    "export": export,
}
