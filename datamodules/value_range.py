"""What is black and what is white in images of more than 8 bits, whose files do not say it: one answer for a whole set.

A file of 16 bits may use 8 or 12 of them, one of floats may go from 0 to 1 or to anything. The files' largest value
decides: the nearest of the usual ranges, or where none is near, the value itself.
"""

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageFile import ImageFile

from datamodules.image_formats import open_image

Kind = Literal["integer", "float", ""]
Ranges = dict[str, list[float]]  # values of black and white for each kind of number
Values = NDArray[Any]

_USUAL = (1, *(2**bits - 1 for bits in (8, 10, 12, 14, 16)))
_FAR = 4  # times the largest value: a range beyond that would leave images in the dark
_HEAD = 64  # bytes that tell a file's format, and a PNG's number of bits
_SWAPPED = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}  # orders of the two bytes of a value
_PHOTOMETRIC, _BITS, _LEASTS, _MOSTS, _FORMAT = 262, 258, (340, 280), (341, 281), 339  # tags of TIFF


class Facts(NamedTuple):
    """What was found in one file: its kind of numbers, "" where they are of 8 bits; its least and largest value, and
    those it declares, if any; and whether it has several pages or frames."""

    kind: Kind = ""
    low: float = 0.0
    high: float = 0.0
    declared: tuple[float, float] | None = None
    several: bool = False


class Survey(NamedTuple):
    """What was found in a set: the files of each kind, and how many have several pages or frames."""

    found: dict[str, list[Facts]]
    several: int

    def ranges(self) -> Ranges:
        """Values of black and white, for each kind of number that is there."""
        return {kind: _range(facts) for kind, facts in self.found.items()}

    def beyond(self, ranges: Ranges) -> int:
        """How many files have values outside of given ranges."""
        kinds = [(ranges[kind], facts) for kind, facts in self.found.items() if kind in ranges]
        return sum(fact.low < low or fact.high > high for (low, high), facts in kinds for fact in facts)


def survey(paths: Sequence[Path], workers: int = 1) -> Survey:
    """Look into image files: the headers of all, the values of those with more than 8 bits. What cannot be read is
    left to the reader, who names it."""
    heads = [_of_eight_bits(_head(path)) for path in paths]
    with ThreadPoolExecutor(max(1, workers)) as pool:
        wider = list(pool.map(_facts, [path for path, several in zip(paths, heads, strict=True) if several is None]))
    all_facts = [*wider, *(Facts(several=several) for several in heads if several)]
    kinds = sorted({facts.kind for facts in all_facts} - {""})
    found = {str(kind): [facts for facts in all_facts if facts.kind == kind] for kind in kinds}
    return Survey(found, sum(facts.several for facts in all_facts))


def usual_range(low: float, high: float) -> list[float]:
    """The range that values between ``low`` and ``high`` are of.

    >>> usual_range(0, 3890), usual_range(0, 0.97), usual_range(-1000, 3000)
    ([0.0, 4095.0], [0.0, 1.0], [-1000.0, 3000.0])
    """
    if low < 0:
        return [-1.0, 1.0] if low >= -1 and 1 / _FAR < high <= 1 else [float(low), float(high)]
    return [0.0, float(next((most for most in _USUAL if most / _FAR < high <= most), high))]


def kind_of(image: ImageFile) -> Kind:
    """Kind of the numbers of an image that was opened and not loaded; "" where they are of 8 bits."""
    if image.mode.startswith("F"):
        return "float"
    return "integer" if image.mode.startswith("I") or _is_wide_colour(image) else ""


def as_bytes(path: Path, image: ImageFile, ranges: Ranges) -> Image.Image:
    """An image of more than 8 bits as one of 8 bits: grey, or colour, and transparent where it was.

    Args:
        path: Path of the file.
        image: Image that was opened from it and not loaded.
        ranges: Values of black and white; where its kind is not among them, its own decide.
    """
    kind, inverted = kind_of(image), _tags(image).get(_PHOTOMETRIC) == 0
    declared = _declared(image)
    values = _read(path, image)
    low, high = ranges.get(kind) or _range([_measured(kind, values, declared)])
    found = _to_bytes(values[..., :3] if values.ndim == 3 else values, low, high)
    if values.ndim == 3 and values.shape[2] == 4:
        opaque = values[..., 3:]
        found = np.concatenate([found, _to_bytes(opaque, 0, 65535 if opaque.max() > high else high)], 2)
    # In a TIFF white may be 0, which Pillow heeds for 8 bits alone.
    return Image.fromarray(255 - found if inverted else found)


def _to_bytes(values: Values, low: float, high: float) -> NDArray[np.uint8]:
    """Values to 0 (``low`` and below) to 255 (``high`` and above); NaN becomes 0."""
    unit = (np.nan_to_num(values.astype(np.float64), nan=low, posinf=high, neginf=low) - low) / ((high - low) or 1.0)
    return (unit.clip(0, 1) * 255).round().astype(np.uint8)


