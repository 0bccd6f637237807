"""Short forms spelled out for Lightning's CLI. Nothing heavy is imported here."""

import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from zoo.cli.alike import image_options
from zoo.cli.options import signature
from zoo.core.imports import load
from zoo.core.suggest import did_you_mean
from zoo.registry import DATA, DATA_TO_MODEL_ARGS, MODULES, Technique

SUBCOMMANDS = ("fit", "validate", "test", "predict")


class UsageError(Exception):
    """A usage error; its text is the one line to show."""


def given(arguments: Sequence[str]) -> Iterator[tuple[int, str, str]]:
    """Options with values: the index of the value's argument, the option and the value."""
    for i, argument in enumerate(arguments):
        option, equals, value = argument.partition("=")
        if option.startswith("-") and equals:
            yield i, option, value
        elif option.startswith("-") and i + 1 < len(arguments):
            yield i + 1, option, arguments[i + 1]


def resolve(name: str, table: dict[str, Any], kind: str) -> str:
    """A short name, with - or _, to its import path; import paths and configurations pass through.

    Raises:
        UsageError: neither; it proposes the nearest name and lists all.
    """
    plain = name.replace("-", "_")
    by_class = {entry.path.rpartition(".")[2]: known for known, entry in table.items()}
    plain = plain if plain in table else by_class.get(name, plain.lower())
    if plain in table:
        return table[plain].path
    imported = name[:1].isupper() and "torch" in sys.modules  # a class of the script that calls this
    if "." in name or name.startswith("{") or imported:
        return name
    for known, entry in table.items():
        for option in signature(entry.path).options.values():
            if name in option.choices:
                raise UsageError(f"{name!r} is --{kind} {known} --{kind}.{option.name} {name}")
    raise UsageError(
        f"unknown {kind} {name!r}{did_you_mean(plain, [*table, *by_class])}; there are: {', '.join(table)}"
    )


def take(arguments: list[str], option: str) -> str | None:
    """Remove every ``option VALUE`` and ``option=VALUE``; the last value counts.

    Raises:
        UsageError: there is no value.
    """
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


def option_value(arguments: Sequence[str], option: str) -> str | None:
    """The last value of an option, ``option VALUE`` or ``option=VALUE``; None where it is not given."""
    return take(list(arguments), option)


def expand_argv(argv: Sequence[str], checkpoint: dict[str, Any] | None = None) -> list[str]:
    """Spell the short forms out for Lightning's CLI; what is there in full is left as it is.

    ``--module NAME`` becomes ``fit --model=PATH --data=PATH``, defaults first, so that later options win;
    ``--module.x`` becomes ``--model.x``; ``--model`` and ``--data`` may be short names. Of a checkpoint,
    its hyperparameters take the place of the module's defaults.

    Args:
        argv: Arguments without the program's name.
        checkpoint: Contents of the file of ``--ckpt_path``, if it is given.

    Raises:
        UsageError: an unknown name, a missing value, or a checkpoint of another module.
    """
    arguments = [a.replace("--module.", "--model.", 1) if a.startswith("--module.") else a for a in argv]
    command = [arguments.pop(0)] if arguments and arguments[0] in SUBCOMMANDS else []
    module = take(arguments, "--module")
    model = take(arguments, "--model")
    data = take(arguments, "--data")
    defaults, special = [], []
    technique = _technique(resolve(module or model or "", MODULES, "module")) if module or model else None
    if data and (found := data_at(data, technique.data if technique else "")):
        data, special = found[0], [found[1]]
    if module:
        path = resolve(module, MODULES, "module")
        command = command or ["fit"]
        model = model or path
        if data is None and technique and not option_value(arguments, "--config"):
            data, special = technique.data, list(technique.default_data_args)
        told = _has_config(arguments) or any(a.startswith("--trainer.max_") for a in arguments)
        budget = _default_budget(technique, (data or "").replace("-", "_"))
        if command == ["fit"] and budget and not told:
            defaults.append(f"--trainer.{budget}")
    saved: list[str] = []
    if checkpoint is not None:
        saved = _from_checkpoint(checkpoint, resolve(model, MODULES, "module") if model else None)
    elif model:
        defaults.append(f"--model={resolve(model, MODULES, 'module')}")
    if data:
        path = resolve(data, DATA, "data")
        alike = image_options(path, checkpoint) if checkpoint and not _has_config(arguments) else []
        defaults += [f"--data={path}", *alike, *special]
    if model:
        return [*command, *_configs_first([*saved, *defaults], arguments)]
    return [*command, *saved, *_configs_first(defaults, arguments)]  # a file takes precedence over the checkpoint


