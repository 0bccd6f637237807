"""Options of a constructor beside its annotations: wrong types and numbers that are not finite are refused by name."""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from zoo.core.arguments import WrongTypeError, check_finite, check_number, one_of

_SEVERAL = (list, tuple, Sequence)
_WORDS = {bool: "true or false", str: "text", int: "a whole number", float: "a number"}
_WORDS |= dict.fromkeys((dict, Mapping), "a mapping") | dict.fromkeys(_SEVERAL, "a list")
_PLAIN = (str, Real, list, tuple, dict, NoneType)


def check_options(function: Any, options: Mapping[str, Any], unchecked: Iterable[str] = ()) -> None:
    """Refuse values of the wrong type, and numbers that are not finite. What an annotation does not say is not checked.

    Args:
        function: Class or function with annotated arguments; of a class its parents' constructors count, too.
        options: Values of its arguments, by name.
        unchecked: Names of arguments that may hold numbers which are not finite.

    Raises:
        ValueError: a number is not finite, or a name is not one of those allowed; names the argument.
        WrongTypeError: another type, such as text where there has to be a number; names the argument.
    """
    annotations = _annotations(function)
    for name, value in options.items():
        if name not in unchecked:
            check_finite(name, value)
        check_type(name, value, annotations.get(name, Any))


def _annotations(function: Any) -> dict[str, Any]:
    functions = [function]
    if isinstance(function, type):
        functions = [vars(base).get("__init__") for base in reversed(function.__mro__)]
    found: dict[str, Any] = {}
    for each in filter(inspect.isfunction, functions):
        found |= {p.name: p.annotation for p in inspect.signature(each).parameters.values()}
    return found


def check_type(name: str, value: Any, annotation: Any) -> None:
    """Refuse a value that an annotation excludes.

    Raises:
        ValueError: none of the names that are allowed; names the argument.
        WrongTypeError: another type; names the argument.
    """
    kinds = list(get_args(annotation)) if get_origin(annotation) in (Union, UnionType) else [annotation]
    if any(_fits(value, kind) for kind in kinds):
        return
    kinds = [kind for kind in kinds if kind is not NoneType]
    if len(kinds) == 1 and get_origin(kinds[0]) is Literal:
        one_of(map(str, get_args(kinds[0])), **{name: value})
    if set(kinds) <= {int, float}:
        check_number(name, value, whole=float not in kinds)
    raise WrongTypeError(f"{name} must be {' or '.join(map(_in_words, kinds))}; got {value!r}")


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value may be of this kind; in doubt it may."""
    origin = get_origin(kind) or kind
    if origin is Literal:
        return value in get_args(kind)
    if origin in (int, float):
        return isinstance(value, Integral if origin is int else Real) and not isinstance(value, bool)
    if origin is bool:
        return not isinstance(value, float) and value in (0, 1)
    if origin in (str, Path):
        return isinstance(value, str | Path)
    if origin in _SEVERAL:
        items = value if isinstance(value, list | tuple) else []
        return not isinstance(value, str | Real | dict | NoneType) and all(_fits(item, _item(kind)) for item in items)
    if not isinstance(origin, type) or origin.__module__ in ("typing", "inspect"):  # Any, or no annotation
        return True
    try:
        return isinstance(value, origin) or not isinstance(value, _PLAIN)
    except TypeError:  # a protocol
        return True


def _item(kind: Any) -> Any:
    """The kind of every item of a list; of a tuple's parts nothing is said."""
    kinds = {kind for kind in get_args(kind) if kind is not ...}
    return kinds.pop() if len(kinds) == 1 else Any


def _in_words(kind: Any) -> str:
    origin = get_origin(kind) or kind
    if origin is Literal:
        return " or ".join(map(repr, get_args(kind)))
    return _WORDS.get(origin, str(getattr(origin, "__name__", origin)))


def arguments_of(cls: Any) -> set[str]:
    """Names of the constructor arguments of a class and its parents."""
    constructors = [vars(base)["__init__"] for base in cls.__mro__ if "__init__" in vars(base)]
    return {name for method in constructors for name in _parameters(method)} - {"self"}


def _parameters(method: Any) -> Iterable[str]:
    try:
        return inspect.signature(method).parameters
    except (TypeError, ValueError):  # of built-in classes
        return ()


def accepted_arguments(cls: Any) -> set[str]:
    """Names of the arguments that a class can be given: its constructor's, and its parents' where that passes others
    on (``**options``)."""
    own = inspect.signature(cls.__init__).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in own):
        return arguments_of(cls)
    return {parameter.name for parameter in own} - {"self"}
