"""Mistakes that are seen before anything slow is imported: unknown options, wrong values, what is missing."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from zoo.cli.options import Option, Signature, signature
from zoo.cli.shorthand import UsageError, given, short_path
from zoo.core.suggest import closest, did_you_mean
from zoo.registry import CHECKPOINT, DATA, MODULES, RENAMED_GROUPS, callback_groups, short_name

_TRAINER = "lightning.pytorch.trainer.trainer.Trainer"
_TOP = ("config", "seed_everything", "trainer", "model", "module", "data", "ckpt_path", "print_config", "verbose",
        "return_predictions", "weights_only", "optimizer", "lr_scheduler", "print_shtab", "help")  # fmt: skip
_ELSEWHERE = {
    "epochs": "trainer.max_epochs",
    "steps": "trainer.max_steps",
    "gpus": "trainer.devices",
    "device": "trainer.accelerator",
    "seed": "seed_everything",
    "out": "trainer.default_root_dir",
    "output": "trainer.default_root_dir",
    "resume": "ckpt_path",
    "checkpoint": "ckpt_path",
    "m": "module",
    "d": "data",
    "learning_rate": "module.lr",
}
_FOUND_BY_LIGHTNING = ("last", "best", "hpc", "registry")
_KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false"}


def check_usage(arguments: Sequence[str], flag: str = "--module") -> None:
    """Check a spelled-out command line, as far as the sources of its classes say.

    Args:
        arguments: Arguments for Lightning's CLI, see ``expand_argv``.
        flag: Flag that the user typed for the module, "--module" or "--model".

    Raises:
        UsageError: an unknown option or a wrong value, an option or a file that is missing.
    """
    options = list(given(arguments))
    configs = [value for _, option, value in options if option in ("--config", "-c")]
    for path in configs:
        _check_config(path)
    for _, option, value in options:
        is_file = option == "--ckpt_path" and value not in _FOUND_BY_LIGHTNING and "://" not in value
        if is_file and not Path(value).expanduser().exists():
            raise UsageError(f"--ckpt_path: no checkpoint at {value}")
    owners = _owners(arguments, bool(configs))
    for word in arguments:
        if word.startswith("-") and not _number(word):
            _check_name(word.partition("=")[0], owners, flag)
    for _, option, value in options:
        _check_value(option, value, owners, flag)
    if not configs and not any(option.startswith("--ckpt_path") for _, option, _ in options):
        _check_required(options, owners, flag)
    _check_paths(arguments, options)


def _owners(arguments: Sequence[str], has_config: bool) -> dict[str, Signature | None]:
    """Signatures by group of options; None where it is not known or not certain what options there are."""
    owners: dict[str, Signature | None] = {}
    known = {entry.path for table in (MODULES, DATA) for entry in table.values()}
    for name in ("model", "data"):
        path = _chosen(arguments, name)
        owners[name] = signature(path) if path in known and not has_config else None
    technique = next((entry for entry in MODULES.values() if entry.path == _chosen(arguments, "model")), None)
    groups = callback_groups(technique)
    if technique is None or has_config:
        groups |= {name: path for entry in MODULES.values() for name, path in entry.callbacks.items()}
    for name, path in {"trainer": _TRAINER, "checkpoint": CHECKPOINT, **groups}.items():
        found = signature(path)
        owners[name] = found if found.complete and found.options else None
    return owners


def _chosen(arguments: Sequence[str], name: str) -> str:
    values = [value for _, option, value in given(arguments) if option in (f"--{name}", f"--{name}.class_path")]
    return values[-1] if values else ""


def _check_config(path: str) -> None:
    inline = any(sign in path for sign in "\n{:") and not path.endswith((".yaml", ".yml"))
    file = Path(path).expanduser()
    if inline:
        return
    if not file.exists():
        raise UsageError(f"--config: no file {path!r}")
    import yaml  # most runs have no file

    try:
        held = yaml.safe_load(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise UsageError(f"--config: {path} is no YAML file: not text in UTF-8 ({error.reason})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        raise UsageError(
            f"--config: {path}{place}: {getattr(error, 'problem', None) or getattr(error, 'reason', error)}"
        ) from None
    if not isinstance(held, dict):
        what = "is empty" if held is None else "holds no options by name"
        raise UsageError(f"--config: {path} {what}; a run's config.yaml shows what it may hold")


def _check_name(option: str, owners: dict[str, Signature | None], flag: str) -> None:
    group, _, rest = option.lstrip("-").rstrip("+").partition(".")
    group, name = RENAMED_GROUPS.get(group, group), rest.removeprefix("init_args.").partition(".")[0]
    if option in ("-c", "-h") or (group in (*_TOP, *owners) and option.startswith("--") and not rest):
        return
    owner = owners.get(group)
    if group in owners and (owner is None or name in ("class_path", "dict_kwargs", "help") or name == "init_args"):
        return
    if group in ("optimizer", "lr_scheduler"):
        return
    if owner is None or name not in {*owner.options, *owner.renamed}:
        raise UsageError(f"unknown option {_typed(option, flag)!r}{_hint(group, rest, owners, flag)}")


def _typed(option: str, flag: str) -> str:
    return option.replace("--model.", f"{flag}.", 1) if option.startswith("--model.") else option


def _hint(group: str, rest: str, owners: dict[str, Signature | None], flag: str) -> str:
    """The nearest option that there is: of the same group, of another, or near in spelling."""
    owner = owners.get(group)
    if owner and rest:
        names = [f"{group}.{name}" for name in owner.options]
    else:
        names = [f"{name}.{option}" for name, of in owners.items() if of for option in of.options]
    name = f"{group}.{rest}" if rest else group
    last = [each for each in names if each.partition(".")[2] == (rest or group)]
    near = last or closest(name, [*names, *_TOP], 1) or closest(name, [each.partition(".")[2] for each in names], 1)
    found = _ELSEWHERE.get(name.replace("-", "_")) or (near[0] if near else "")
    found = next((each for each in names if each.partition(".")[2] == found), found)
    found = flag[2:] + found[len("model") :] if found.startswith("model.") else found
    return f" (did you mean '--{found}'?)" if found else ": see --help"


def _check_value(option: str, value: str, owners: dict[str, Signature | None], flag: str) -> None:
    group, _, name = option.lstrip("-").partition(".")
    owner = owners.get(group)
    known = owner.options.get(name.removeprefix("init_args.")) if owner else None
    if known is None or value.startswith(("--", '"', "'")):
        return
    if wrong := _wrong(known, value):
        raise UsageError(f"{_typed(option, flag)}: {wrong}; got {value!r}")


def _wrong(option: Option, value: str) -> str:
    """What is expected instead of a value; "" where the value may be right."""
    kind = option.type.removesuffix(" | None")
    if kind != option.type and value in ("null", "~", ""):
        return ""
    if option.choices and kind.startswith("Literal") and " | " not in kind:
        right = value in option.choices
        return "" if right else f"one of {', '.join(option.choices)} is expected{did_you_mean(value, option.choices)}"
    if kind == "bool":
        return "" if value.lower() in ("true", "false", "yes", "no", "on", "off") else f"{_KINDS[kind]} is expected"
    return f"{_KINDS[kind]} is expected" if kind in _KINDS and not _number(value) else ""


def _number(value: str) -> bool:
    try:
        float(value.replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:
        return False
    return True


def _check_required(options: Sequence[tuple[int, str, str]], owners: dict[str, Signature | None], flag: str) -> None:
    told = {option.replace(".init_args.", ".") for _, option, _ in options}
    for group, table in (("model", MODULES), ("data", DATA)):
        for option in _required(owners.get(group)):
            if f"--{group}.{option.name}" not in told:
                kind = flag if group == "model" else "--data"
                path = next(value for _, name, value in reversed(options) if name == f"--{group}")
                name = short_name(path, table)  # type: ignore[arg-type]
                raise UsageError(f"{kind} {name} needs {kind}.{option.name} ...: {option.text.rstrip('.')}")


def _required(owner: Signature | None) -> Iterator[Option]:
    return (option for option in owner.options.values() if option.default is None) if owner else iter(())


def _check_paths(arguments: Sequence[str], options: Sequence[tuple[int, str, str]]) -> None:
    """The file or folder of the data must be there."""
    source = next((entry for entry in DATA.values() if entry.path == _chosen(arguments, "data")), None)
    if source is None or not source.path_option:
        return
    for _, option, value in options:
        path = option == f"--data.{source.path_option}" and (source.folders or short_path(value)) and value != "null"
        if path and not Path(value).expanduser().exists():
            raise UsageError(f"{option}: no folder or file {value!r}")