def _range(facts: Sequence[Facts]) -> list[float]:
    low, high = min(fact.low for fact in facts), max(fact.high for fact in facts)
    declared = [fact.declared for fact in facts if fact.declared]
    if len(declared) == len(facts):
        least, most = min(pair[0] for pair in declared), max(pair[1] for pair in declared)
        if least <= low and high <= most:
            return [least, most]
    return usual_range(low, high)


def _facts(path: Path) -> Facts:
    try:
        with open_image(path) as image:
            several, kind, declared = bool(getattr(image, "is_animated", False)), kind_of(image), _declared(image)
            return _measured(kind, _read(path, image), declared, several) if kind else Facts(several=several)
    except Exception:  # damage raises errors of every kind, and the reader names the file
        return Facts()


def _head(path: Path) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123  # three times as fast as the path's own
            return file.read(_HEAD)
    except OSError:
        return b""


def _of_eight_bits(head: bytes) -> bool | None:
    """Of a file that cannot have more than 8 bits, by its first bytes: whether it is animated. None of others."""
    if head.startswith((b"\xff\xd8", b"BM")):
        return False
    if head.startswith(b"\x89PNG") and head[24:25] < b"\x10":
        return b"acTL" in head
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return head[12:16] == b"VP8X" and len(head) > 20 and bool(head[20] & 2)
    return None


def _measured(kind: Kind, values: Values, declared: tuple[float, float] | None, several: bool = False) -> Facts:
    values = values[..., :3] if values.ndim == 3 else values
    if kind == "float":
        values = values[np.isfinite(values)]
    if not values.size:
        return Facts(several=several)
    return Facts(kind, float(values.min()), float(values.max()), declared, several)


def _declared(image: ImageFile) -> tuple[float, float] | None:
    """Least and largest possible value, where the file says more than how many bits it has."""
    if any(tile[0] in ("ppm", "ppm_plain") for tile in image.tile):
        return 0.0, 65535.0  # Pillow has multiplied by what the header says
    tags = _tags(image)
    lows, highs = ([tags[tag] for tag in names if tag in tags] for names in (_LEASTS, _MOSTS))
    if highs:
        return (float(np.min(lows[0])) if lows else 0.0), float(np.max(highs[0]))
    bits = (tags.get(_BITS) or (16,))[0]
    return (0.0, 2.0**bits - 1) if bits < 16 else None


def _read(path: Path, image: ImageFile) -> Values:
    """The numbers of an image of more than 8 bits: (H, W), or with colour and transparency (H, W, C)."""
    if _is_wide_colour(image):
        return _wide_colour(path, image)
    tags = _tags(image)
    image.tile = [_once_swapped(tile) for tile in image.tile]
    image.load()  # NumPy would make something of an image that cannot be loaded
    values = np.asarray(image)
    unsigned = (tags.get(_FORMAT) or (1,))[0] == 1 and (tags.get(_BITS) or (0,))[0] == 32
    return values.view(np.uint32) if unsigned and values.dtype == np.int32 else values


def _once_swapped(tile: Any) -> Any:
    """A TIFF's tile such that big-endian values are put in order once: libtiff does it, and Pillow would again."""
    twice = tile[0] == "libtiff" and _raw(tile).endswith(("BS", "BF"))
    return _with_raw(tile, _raw(tile)[:-2] + _raw(tile)[-1]) if twice else tile


def _is_wide_colour(image: ImageFile) -> bool:
    """Whether an image is in colour, or transparent, and of 16 bits, of which Pillow gives the upper half alone."""
    return (
        image.format in ("PNG", "TIFF") and image.mode[0] in "RLC" and any(";16" in _raw(tile) for tile in image.tile)
    )


def _wide_colour(path: Path, image: ImageFile) -> Values:
    """Upper halves, and lower ones by reading again as if each value's two bytes stood in the other order."""
    with open_image(path) as again:
        if "LA" in (_raw(image.tile[0]))[:2]:  # the four bytes of grey and of transparency, under other names
            again.tile = [_with_raw(tile, "RGBA") for tile in again.tile]
            again.load()
            both = np.asarray(again).astype(np.int64)
            values = both[..., ::2] * 256 + both[..., 1::2]
            return np.concatenate([values[..., :1]] * 3 + [values[..., 1:]], 2)
        again.tile = [_with_raw(tile, _raw(tile)[:-1] + _SWAPPED[_raw(tile)[-1]]) for tile in again.tile]
        again.load(), image.load()
        return np.asarray(image).astype(np.int64) * 256 + np.asarray(again)


def _raw(tile: Any) -> str:
    """Pillow's name for the order of an image's bytes."""
    args = tile[3][0] if isinstance(tile[3], tuple) and tile[3] else tile[3]
    return args if isinstance(args, str) else ""


def _with_raw(tile: Any, raw: str) -> Any:
    args = raw if isinstance(tile[3], str) else (raw, *tile[3][1:])
    return tile._replace(args=args) if hasattr(tile, "_replace") else (*tile[:3], args)


def _tags(image: ImageFile) -> Any:
    return getattr(image, "tag_v2", {})
