"""Files of text: which ones there are below a folder, and their text in pieces, whatever its encoding."""

import bz2
import codecs
import gzip
import logging
import lzma
import os
import re
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from datamodules.encodings import REMEDY, encoding_of, unmarked

log = logging.getLogger(__name__)
Errors = Literal["replace", "strict"]
_PIECE = 1 << 21  # bytes of text that are words at one time: as Python strings they take ten times as much
_HEAD = 8192  # bytes by which text is told from other files
_OPENERS: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_DAMAGED = (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error, OSError, ValueError)
_CONTROL = re.compile(rb"[\x01-\x06\x0e-\x19\x1c-\x1f\x7f]")  # but line ends, tabs, form feeds, ends of file
_NO_BYTES = ("utf-16", "utf-32", "utf-7", "iso2022", "hz")  # a blank or a line's end is not that byte in them


def text_files(path: str | Path, encoding: str = "") -> list[Path]:
    """The file itself, or all files of text below a folder, and below folders that it links to, in order of their
    names; hidden ones are left out, and so are files that are not text, which is said.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: a file that is not text, or is damaged.
    """
    path = Path(path)
    if path.is_file():
        if reason := _why_not_text(path, encoding):
            raise ValueError(f"{path} is not text: {reason}")
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"no text at {path}: give a file or a folder of files")
    files = _below(path)
    if not files:
        raise FileNotFoundError(f"no files below {path}")
    other = {file for file in files if _why_not_text(file, encoding)}
    texts = [file for file in files if file not in other]
    if not texts:
        raise ValueError(f"not one of {len(files)} files below {path} is text; {min(other)} is not")
    if other:
        shown = ", ".join(str(file) for file in sorted(other)[:5]) + (" ..." if len(other) > 5 else "")
        log.warning("left out %d of %d files that are not text: %s", len(other), len(files), shown)
    return texts


def _below(folder: Path) -> list[Path]:
    """Files below a folder and those that it links to, each once however many links lead to it, sorted."""
    seen = {os.path.realpath(folder)}
    found, broken = [], []

    def new(path: Path) -> bool:
        place = os.path.realpath(path)
        return place not in seen and not seen.add(place)  # type: ignore[func-returns-value]

    for here, folders, names in os.walk(folder, onerror=_raise, followlinks=True):
        below = [Path(here) / name for name in sorted(folders) if not name.startswith(".")]
        below.sort(key=Path.is_symlink)  # what is here itself before what a link leads to
        folders[:] = [path.name for path in below if new(path)]
        for path in (Path(here) / name for name in sorted(names) if not name.startswith(".")):
            if not path.exists():
                broken.append(str(path))
            elif path.is_file() and new(path):
                found.append(path)
    if broken:
        log.warning("left out %d links that lead nowhere: %s", len(broken), ", ".join(sorted(broken)[:5]))
    return sorted(found)


def _raise(error: OSError) -> None:
    raise error


def _why_not_text(path: Path, encoding: str) -> str:
    """Why a file cannot be text, by its beginning; "" if it can."""
    with _opened(path) as file:
        head = _read(file, _HEAD, path)
    if encoding or encoding_of(head) != "utf-8":
        return ""
    if b"\0" in head:
        hint = unmarked(head)
        return f"it seems UTF-16 without a mark: `data.encoding` {hint}" if hint else "it has zero bytes"
    return "it is full of control characters" if len(_CONTROL.findall(head)) > 0.01 * len(head) else ""


def _opened(path: Path) -> Any:
    return _OPENERS.get(path.suffix.lower(), lambda p: p.open("rb"))(path)


