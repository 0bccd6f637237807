"""The command line: short names are spelled out, the rest is Lightning's CLI (``zoo.cli.lightning``).

Nothing heavy is imported here, so that help and mistakes are answered at once.
"""

import difflib
import importlib
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from zoo.registry import DATA, FORMATS, MODULES, REPORT

SUBCOMMANDS = ("fit", "validate", "test", "predict")
# What the data say to the module, where they know it and it asks.
LINKED = ("input_shape", "num_classes", "class_names", "task", "vocab_size", "vocabulary", "normalisation")

USAGE = """\
Pretraining techniques, each with data it is first tried on:

  {prog} list                                      modules and data, a line each
  {prog} --module autoencoder                      train with all defaults; results go to runs/
  {prog} --module autoencoder --data mnist         on other data
  {prog} --module autoencoder --help               the module's and the data's options
  {prog} --module autoencoder --module.latent_dim 8 --data.batch_size 64 --trainer.max_epochs 5
  {prog} report RUN [RUN ...] [--out FILE.html]    runs side by side on one page
  {prog} export PATH --format {formats} [--out FILE]
                                                   an encoder, or a checkpoint's, for other tools

The Lightning CLI, with YAML files and any class by its import path:

  {prog} fit|validate|test|predict --help
  {prog} fit --config FILE.yaml [--ckpt_path FILE.ckpt]
  {prog} test --module autoencoder --ckpt_path runs/autoencoder-digits/1/checkpoints/best.ckpt

modules: {modules}
data:    {data}
"""


class UsageError(Exception):
    """A mistake in the command line; its text is the one line to show."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint at the most similar name, or nothing where none is similar."""
    match = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {match[0]!r}?)" if match else ""


def resolve(name: str, table: dict[str, Any], kind: str) -> str:
    """A short name, with - or _, to its import path; import paths and configurations pass through.

    Raises:
        UsageError: neither; it proposes the nearest name and lists all.
    """
    plain = name.replace("-", "_")
    if plain in table:
        return table[plain].path
    if "." in name or name.startswith("{") or name[:1].isupper():  # import path, JSON, or class of an imported module
        return name
    raise UsageError(f"unknown {kind} {name!r}{nearest(plain, table)}; there are: {', '.join(table)}")


def _take(arguments: list[str], option: str) -> str | None:
    """Remove every ``option VALUE`` and ``option=VALUE``; the last value counts."""
    value = None
    while found := next((a for a in arguments if a == option or a.startswith(option + "=")), None):
        place = arguments.index(found)
        if "=" in found:
            value = found.partition("=")[2]
        elif place + 1 < len(arguments):
            value = arguments.pop(place + 1)
        else:
            raise UsageError(f"{option} needs a value")
        del arguments[place]
    return value


def _value(arguments: Sequence[str], option: str) -> str | None:
    return _take(list(arguments), option)


def expand_argv(argv: Sequence[str], checkpoint: dict[str, Any] | None = None) -> list[str]:
    """Spell the short forms out for Lightning's CLI; what is there in full is left as it is.

    ``--module NAME`` becomes ``fit --model=PATH --data=PATH``, defaults first, so that later options win;
    ``--module.x`` becomes ``--model.x``; ``--model`` and ``--data`` may be short names. Of a checkpoint,
    its hyperparameters take the place of the module's defaults.

    Args:
        argv: without the program's name.
        checkpoint: what ``--ckpt_path`` holds, if it is given.

    Raises:
        UsageError: an unknown name, a missing value, or a checkpoint of another module.
    """
    arguments = [a.replace("--module.", "--model.", 1) if a.startswith("--module.") else a for a in argv]
    command = [arguments.pop(0)] if arguments and arguments[0] in SUBCOMMANDS else []
    module = _take(arguments, "--module")
    model = _take(arguments, "--model")
    data = _take(arguments, "--data")
    defaults, special = [], []
    if module:
        path = resolve(module, MODULES, "module")
        technique = next((t for t in MODULES.values() if t.path == path), None)
        command = command or ["fit"]
        model = model or path
        if data is None and technique and not _value(arguments, "--config"):
            data, special = technique.data, list(technique.options)
        told = any(a.startswith(("--config", "--trainer.max_")) for a in arguments)
        if command == ["fit"] and data and not told:
            defaults.append(f"--trainer.{(technique and technique.length) or _length(data)}")
    saved: list[str] = []
    if checkpoint is not None:
        saved = _from_checkpoint(checkpoint, resolve(model, MODULES, "module") if model else None)
    elif model:
        defaults.append(f"--model={resolve(model, MODULES, 'module')}")
    if data:
        defaults += [f"--data={resolve(data, DATA, 'data')}", *special]
    if model:
        return [*command, *_configs_first([*saved, *defaults], arguments)]
    return [*command, *saved, *_configs_first(defaults, arguments)]  # what a file says wins over the checkpoint


def _length(data: str) -> str:
    source = DATA.get(data.replace("-", "_"))
    return source.length if source else "max_epochs=20"


def _configs_first(defaults: list[str], arguments: list[str]) -> list[str]:
    """A class named on the command line must come after a configuration file, or the file's would win."""
    place = 0
    for i, argument in enumerate(arguments):
        if argument == "--config":
            place = i + 2
        elif argument.startswith("--config="):
            place = i + 1
    return [*arguments[:place], *defaults, *arguments[place:]]


