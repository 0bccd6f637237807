"""Data and module as they were when a checkpoint was trained. Nothing heavy is imported here."""

import ast
import math
from collections.abc import Mapping
from typing import Any

from zoo.cli.options import Option, signature
from zoo.registry import DATA, DATA_TO_MODEL_ARGS


def image_options(path: str, checkpoint: Mapping[str, Any]) -> list[str]:
    """Arguments by which images are read as those that a checkpoint's module was trained on.

    Args:
        path: Import path of the data's class; data that are not known here have none.
        checkpoint: Contents of the file.
    """
    known, said = signature(path), checkpoint.get("hyper_parameters", {})
    shape = said.get("input_shape")
    if not {*known.bases} & {source.path for source in DATA.values()} or not _is_image_shape(shape):
        return []
    options = {"size": shape[-1], "channels": shape[0], "shape": list(shape)}
    if "normalisation" in said:
        options["normalise"] = _rule(said["normalisation"])
    return [f"--data.{name}={value}" for name, value in options.items() if name in known.options]


def _is_image_shape(shape: Any) -> bool:
    return isinstance(shape, list | tuple) and len(shape) == 3 and all(type(size) is int for size in shape)


def _rule(normalisation: Mapping[str, Any] | None) -> str:
    """The option ``normalise`` of images with this normalisation."""
    return "unit" if not normalisation else "sample" if "sample_offset" in normalisation else "standard"


def fill_in(model: Any, said: Mapping[str, Any]) -> None:
    """Give a module what its checkpoint says of its data, in case the data do not say it themselves.

    Args:
        model: Configuration of the module, which is changed in place; what is not the default stays.
        said: Hyperparameters of the checkpoint.
    """
    options = model.get("init_args")
    known = signature(model.class_path).options if options is not None else {}
    for name in (name for name in DATA_TO_MODEL_ARGS if said.get(name) is not None and name in known):
        if options.get(name) is None or same(options[name], _default(known[name])):
            options[name] = said[name]


def _default(option: Option) -> Any:
    try:
        return ast.literal_eval(option.default or "None")
    except ValueError:  # an expression
        return None


def read_alike(data: Any, normalisation: dict[str, Any], checkpoint: dict[str, Any]) -> None:
    """Options of a table, unless told, from the checkpoint of a module that was trained on one: names of the columns,
    by which they are matched, statistics to standardise by, and what its datamodule kept in ``state_dict``.

    Args:
        data: Configuration of the data, which is changed in place.
        normalisation: What was done to the module's training data.
        checkpoint: Contents of the file.
    """
    options = data.get("init_args") or {}
    if "scale" not in options or "columns" not in options:
        return
    kept = checkpoint.get(data.get("class_path", "").rpartition(".")[2]) or {}
    for name in kept:
        options[name] = options.get(name) or kept[name]
    if options["columns"] is None:
        options["columns"] = normalisation.get("columns")
    if {*normalisation} == {"columns"}:
        options["standardise"] = False
    elif "std" in normalisation and options["scale"] is None and options["standardise"]:
        options["scale"] = normalisation


def same(first: Any, second: Any) -> bool:
    """Whether two plain values are equal, numbers up to rounding."""
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    numbers = isinstance(first, int | float) and isinstance(second, int | float)
    return math.isclose(first, second, rel_tol=1e-4, abs_tol=1e-6) if numbers else first == second
