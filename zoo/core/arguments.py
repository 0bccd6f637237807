"""Checks of arguments, with errors that name the argument."""

from collections.abc import Iterable, Iterator, Mapping
from numbers import Integral, Real
from typing import Any

from zoo.core.suggest import did_you_mean

_LARGEST = 3.4e38  # of float32
_LARGEST_WHOLE = 2**63 - 1  # of torch's integers


class WrongTypeError(TypeError, ValueError):
    """A value of another type than an argument takes, which the user can mend as any other wrong value."""


def at_least(least: float, **values: float) -> None:
    """Raise a ``ValueError`` that names the first value below ``least``, or that is not finite.

    Raises:
        TypeError: one is no number; names it.
    """
    for name, value in values.items():
        check_number(name, value)
        if not value >= least:
            raise ValueError(f"{name} must be {least:g} or more; got {value}")
        check_finite(name, value)


def more_than(bound: float, **values: float) -> None:
    """The same for those that are not above ``bound``."""
    for name, value in values.items():
        check_number(name, value)
        if not value > bound:
            raise ValueError(f"{name} must be more than {bound:g}; got {value}")
        check_finite(name, value)


def between(low: float, high: float, **values: float) -> None:
    """The same for those outside ``low`` to ``high``, both allowed."""
    for name, value in values.items():
        check_number(name, value)
        if not low <= value <= high:
            raise ValueError(f"{name} must be {low:g} to {high:g}; got {value}")


def below(bound: float, **values: float) -> None:
    """The same for those that are not under ``bound``."""
    for name, value in values.items():
        check_number(name, value)
        if not value < bound:
            raise ValueError(f"{name} must be below {bound:g}; got {value}")
        check_finite(name, value)


def one_of(names: Iterable[str], **values: str) -> None:
    """The same for those that are none of some names; the nearest is proposed."""
    known = list(names)
    for name, value in values.items():
        if value not in known:
            hint = did_you_mean(str(value), known)
            raise ValueError(f"{name} must be one of {', '.join(known)}; got {value!r}{hint}")


def check_finite(name: str, value: Any) -> None:
    """Refuse a number that is NaN or infinite, or would be in torch's types; lists and mappings are searched.

    Raises:
        ValueError: there is one; names it, as in ``network.width``.
    """
    for path, number in _numbers(name, value):
        if isinstance(number, Integral):
            if abs(int(number)) > _LARGEST_WHOLE:
                raise ValueError(f"{path} is too large: numbers are below 2**63")
        elif not abs(number) <= _LARGEST:
            raise ValueError(f"{path} must be finite; got {number}")


def _numbers(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Real):
        yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _numbers(f"{name}.{key}", item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _numbers(name, item)


def check_number(name: str, value: Any, whole: bool = False) -> None:
    """Refuse what is no number, or no whole one where that is wanted; true and false are none.

    Raises:
        TypeError: names it.
    """
    wanted, what = (Integral, "a whole number") if whole else (Real, "a number")
    if not isinstance(value, wanted) or isinstance(value, bool):
        raise WrongTypeError(f"{name} must be {what}; got {value!r}")