def _from_checkpoint(checkpoint: dict[str, Any], wanted: str | None) -> list[str]:
    classes = checkpoint.get("zoo", {}).get("classes", [])
    if not classes:
        return [f"--model={wanted}"] if wanted else []
    if wanted and wanted not in classes and "." in wanted and not wanted.startswith("{"):
        theirs, ours = (path.rpartition(".")[2] for path in (classes[0], wanted))
        raise UsageError(f"the checkpoint is of {theirs}, not of {ours}")
    plain = {k: v for k, v in checkpoint.get("hyper_parameters", {}).items() if k not in LINKED and k[0] != "_"}
    return ["--model=" + json.dumps({"class_path": wanted or classes[0], "init_args": plain})]


def listing() -> str:
    """The table of ``list``."""
    rows = ["modules (--module NAME)"]
    rows += [f"  {name:<14} {entry.summary}; first tried on {entry.data}" for name, entry in MODULES.items()]
    rows += ["data (--data NAME)"]
    rows += [f"  {name:<14} {entry.summary}" for name, entry in DATA.items()]
    return "\n".join(rows)


def _options_of(argv: Sequence[str]) -> tuple[str, str]:
    """Import paths of the module and the data whose options ``--module NAME --help`` shows."""
    module = _value(argv, "--module") or ""
    path = resolve(module, MODULES, "module")
    technique = next((t for t in MODULES.values() if t.path == path), None)
    data = _value(argv, "--data") or (technique.data if technique else "digits")
    return path, resolve(data, DATA, "data")


def _check_command(argv: Sequence[str]) -> None:
    first, known = argv[0], ["list", "report", "export", *SUBCOMMANDS]
    if not first.startswith("-") and first not in known:
        raise UsageError(f"{first!r} is no command{nearest(first, known)}; there are: {', '.join(known)}")
    if not set(argv) & set(SUBCOMMANDS) and _value(argv, "--module") is None:
        raise UsageError(f"say which technique, --module NAME ({', '.join(MODULES)}), or see --help")


def report(argv: Sequence[str]) -> str:
    """The line that ``report RUN...`` prints, once the page is written.

    Raises:
        UsageError: no run, or an option that there is not.
        FileNotFoundError: a folder is not that of a run.
    """
    folders = list(argv)
    out = _take(folders, "--out")
    if mistyped := [a for a in folders if a.startswith("-")]:
        raise UsageError(f"unknown option {mistyped[0]!r}{nearest(mistyped[0], ['--out'])}")
    if not folders:
        raise UsageError("say which runs: report runs/autoencoder-digits/1 [more ...] [--out FILE.html]")
    module, _, name = REPORT.rpartition(".")
    return f"open in a browser: {getattr(importlib.import_module(module), name)(folders, out)}"


def export(argv: Sequence[str]) -> str:
    """The line that ``export PATH`` prints, once the file is written.

    Raises:
        UsageError: no path, or an option or a format that there is not.
        FileNotFoundError, ValueError: nothing there to export, or not in this format.
    """
    paths = list(argv)
    form, out = _take(paths, "--format") or "onnx", _take(paths, "--out")
    if mistyped := [a for a in paths if a.startswith("-")]:
        raise UsageError(f"unknown option {mistyped[0]!r}{nearest(mistyped[0], ['--format', '--out'])}")
    if form not in FORMATS:
        raise UsageError(f"unknown format {form!r}{nearest(form, FORMATS)}; there are: {', '.join(FORMATS)}")
    if len(paths) != 1:
        raise UsageError("say what to export: an encoder's folder or a checkpoint")
    from zoo.io.convert import export as write

    return f"written: {write(paths[0], form, out)}"


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command line; the exit status is 2 for a mistake in it and 1 for any other failure."""
    argv = list(sys.argv[1:] if argv is None else argv)
    prog = "zoo" if Path(sys.argv[0]).stem == "zoo" else "python train.py"
    if not argv or argv[0] in ("-h", "--help"):
        print(
            USAGE.format(prog=prog, formats="|".join(FORMATS), modules=", ".join(MODULES), data=", ".join(DATA)), end=""
        )
        return
    if argv[0] == "list":
        print(listing())
        return
    try:
        if argv[0] in ("report", "export"):
            print({"report": report, "export": export}[argv[0]](argv[1:]))
            return
        _check_command(argv)
        if _value(argv, "--module") and {"-h", "--help"} & set(argv):
            paths = _options_of(argv)
            from zoo.cli.lightning import print_options

            print_options(prog, *paths)
            return
        expand_argv(argv)  # mistakes are told before anything slow happens
        ckpt_path = _value(argv, "--ckpt_path")
        checkpoint = None
        if ckpt_path not in (None, "last", "best", "hpc", "registry") and "://" not in str(ckpt_path):
            from zoo.core.checkpoint import read_checkpoint

            checkpoint = read_checkpoint(str(ckpt_path))
        arguments = expand_argv(argv, checkpoint)
    except (UsageError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    from zoo.cli.lightning import run

    run(arguments, prog)