def _has_config(arguments: Sequence[str]) -> bool:
    return any(option in ("--config", "-c") for _, option, _ in given(arguments))


def _technique(path: str) -> Technique | None:
    return next((entry for entry in MODULES.values() if entry.path == path), None)


def short_path(text: str) -> bool:
    """Whether a text can only be meant as a path: by its slash, its first sign, or an ending of some data."""
    endings = {ending for source in DATA.values() for ending in source.endings}
    return "/" in text or text.startswith((".", "~")) or Path(text).suffix.lower() in endings


def data_at(text: str, preferred: str) -> tuple[str, str] | None:
    """The data that read a file or folder, by name, and the option that says where it is.

    Args:
        text: Value of ``--data``.
        preferred: Name of the technique's own data, which come first where several fit.

    Returns:
        None where the text is no path.

    Raises:
        UsageError: there is no such file or folder, or nothing in it that can be read.
    """
    path = Path(text).expanduser()
    if text.replace("-", "_") in DATA or text.startswith("{") or path.suffix in (".yaml", ".yml", ".json"):
        return None
    if not path.exists():
        if short_path(text):
            raise UsageError(f"--data: no file or folder {text!r}")
        return None
    files = itertools.islice(path.rglob("*"), 1000) if path.is_dir() else [path]
    endings = {ending.lower() for file in files for ending in file.suffixes[-2:]}
    readers = {name: source for name, source in DATA.items() if source.folders or (source.endings and path.is_file())}
    fitting = [name for name, source in readers.items() if endings & set(source.endings)]
    if preferred in readers and (preferred in fitting or not fitting):
        fitting = [preferred]
    if not fitting:
        kinds = ", ".join(f"{name} ({' '.join(source.endings)})" for name, source in readers.items())
        raise UsageError(f"--data: nothing in {text!r} can be read; there are: {kinds}")
    return fitting[0], f"--data.{DATA[fitting[0]].path_option}={text}"


def _default_budget(technique: Technique | None, data: str) -> str:
    """How long a technique trains on a source by default: an option of the trainer, or ""."""
    if technique and (technique.default_budget or (data == technique.data and technique.budget_on_default_data)):
        return technique.default_budget or technique.budget_on_default_data
    source = DATA.get(data)
    return source.default_budget if source else ""


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
    if wanted and "." in wanted and not wanted.startswith("{") and not _shares_owner(wanted, classes):
        theirs, ours = (path.rpartition(".")[2] for path in (classes[0], wanted))
        raise UsageError(f"the checkpoint is of {theirs}, not of {ours}")
    plain = {
        k: v for k, v in checkpoint.get("hyper_parameters", {}).items() if k not in DATA_TO_MODEL_ARGS and k[0] != "_"
    }
    return ["--model=" + json.dumps({"class_path": wanted or classes[0], "init_args": plain})]


def _shares_owner(wanted: str, classes: Sequence[str]) -> bool:
    """Whether a module may load a checkpoint of these classes: a fine-tuning, say, takes a distilled student's."""
    from zoo.core.checkpoint import owners  # where a checkpoint is read torch is there already

    return wanted in classes or bool(owners(load(wanted)) & owners(classes))


def options_of(argv: Sequence[str]) -> tuple[str, str]:
    """Import paths of the module and the data whose options ``--module NAME --help`` shows."""
    module = option_value(argv, "--module") or ""
    path = resolve(module, MODULES, "module")
    technique = _technique(path)
    data = option_value(argv, "--data") or (technique.data if technique else next(iter(DATA)))
    return path, resolve(data, DATA, "data")
