"""Figures inside a page: as they are where there is room, smaller and re-encoded where there are many or large ones."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

MOST_BYTES = 1_200_000  # of all figures of a page together; base64 makes a third more of them
_SMALLER = ((1400, 85), (1000, 80), (800, 70), (600, 60), (400, 40))  # side in pixels at most, quality
MOST_FIGURES = 60


class Embedded(NamedTuple):
    """A figure as a page holds it."""

    source: str  # data:image/png;base64,...
    width: int
    height: int


def embedded(paths: Sequence[Path]) -> list[Embedded | None]:
    """Figures for a page, in their order; None for one that cannot be read, or has no room any more."""
    room = MOST_BYTES // max(1, min(len(paths), MOST_FIGURES))
    return [_embedded(path, room) if i < MOST_FIGURES else None for i, path in enumerate(paths)]


def _embedded(path: Path, room: int) -> Embedded | None:
    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            width, height = image.size
            if len(content) <= room:
                image.verify()
                return Embedded(_data_url("png", content), width, height)
            return Embedded(_data_url("webp", _smaller(image.convert("RGB"), room)), width, height)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # damaged, or no longer there
        return None


def _smaller(image: Image.Image, room: int) -> bytes:
    content = b""
    for side, quality in _SMALLER:
        image.thumbnail((side, side))
        stream = io.BytesIO()
        image.save(stream, "WEBP", quality=quality, method=2)
        content = stream.getvalue()
        if len(content) <= room:
            break
    return content


def _data_url(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
