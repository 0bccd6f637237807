"""Arguments and their YAML files: which module they choose, and options under their old names."""

import logging
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from zoo.cli.shorthand import SUBCOMMANDS, given, load
from zoo.core.renamed import current_options
from zoo.registry import DATA, MODULES, RENAMED_CLASSES, RENAMED_GROUPS, Technique

log = logging.getLogger(__name__)
_told: set[str] = set()


class _Loader(yaml.SafeLoader):
    """Reads 1e-5 as a number, as jsonargparse does and YAML 1.1 does not."""


class _Dumper(yaml.SafeDumper):
    """Quotes text that would be read as such a number."""


for _side in (_Loader, _Dumper):
    _number = re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$")
    _side.add_implicit_resolver("tag:yaml.org,2002:float", _number, list("-+0123456789"))


def read(text: str) -> Any:
    """A YAML file, or YAML itself, as plain values; the text itself where it is neither.

    Errors in it are left to jsonargparse, which explains them.
    """
    try:
        loader = _Loader(Path(text).read_text() if os.path.isfile(text) else text)  # noqa: PTH113 long text is no error
        return loader.get_single_data()
    except (yaml.YAMLError, OSError, ValueError):
        return text


def chosen_class(arguments: list[str], name: str) -> type | None:
    """The class of ``--model`` or ``--data``, on the command line or in a YAML file, whichever is last.

    Args:
        arguments: Arguments for Lightning's CLI.
        name: Option: "model" or "data".

    Returns:
        The class; None where none is named, or it cannot be imported, which raises an error later.
    """
    path = None
    for _, option, value in given(arguments):
        if option in (f"--{name}", f"--{name}.class_path"):
            path = _class_path(read(value)) or path
        elif option in ("-c", "--config"):
            path = next((p for part in _parts(read(value)) if (p := _class_path(part.get(name)))), path)
    return find_class(path) if path else None


def _parts(document: Any) -> list[dict[str, Any]]:
    """A file's options: at its top, or under the name of a subcommand."""
    if not isinstance(document, dict):
        return []
    return [document, *(document[name] for name in SUBCOMMANDS if isinstance(document.get(name), dict))]


def _class_path(spec: Any) -> str | None:
    return spec.get("class_path") if isinstance(spec, dict) else spec if isinstance(spec, str) else None


def find_class(path: str) -> type | None:
    """A class by its import path, or by its bare name if it is the registry's."""
    paths = [entry.path for entry in MODULES.values()] + [entry.path for entry in DATA.values()]
    known = {known.rpartition(".")[2]: known for known in paths}
    try:
        cls = load(RENAMED_CLASSES.get(path) or known.get(path, path))
    except Exception:  # jsonargparse reports it
        return None
    return cls if isinstance(cls, type) else None


def technique_of(cls: type | None) -> Technique | None:
    """The registry's entry of a module's class, or of the nearest one that it inherits from."""
    entries = {entry.path: entry for entry in MODULES.values()}
    paths = (f"{base.__module__}.{base.__qualname__}" for base in (cls.__mro__ if cls else ()))
    return next((entries[path] for path in paths if path in entries), None)


def with_present_names(arguments: list[str], groups: Mapping[str, str]) -> list[str]:
    """Arguments and their YAML files under present names; each old name is warned of once.

    A YAML file that needs no change stays a file; one that does becomes text. Options of known callbacks that do not
    belong to this run's technique are left out of files, since older files named all of them.

    Args:
        arguments: Arguments for Lightning's CLI.
        groups: Callbacks of the run, by the name of their options, with their import paths.
    """
    owners = {name: chosen_class(arguments, name) for name in ("model", "data")}
    owners |= {name: find_class(path) for name, path in groups.items()}
    arguments = _without_gone(arguments, owners)
    found = [_present_option(argument, owners) for argument in arguments]
    for place, option, value in given(arguments):
        if option in ("-c", "--config"):
            new = _changed_text(value, lambda document: _present_document(document, owners))
        elif option in ("--model", "--data", "--trainer.callbacks", "--trainer.callbacks+"):
            new = _changed_text(value, _present_classes)
        else:
            continue
        found[place] = new if arguments[place] == value else f"{option}={new}"
    return found


def _without_gone(arguments: list[str], owners: Mapping[str, type | None]) -> list[str]:
    """Arguments without those that name a removed option, and without their values."""
    found, gone = [], False
    for argument in arguments:
        if gone and not argument.startswith("-"):  # its value
            gone = False
            continue
        group, _, name = argument.lstrip("-").removesuffix("+").partition("=")[0].partition(".")
        owner, name = owners.get(group), name.removeprefix("init_args.")
        gone = bool(argument.startswith("--") and owner and name and not current_options(owner, {name: None}))
        if not gone:
            found.append(argument)
        gone = gone and "=" not in argument
    return found


def _changed_text(text: str, change: Callable[[Any], Any]) -> str:
    old = read(text)
    new = change(old)
    if new == old:
        return text
    return new if isinstance(new, str) else yaml.dump(new, Dumper=_Dumper, default_flow_style=True, width=2**31)


def _present_option(argument: str, owners: Mapping[str, type | None]) -> str:
    """``--model.old=3`` as ``--model.new=3``."""
    match = re.match(r"--(\w+)\.(init_args\.)?(\w+)(.*)$", argument, re.DOTALL)
    if not match:
        return argument
    group, between, name, rest = match.groups()
    group = _present_group(group)
    return f"--{group}.{between or ''}{_present_name(owners.get(group), name)}{rest}"


def _present_name(owner: type | None, name: str) -> str:
    return next(iter(current_options(owner, {name: None}))) if owner else name


def _present_group(name: str) -> str:
    new = RENAMED_GROUPS.get(name, name)
    _tell(name, new)
    return new


def _present_document(document: Any, owners: Mapping[str, type | None]) -> Any:
    """A YAML file's values under present names, without options of callbacks that this run does not have."""
    if not isinstance(document, dict):
        return document
    foreign = {name for entry in MODULES.values() for name in entry.callbacks} - owners.keys()
    found = {}
    for name, value in document.items():
        if name in SUBCOMMANDS:
            found[name] = _present_document(value, owners)
        elif name not in foreign:
            group = _present_group(name)
            found[group] = _present_group_options(_present_classes(value), owners.get(group))
    return found


def _present_group_options(value: Any, owner: type | None) -> Any:
    """Options of a class that stand in its group, or in ``init_args`` without the class's name."""
    if not isinstance(value, dict) or "class_path" in value or owner is None:
        return value
    if isinstance(value.get("init_args"), dict):
        return {**value, "init_args": current_options(owner, value["init_args"])}
    return current_options(owner, value)


def _present_classes(value: Any) -> Any:
    """The same value with every ``class_path`` and its ``init_args`` under present names, at any depth."""
    if isinstance(value, list):
        return [_present_classes(each) for each in value]
    if isinstance(value, str) and value in RENAMED_CLASSES:
        _tell(value, RENAMED_CLASSES[value])
        return RENAMED_CLASSES[value]
    if not isinstance(value, dict):
        return value
    value = {name: _present_classes(each) for name, each in value.items()}
    owner = find_class(value["class_path"]) if isinstance(value.get("class_path"), str) else None
    if owner and isinstance(value.get("init_args"), dict):
        value["init_args"] = current_options(owner, value["init_args"])
    return value


def _tell(old: str, new: str) -> None:
    if old != new and old not in _told:
        _told.add(old)
        log.warning("%r is now called %r", old, new)