def _read(file: Any, size: int, path: Path) -> bytes:
    try:
        return file.read(size)  # type: ignore[no-any-return]
    except _DAMAGED as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def read_pieces(path: Path, errors: Errors = "replace", size: int = _PIECE, encoding: str = "") -> Iterator[str]:
    """A file's text, plain or packed (.gz, .bz2, .xz), cut between lines, or between words where lines are long.

    Args:
        path: Path of the file.
        errors: Bytes that are not in its encoding are replaced, which is said with their number; or "strict": they end
            it.
        size: Size of a piece in bytes, about.
        encoding: Encoding of the file; "" is UTF-8, or what a mark at its beginning says.

    Raises:
        ValueError: a damaged file; with "strict" the place of the first wrong byte; or without ``encoding`` a text that
            cannot be UTF-8, since most of what should be is not.
    """
    decoded = _Decoder(path, errors, encoding)
    rest = b""
    with _opened(path) as file:
        while True:
            new = _read(file, size, path)
            data = rest + decoded.as_bytes(new)
            cut = len(data)
            if new:  # before a blank, and before all of several line ends
                cut = len(data[: max(data.rfind(b"\n"), data.rfind(b" "), 0)].rstrip())
            piece, rest = data[:cut], data[cut:]
            if text := decoded.text(piece):
                yield text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", " ")
            if not new:
                break
    if decoded.replaced:
        warnings.warn(decoded.said(), stacklevel=2)


class _Decoder:
    """Bytes to text, in pieces that end at a blank or a line's end.

    Args:
        path: Path of the file, for messages.
        errors: What happens to wrong bytes.
        encoding: Encoding of the file, or "".
    """

    def __init__(self, path: Path, errors: Errors, encoding: str) -> None:
        self.path, self.errors, self.given = path, errors, encoding
        self.name = ""  # known with the first bytes
        self.bytes = self.line = 0  # behind us
        self.replaced = self.first = 0  # wrong places, and the line of the first
        self._wide: Any = None

    def as_bytes(self, data: bytes) -> bytes:
        """What was read, as UTF-8 where the encoding is one in which a blank is not a byte of its own."""
        if not self.name:
            self.name = encoding_of(data[:4], self.given)
            if codecs.lookup(self.name).name.startswith(_NO_BYTES):
                self._wide = codecs.getincrementaldecoder(self.name)(self.errors)
        if self._wide is None:
            return data
        try:
            return self._wide.decode(data, not data).encode("utf-8", "surrogatepass")  # type: ignore[no-any-return]
        except UnicodeError as error:
            raise ValueError(f"{self.path} is not {self.name} in all its bytes: {REMEDY}") from error

    def text(self, piece: bytes) -> str:
        """A piece's text.

        Raises:
            ValueError: wrong bytes, see ``read_pieces``.
        """
        name = "utf-8" if self._wide else self.name
        try:
            text = piece.decode(name)
        except UnicodeDecodeError as error:
            line, at = self.line + piece.count(b"\n", 0, error.start) + 1, self.bytes + error.start
            if self.errors == "strict":
                where = f"{self.path}: line {line}: byte {at:,} is not {name.upper()}"
                raise ValueError(f"{where}: {REMEDY}; `data.errors` 'replace' goes on") from error
            text = piece.decode(name, "replace")
            self._count(text, piece.count(b"\xef\xbf\xbd") if name == "utf-8" else 0, line)
        self.bytes, self.line = self.bytes + len(piece), self.line + piece.count(b"\n")
        return text.removeprefix("\ufeff") if self.bytes == len(piece) else text

    def _count(self, text: str, there: int, line: int) -> None:
        """Count what was replaced, ``there`` of the marks having been there; refuse a text of another encoding."""
        wrong = text.count("\ufffd") - there
        right = sum(not character.isascii() for character in text) - wrong
        self.first = self.first or line
        self.replaced += wrong
        if not self.given and not self.bytes and wrong > max(right, 0.005 * len(text)):
            raise ValueError(
                f"{self.path}: line {line} is not UTF-8: {REMEDY}; `data.encoding` utf-8 goes on without "
                f"{wrong:,} places"
            )

    def said(self) -> str:
        """How many places were replaced."""
        name = "UTF-8" if self._wide else self.name.removesuffix("-sig").upper()
        start = (
            f"{self.path}: {self.replaced:,} places are not {name} and were replaced, the first in line {self.first}"
        )
        return f"{start}: if it has another encoding, `data.encoding` says so"
