"""Readers of image files. None of them unpickles."""

import gzip
import math
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from datamodules.image_formats import open_image
from datamodules.value_range import Ranges, as_bytes, kind_of

_RECORD = 3073  # bytes of a CIFAR-10 image with its label
_ORIENTATION = 0x0112  # EXIF's tag
_DEFLATE = 1032  # bytes that one byte of gzip or PNG stands for at most


def read_idx(path: Path) -> Tensor:
    """An IDX file of bytes, gzipped or not (MNIST's format), as the uint8 tensor it holds.

    Raises:
        ValueError: not such a file, cut short, damaged, or of a shape that does not fit its size; names the file.
    """
    size = path.stat().st_size
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            head = file.read(4)
            if len(head) < 4 or head[:3] != b"\x00\x00\x08" or not head[3]:
                raise ValueError(f"{path} is not an IDX file of bytes")
            lengths = file.read(4 * head[3])
            shape = np.frombuffer(lengths[: len(lengths) // 4 * 4], dtype=">u4").tolist()
            promised = math.prod(shape)
            # Asked before anything is read, since a damaged header may promise terabytes.
            held = size * _DEFLATE if path.suffix.lower() == ".gz" else size - 4 - 4 * head[3]
            content = file.read(promised + 1) if len(shape) == head[3] and promised <= held else b""
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if len(shape) < head[3] or len(content) != promised:
        there = "more" if len(content) > promised else f"{len(content)} bytes"
        raise ValueError(f"{path} is damaged: {' x '.join(map(str, shape)) or 'nothing'} promised, {there} there")
    return torch.from_numpy(np.frombuffer(bytearray(content), dtype=np.uint8)).view(shape)


def read_cifar(paths: Sequence[Path]) -> tuple[Tensor, Tensor]:
    """CIFAR-10's binary records (1 byte label, 3,072 bytes of pixels): (N, 3, 32, 32) uint8 and (N,) long.

    Raises:
        ValueError: a file that is not whole records, is empty, or has a label beyond the ten classes; names the file.
    """
    records = torch.cat([_cifar_records(path) for path in paths])
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0].long()


def _cifar_records(path: Path) -> Tensor:
    size = path.stat().st_size
    if size % _RECORD or not size:
        raise ValueError(f"{path} is damaged: its {size:,} bytes are no multiple of a record's {_RECORD:,}")
    records = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8).view(-1, _RECORD)
    check_labels(records[:, 0], 10, path)
    return records


def check_labels(labels: Tensor, classes: int, path: Path) -> None:
    """Check labels (N,) that were read from a file.

    Raises:
        ValueError: one that is no class; names the file, and where it stands.
    """
    if (beyond := (labels >= classes).nonzero().flatten()).numel():
        first = int(beyond[0])
        raise ValueError(
            f"{path} is damaged: label {int(labels[first])} of image {first}, and the classes are 0 to {classes - 1} "
            f"({len(beyond)} of {len(labels)} labels are beyond them)"
        )


def read_image(path: Path, size: int, channels: int, ranges: Ranges | None = None) -> Tensor:
    """Any image as (channels, size, size) uint8: upright, shorter side to ``size``, the middle cropped.

    Transparency is laid on white; of several pages or frames the first is read.

    Args:
        path: Path of the file.
        size: Height and width of the tensor.
        channels: Number of its channels, 1 or 3.
        ranges: Values that are black and white in images of more than 8 bits (see ``datamodules.value_range``); a
            kind of number that is not among them is taken by the file's own values.

    Raises:
        ValueError: no image, or a damaged one.
    """
    try:
        with open_image(path) as file:
            image: Image.Image = file
            if kind_of(file):
                image = as_bytes(path, file, ranges or {})
            else:
                file.draft("RGB", (size, size))  # lets JPEG decode at a fraction of its size
                file.load()
            turned = _TURNS.get(_orientation(file))
            image = image if turned is None else image.transpose(turned)
            image = ImageOps.fit(_to_mode(image, channels), (size, size), Image.Resampling.BILINEAR)
    except Exception as error:  # damage raises errors of every kind
        raise ValueError(f"{path} cannot be read as an image: {error or type(error).__name__}") from error
    return torch.from_numpy(np.array(image)).view(size, size, channels).permute(2, 0, 1)


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _orientation(image: Image.Image) -> int:
    """How the camera was held, by EXIF's number; 1, upright, where that cannot be read. The other tags are nothing
    to us, and many a camera writes odd ones."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:
        return 1


def _to_mode(image: Image.Image, channels: int) -> Image.Image:
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB" if channels == 3 else "L")
