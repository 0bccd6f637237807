"""The options of one technique and its data, as ``--module NAME --help`` shows them; nothing heavy is imported."""

import argparse
import re
import shutil
from collections.abc import Iterable, Sequence

from zoo.cli.options import Option, Signature, signature
from zoo.registry import DATA, DATA_TO_MODEL_ARGS, MODULES, Technique, short_name

_TYPES = {"int": "INT", "float": "NUMBER", "bool": "true|false", "str": "TEXT", "Spec": "SPEC", "OptimSpec": "SPEC"}
_OF_EVERY_RUN = {
    "--data NAME": "Data, by name, import path, or the path of your own; options below. Names: {names}.",
    "--trainer.max_epochs INT": "Length of training, in epochs; --trainer.max_steps in batches.",
    "--trainer.accelerator NAME": "Device: cpu, gpu ... [auto]",
    "--trainer.default_root_dir DIR": "Folder of the runs. [runs]",
    "--seed_everything INT": "Seed of everything random. [0]",
    "--ckpt_path FILE": "Checkpoint to go on from, or to test or predict with.",
    "--config FILE": "YAML file of options, such as a run's config.yaml.",
}


class _Parser(argparse.ArgumentParser):
    """Writes help between 80 and 120 columns wide."""

    def _get_formatter(self) -> argparse.HelpFormatter:
        width = min(120, max(80, shutil.get_terminal_size((120, 24)).columns))
        return argparse.RawDescriptionHelpFormatter(self.prog, max_help_position=36, width=width)


def option_help(prog: str, command: str, model: str, data: str) -> str:
    """The options of one module, its own callbacks, and one datamodule.

    Args:
        prog: Name of the program, as the user typed it.
        command: Subcommand, "fit" or another.
        model: Import path of the module.
        data: Import path of the datamodule.
    """
    module = signature(model)
    technique = technique_of(module)
    name = short_name(model, MODULES) if model in {entry.path for entry in MODULES.values()} else model
    call = f"{prog} --module {name}" if command == "fit" else f"{prog} {command} --module {name}"
    parser = _Parser(prog, f"{call} [--data NAME] [options]", module.summary, add_help=False, allow_abbrev=False)
    parser.description = f"{module.summary}\n\nexamples:\n" + "\n".join(
        f"  {call} {words}".rstrip() for words in _examples(command, technique)
    )
    usual = [option for option in (technique.usual if technique else ()) if option in module.options]
    own = [option for option in module.options if option not in (*usual, *DATA_TO_MODEL_ARGS)]
    _add(parser, "usual options", "module", (module.options[option] for option in usual))
    _add_common(parser)
    _add(parser, "further options", "module", (module.options[option] for option in own))
    for group, path in (technique.callbacks if technique else {}).items():
        _add(parser, f"figures and results of {name}", group, signature(path).options.values())
    said = signature(data)
    _add(parser, f"data, {short_name(data, DATA)}: {said.summary.rstrip('.')}", "data", said.options.values())
    parser.epilog = _epilog(prog, module)
    return parser.format_help()


def technique_of(module: Signature) -> Technique | None:
    """The registry's entry of a class, or of the nearest one that it inherits from."""
    entries = {entry.path: entry for entry in MODULES.values()}
    return next((entries[path] for path in module.bases if path in entries), None)


def _examples(command: str, technique: Technique | None) -> Sequence[str]:
    if command == "fit":
        return technique.examples if technique else [""]
    name, data = ("NAME", "DATA") if technique is None else (short_name(technique.path, MODULES), technique.data)
    return [f"--ckpt_path runs/{name}-{data}/1/checkpoints/best.ckpt"]


def _add_common(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("of every run")
    for words, text in _OF_EVERY_RUN.items():
        option, _, metavar = words.partition(" ")
        group.add_argument(option, metavar=metavar, help=text.format(names=", ".join(DATA)))


def _add(parser: argparse.ArgumentParser, title: str, owner: str, options: Iterable[Option]) -> None:
    group = parser.add_argument_group(title)
    for option in options:
        default = "required" if option.default is None else _shown(option.default)
        text = re.sub(r"\bNone\b", "null", option.text.replace("``", "")).replace("%", "%%")
        group.add_argument(f"--{owner}.{option.name}", metavar=metavar(option), help=f"{text} [{default}]")


def metavar(option: Option) -> str:
    """An option's type, as help shows it: "INT", "a|b", "SPEC" ..."""
    if option.choices and " | " not in option.type:
        return "|".join(option.choices)
    kinds = [kind for kind in option.type.split(" | ") if kind not in ("None", "nn.Module")]
    words = [
        _TYPES.get(kind) or ("{...}" if kind.lower().startswith(("dict", "mapping")) else "[...]") for kind in kinds
    ]
    return "|".join(
        "|".join(option.choices) if kind.startswith("Literal") else word
        for kind, word in zip(kinds, words, strict=True)
    )


def _shown(default: str) -> str:
    if default.startswith("{"):
        return default.replace("'", "")  # as YAML has it
    return {"None": "null", "True": "true", "False": "false", "''": '""'}.get(default, default.strip("'"))


def _epilog(prog: str, module: Signature) -> str:
    given = [name for name in DATA_TO_MODEL_ARGS if name in module.options]
    told = f"Given to the module by the data: {', '.join(given)}.\n" if given else ""
    specs = "SPEC is a name, or a mapping such as '{name: mlp, widths: [512, 256]}'.\n"
    return f"{told}{specs}More: {prog} fit --help (trainer, checkpoints, figures of every technique), docs/techniques/."
