"""Checks of arguments, with errors that name the argument."""

from collections.abc import Iterable

from zoo.core.suggest import did_you_mean


def at_least(least: float, **values: float) -> None:
    """Raise a ``ValueError`` that names the first value below ``least``, or that is NaN."""
    for name, value in values.items():
        if not value >= least:
            raise ValueError(f"{name} must be {least:g} or more; got {value}")


def more_than(bound: float, **values: float) -> None:
    """The same for those that are not above ``bound``."""
    for name, value in values.items():
        if not value > bound:
            raise ValueError(f"{name} must be more than {bound:g}; got {value}")


def between(low: float, high: float, **values: float) -> None:
    """The same for those outside ``low`` to ``high``, both allowed."""
    for name, value in values.items():
        if not low <= value <= high:
            raise ValueError(f"{name} must be {low:g} to {high:g}; got {value}")


def below(bound: float, **values: float) -> None:
    """The same for those that are not under ``bound``."""
    for name, value in values.items():
        if not value < bound:
            raise ValueError(f"{name} must be below {bound:g}; got {value}")


def one_of(names: Iterable[str], **values: str) -> None:
    """The same for those that are none of some names; the nearest is proposed."""
    known = list(names)
    for name, value in values.items():
        if value not in known:
            hint = did_you_mean(str(value), known)
            raise ValueError(f"{name} must be one of {', '.join(known)}; got {value!r}{hint}")
