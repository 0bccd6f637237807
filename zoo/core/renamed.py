"""Options that were renamed or left out: for one release the old name works, too, and is told its new one, once."""

import inspect
import logging
from abc import ABCMeta
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from zoo.core.options import check_options

log = logging.getLogger(__name__)
_told: set[tuple[str, str]] = set()
_loading: ContextVar[bool] = ContextVar("loading", default=False)


@contextmanager
def without_foreign_options() -> Iterator[None]:
    """Within, constructors are not given options that neither the class nor a parent takes: a checkpoint's may be of
    another module (a fine-tuning that goes on from a distilled student), and Lightning passes all to ``**options``."""
    token = _loading.set(True)
    try:
        yield
    finally:
        _loading.reset(token)


def _own_options(cls: type, options: Mapping[str, Any]) -> dict[str, Any]:
    constructors = [vars(base)["__init__"] for base in cls.__mro__ if "__init__" in vars(base)]
    known = {name for method in constructors[:-1] for name in inspect.signature(method).parameters}  # object's is last
    return {name: value for name, value in options.items() if name in known}


def renamed_options(cls: type) -> dict[str, str]:
    """Old names of a class's options to the present ones, "" for one that is gone.

    They are the attributes ``renamed`` of the class and its parents, without names that a subclass's own constructor
    takes for something of its own.
    """
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        own = inspect.signature(vars(base)["__init__"]).parameters if "__init__" in vars(base) else ()
        found = {old: new for old, new in found.items() if old not in own} | vars(base).get("renamed", {})
    return found


def current_options(cls: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a class under their present names, without those that are gone; each is told once a process."""
    renamed, found = renamed_options(cls), {}
    for name, value in options.items():
        new = renamed.get(name, name)
        if new != name and (cls.__name__, name) not in _told:
            _told.add((cls.__name__, name))
            log.warning("option %r of %s %s", name, cls.__name__, f"is now called {new!r}" if new else "was removed")
        if new:
            found[new] = value
    return found


class RenamedOptions(ABCMeta):
    """Metaclass of classes whose constructors take renamed options under their old names, too.

    A class says which in an attribute ``renamed``, {old name: new name, or "" for an option that is gone}. Numbers are
    checked here, too: those that are not finite, or no numbers, are refused by name.
    """

    unchecked_options: tuple[str, ...] = ()  # names of options whose numbers are checked elsewhere

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any) -> None:
        super().__init__(name, bases, namespace, **options)
        signature = inspect.signature(cls.__init__)  # type: ignore[misc]
        parameters = list(signature.parameters.values())[1:]  # without self
        cls.__signature__ = signature.replace(parameters=parameters)  # of ``__call__`` it would say nothing

    def __call__(cls, *args: Any, **options: Any) -> Any:
        given = current_options(cls, _own_options(cls, options) if _loading.get() else options)
        names = list(cls.__signature__.parameters)
        checked = {**dict(zip(names, args, strict=False)), **given}
        if checked.get("input_shape") is None:  # networks say more of data that have none
            checked.pop("input_shape", None)
        check_options(cls, checked, cls.unchecked_options)
        made = super().__call__(*args, **given)
        made.__dict__["_given_options"] = frozenset(given)  # not by setattr: it may be a torch module's
        return made
