"""Errors as one line each, with flags in the spelling that the user typed."""

import logging
import re
import warnings
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any, NamedTuple

from lightning.pytorch.utilities.exceptions import MisconfigurationException

from zoo.core.suggest import did_you_mean

# As devices, Linux and Windows say it; and sizes beyond all memory.
_NO_MEMORY = "out of memory|can't allocate memory|not enough memory|[Oo]verflow|Trying to create tensor with negative"


class Flags(NamedTuple):
    """How arguments that a message names in backquotes are given on a command line.

    A message names the owner, too, where it is not the module: ``data.batch_size``.

    Args:
        module: Flag that the user typed for the module, ``--module`` or ``--model``.
        arguments: Arguments of the module.
        groups: Owners of other options, such as ``data``, with their arguments; () where any name may be one.
    """

    module: str = "--model"
    arguments: Collection[str] = ()
    groups: Mapping[str, Collection[str]] = MappingProxyType({"data": (), "trainer": ()})

    def translate(self, text: str) -> str:
        """The text with flags in place of arguments; other words in backquotes stay as they are.

        >>> Flags("--module", ["lr"]).translate("try a lower `lr` or `trainer.precision` 32-true; `x` is none")
        'try a lower --module.lr or --trainer.precision 32-true; `x` is none'
        """
        return re.sub(r"`(?:(module|model)\.)?((\w+)[\w.]*)`", self._flag, text)

    def _flag(self, found: re.Match[str]) -> str:
        owner, name, first = found.groups()
        if owner or first in self.arguments:
            return f"{self.module}.{name}"
        known = self.groups.get(first)
        option = name.partition(".")[2]
        return f"--{name}" if option and known is not None and option in (known or [option]) else found.group()


class FlagFilter(logging.Filter):
    """Replaces arguments by flags in log messages."""

    def __init__(self, flags: Flags) -> None:
        super().__init__()
        self.flags = flags

    def filter(self, record: logging.LogRecord) -> bool:
        with suppress(Exception):  # a wrong call of somebody's logger is logging's to report
            record.msg, record.args = self.flags.translate(record.getMessage()), ()
        return True


def translate_warnings(flags: Flags) -> None:
    """Replace arguments by flags in log messages and warnings from now on; log to the standard error stream."""
    logging.basicConfig(format="%(levelname)s: %(message)s")
    for handler in logging.getLogger().handlers:
        for old in [old for old in handler.filters if isinstance(old, FlagFilter)]:  # of an earlier command
            handler.removeFilter(old)
        handler.addFilter(FlagFilter(flags))
    show = getattr(warnings.showwarning, "untranslated", warnings.showwarning)

    def show_translated(message: Warning | str, *where: Any, **more: Any) -> None:
        show(flags.translate(str(message)), *where, **more)

    show_translated.untranslated = show  # type: ignore[attr-defined]
    warnings.showwarning = show_translated


def explain_usage(message: str, options: Sequence[str]) -> str:
    """jsonargparse's error message, which may be long and nested, as one line.

    Args:
        message: Message of jsonargparse.
        options: Options of the parser that raised it.
    """
    if unknown := re.match(r"Option '(.+?)' is not accepted|unrecognized arguments: ([^ =]+)", message):
        name = unknown.group(1) or unknown.group(2)
        return f"unknown option {name!r}{did_you_mean(name, options)}"
    if missing := re.match(r"the following arguments are required: (.+)", message):
        return f"an option is missing: {missing.group(1).removeprefix('fit.')}"
    key = re.match(r"Parser key \"(.+?)\":", message)
    value = re.findall(r"(?:Got|Given) value: (.+)", message)
    where = f"{key.group(1)}: " if key else ""
    return where + innermost(message) + (f"; got {value[-1]!r}" if value and key else "")


def innermost(message: str) -> str:
    """The reasons within "does not validate against any of the Union subtypes", without the types."""
    lines = [line.strip(" -") for line in message.splitlines()[1:] or [message]]
    noise = (
        "Does not validate",
        "Subtypes:",
        "Errors:",
        "Given value",
        "Expected a <class 'NoneType'>",
        "Expected a path",
    )
    reasons = [line.partition(". Got value")[0] for line in lines if line and not line.startswith(noise)]
    text = re.sub(r'^Parser key "\w+": ', "", " ".join(reasons) or " ".join(message.split()))
    text = re.sub(r"<class '(?:[\w.]*\.)?(\w+)'>", r"\1", text)
    return re.sub(r"Expected a typing\.Literal\[(.+?)\]", r"one of \1 is expected", text).replace(
        "Expected a ", "expected: "
    )


def explain(error: BaseException) -> str | None:
    """One line for an error that the user can fix; None for a defect, whose traceback is shown."""
    text = " ".join(str(error).split())
    if "Union subtypes" in text:
        text = innermost(str(error))
    elif "in DataLoader worker process" in text:  # a traceback as text, whose last line is the error
        text = str(error).rstrip().splitlines()[-1].partition("Error: ")[2]
    if isinstance(error, ValueError | OSError | MisconfigurationException | NotImplementedError):
        return text
    if isinstance(error, RuntimeError) and "loading state_dict" in text:
        return f"the checkpoint does not fit this module: other options or other data made it ({text[:200]} ...)"
    if path := _restored(error):
        reason = f"{type(error).__name__}: {text[:200]}"
        return f"the checkpoint {path} cannot be restored: it is damaged, or of another version ({reason})"
    if isinstance(error, KeyError) and " " in text:  # a sentence, which Python quotes
        return str(error.args[0])
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError | ArithmeticError) and re.search(_NO_MEMORY, text)
    ):
        return f"out of memory: try a smaller `data.batch_size`, or smaller or fewer inputs ({text[:200]})"
    return None


def _restored(error: BaseException) -> str | None:
    """Path of the checkpoint that was being restored when the error was raised; None where none was."""
    traceback = error.__traceback__
    while traceback is not None:
        frame = traceback.tb_frame
        restores = frame.f_code.co_name.lstrip("_").startswith(("restore", "resume"))
        if restores and frame.f_code.co_filename.endswith("checkpoint_connector.py"):
            return str(frame.f_locals["self"].trainer.ckpt_path)
        traceback = traceback.tb_next
    return None
