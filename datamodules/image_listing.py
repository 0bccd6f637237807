"""Which files under a folder are images, and what else lies there: nothing is passed over without being counted."""

import os
from collections import Counter, deque
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from datamodules.image_formats import NEEDS, is_readable


class Listing(NamedTuple):
    """Image files, sorted by path, and how many other things there are of each kind."""

    images: list[Path]
    left_out: Counter[str]


def list_images(root: Path, without: Collection[Path] = ()) -> Listing:
    """All image files under ``root``, however deep, and what else is there.

    Linked folders are followed; a folder that is reached twice is read once, under the name that is no link.

    Args:
        root: Path of the folder.
        without: Folders and files that are somebody else's: neither listed nor counted.
    """
    images: list[Path] = []
    left_out: Counter[str] = Counter()
    for path, kind in _walk(root, set(without)):
        if kind:
            left_out[kind] += 1
        elif is_readable(path.suffix):
            images.append(path)
        else:
            left_out[path.suffix.lower() or "without an ending"] += 1
    return Listing(sorted(images), left_out)


def find_images(root: Path) -> list[Path]:
    """All image files under ``root``, however deep, sorted; hidden ones are left out."""
    return list_images(root).images


def describe(left_out: Counter[str]) -> str:
    """What was left out, in words: "3 .heic (to read them: pip install pillow-heif), 2 .txt"."""
    return ", ".join(
        f"{count:,} {shown(kind)}{f' ({NEEDS[kind]})' if kind in NEEDS else ''}"
        for kind, count in left_out.most_common()
    )


def shown(path: Path | str) -> str:
    """A path that fits in one line of any encoding: what cannot be printed, line breaks among it, is spelled out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in plain_text(str(path)))


def plain_text(name: str) -> str:
    """A name of a file as text that every encoding of a file can hold; bytes that are no text are spelled out."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _walk(root: Path, without: set[Path]) -> Iterator[tuple[Path, str]]:
    """Files, and the kind of what is not to be read, "" for others; linked folders come after all that are not."""
    waiting, linked = deque([root]), deque[Path]()
    seen: set[tuple[int, int]] = set()
    while waiting or linked:
        folder = waiting.popleft() if waiting else linked.popleft()
        try:
            state = folder.stat()
            again = (state.st_dev, state.st_ino) in seen
            entries = [] if again else sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            yield folder, "folder that cannot be opened"
            continue
        if again:
            yield folder, "link to a folder that is there already"
        seen.add((state.st_dev, state.st_ino))
        for entry in entries:
            path = folder / entry.name
            if path in without:
                continue
            kind = _kind(entry)
            if kind == "folder":
                (linked if entry.is_symlink() else waiting).append(path)
            else:
                yield path, kind


def _kind(entry: "os.DirEntry[str]") -> str:
    if entry.name.startswith("."):
        return "hidden"
    try:
        if entry.is_dir():
            return "folder"
        return "" if entry.is_file() else "link to nothing" if entry.is_symlink() else "neither file nor folder"
    except OSError:
        return "link to nothing"
