"""Options that were renamed or removed: for one release the old name works, too, with a warning that is given once."""

import logging
from collections.abc import Mapping
from typing import Any

log = logging.getLogger(__name__)
_told: set[tuple[str, str]] = set()


def renamed_options(cls: type) -> dict[str, str]:
    """Old names of a class's options to the present ones, "" for one that was removed: the attributes ``renamed`` of
    the class and its parents."""
    return {old: new for base in reversed(cls.__mro__) for old, new in vars(base).get("renamed", {}).items()}


def current_options(cls: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a class under their present names, without removed ones; warns of each once per process."""
    renamed, found = renamed_options(cls), {}
    for name, value in options.items():
        new = renamed.get(name, name)
        if new != name and (cls.__name__, name) not in _told:
            _told.add((cls.__name__, name))
            log.warning("option %r of %s %s", name, cls.__name__, f"is now called {new!r}" if new else "was removed")
        if new:
            found[new] = value
    return found


class RenamedOptions(type):
    """Metaclass of classes whose constructors take renamed options under their old names, too.

    A class lists them in an attribute ``renamed``, {old name: new name, or "" for an option that was removed}.
    """

    def __call__(cls, *args: Any, **options: Any) -> Any:
        return super().__call__(*args, **current_options(cls, options))
