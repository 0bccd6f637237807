"""Every constructor of the registry is walked with numbers that are not finite and values of another type."""

import importlib
import inspect
import math
from types import SimpleNamespace
from typing import Any, Literal, Protocol

import pytest

from zoo.core.arguments import check_finite
from zoo.core.optim import check_specs
from zoo.core.options import check_options
from zoo.networks.spec import TRUNKS, build
from zoo.registry import CALLBACKS, CHECKPOINT, DATA, MODULES

OWN = [path for technique in MODULES.values() for path in technique.callbacks.values()]
PATHS = [entry.path for entry in (*MODULES.values(), *DATA.values())] + [*CALLBACKS.values(), *OWN, CHECKPOINT]
INFINITE = {"prior_options", "options"}  # mappings with bounds that may be infinite
NECESSARY = {"root": "x", "path": "x", "input_shape": (1, 8, 8), "num_classes": 3, "vocab_size": 9}


def load(path):
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def arguments(cls):
    """Arguments by name, with the words in their annotations."""
    parameters = inspect.signature(cls.__init__).parameters.values()
    plain = [p for p in parameters if p.name != "self" and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    return {p.name: str(p.annotation) for p in plain}


def wrong_values(annotation):
    """Values of types that an annotation does not name."""
    wrong: list[Any] = []
    if not any(word in annotation for word in ("str", "Path", "Literal", "Any")):
        wrong.append("text")
    if "Literal" in annotation and "str" not in annotation:
        wrong.append("no such name")
    if not any(word in annotation for word in ("dict", "Mapping", "Any")):
        wrong.append({"a": 1})
    if not any(word in annotation for word in ("list", "tuple", "Sequence", "Any")):
        wrong.append(["a"])
    if not any(word in annotation for word in ("float", "Any")):
        wrong.append(1.5)
    if not any(word in annotation for word in ("None", "Optional", "Any")):
        wrong.append(None)
    return wrong


@pytest.mark.parametrize("path", PATHS)
def test_what_is_no_value_of_an_option_is_refused_by_its_name(path):
    cls = load(path)
    names = arguments(cls)
    necessary = {name: value for name, value in NECESSARY.items() if name in names}
    for name, annotation in names.items():
        several = [[math.nan], {"x": math.inf}] if name not in INFINITE else []
        for value in [math.nan, math.inf, -math.inf, *several, *wrong_values(annotation)]:
            with pytest.raises((ValueError, TypeError), match=rf"\b{name}\b"):
                cls(**{**necessary, name: value})
                pytest.fail(f"{path} takes {name}={value!r}")


@pytest.mark.parametrize("name", TRUNKS)
def test_options_of_networks_are_checked_too(name):
    for option, annotation in arguments(TRUNKS[name]).items():
        if option not in ("input_shape", "arch"):
            for value in (math.nan, -math.inf, -1, 10**400, *wrong_values(annotation)):
                with pytest.raises((ValueError, TypeError), match=rf"\b{option}\b"):
                    build({"name": name, option: value}, TRUNKS, input_shape=(1, 16, 16))


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, "x", None, [1]])
def test_options_of_optimizers_and_schedules_are_checked_too(value):
    for option in ("momentum", "trust"):
        with pytest.raises((ValueError, TypeError), match=rf"optimizer\.{option}"):
            check_specs({"name": "lars", option: value})
    with pytest.raises((ValueError, TypeError), match=r"optimizer\.betas"):
        check_specs({"name": "adamw", "betas": [0.9, value]})
    with pytest.raises((ValueError, TypeError), match=r"schedule\.warmup"):
        check_specs("adamw", {"name": "cosine", "warmup": value})


class _Sized(Protocol):
    size: int


class _Own:
    """Another project's class, of which little is said."""

    def __init__(self, plain, any_of: Any, hinted: "int", sized: _Sized, pair: tuple[int, str] = (1, "a")):
        pass


def test_what_an_annotation_does_not_say_is_accepted():
    check_options(_Own, {"plain": [1], "any_of": "x", "hinted": 3, "sized": SimpleNamespace(size=1), "pair": [2, "b"]})
    check_options(_Own, {"unknown": "x"})


@pytest.mark.parametrize(
    "annotation, good, bad, says",
    [
        (bool, True, "yes", "x must be true or false; got 'yes'"),
        (int, 3, True, "x must be a whole number; got True"),
        (float | None, 2, "2", "x must be a number; got '2'"),
        (list[str] | None, ["a"], [1], r"x must be a list; got \[1\]"),
        (str | dict, {"name": "a"}, 3, "x must be text or a mapping; got 3"),
        (Literal["one", "two"], "one", "three", "x must be one of one, two"),
    ],
)
def test_messages_say_what_is_wanted(annotation, good, bad, says):
    def function(x):
        pass

    function.__annotations__["x"] = annotation
    check_options(function, {"x": good})
    with pytest.raises((TypeError, ValueError), match=says):
        check_options(function, {"x": bad})


def test_numbers_within_lists_and_mappings_are_found():
    check_finite("x", {"a": [1, 2.5, "nan"]})
    with pytest.raises(ValueError, match=r"x\.a\.b must be finite; got nan"):
        check_finite("x", {"a": {"b": [1.0, math.nan]}})
    with pytest.raises(ValueError, match="x is too large"):
        check_finite("x", 10**30)
