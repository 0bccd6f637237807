"""Encodings of text files: UTF-8, what a mark at the beginning says, or what the user says."""

import codecs
from pathlib import Path

_MARKS = {  # the longer first: UTF-32's begins as UTF-16's does
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
REMEDY = "say which encoding it has, `data.encoding` latin-1, cp1252, gbk or shift_jis say, or save it as UTF-8"


def check_encoding(name: str) -> None:
    """Refuse an encoding that Python does not know.

    Raises:
        ValueError: it does not.
    """
    try:
        b"a".decode(name or "utf-8")
    except UnicodeError:  # too short for it
        return
    except (LookupError, ValueError) as error:
        known = "utf-8, utf-16, latin-1, cp1252, gbk, big5, shift_jis ..."
        raise ValueError(f"`data.encoding` {name!r} is not known; there are {known}") from error


def encoding_of(head: bytes, encoding: str = "") -> str:
    """The encoding of a file that begins with ``head``: what its mark says, or else the given one, or else UTF-8."""
    marked = next((name for mark, name in _MARKS.items() if head.startswith(mark)), "")
    return encoding or marked or "utf-8"


def unmarked(head: bytes) -> str:
    """The encoding "utf-16-le" or "utf-16-be" if every other byte is zero, as in English text without a mark."""
    low, high = head[::2], head[1::2]
    if len(high) < 2:
        return ""
    shares = low.count(0) / len(low), high.count(0) / len(high)
    little, big = (shares[i] > 0.8 > 0.2 > shares[1 - i] for i in (1, 0))
    return "utf-16-le" if little else "utf-16-be" if big else ""


def decode(path: Path, encoding: str = "", remedy: str = REMEDY) -> str:
    """A whole file's text.

    Args:
        path: Path of the file.
        encoding: Its encoding; "" is UTF-8, or what a mark at its beginning says.
        remedy: What to do where that is wrong.

    Raises:
        ValueError: it is not text in that encoding; names file and line, and says what to do.
    """
    check_encoding(encoding)
    data = path.read_bytes()
    name = encoding_of(data, encoding)
    try:
        text = data.decode(name)
    except UnicodeError as error:
        start = getattr(error, "start", 0)
        line = data.count(b"\n", 0, start) + 1
        raise ValueError(f"{path}: line {line} is not {name.removesuffix('-sig')}: {remedy}") from error
    if "\0" in text:
        hint = unmarked(data[:4096])
        what = f"it seems UTF-16 without a mark, `data.encoding` {hint}" if hint else "this is not a file of text"
        raise ValueError(f"{path}: line {text.count(chr(10), 0, text.index(chr(0))) + 1} has zero bytes: {what}")
    return text.removeprefix("\ufeff")
