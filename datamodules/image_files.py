"""Readers of image files. None of them unpickles."""

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor


def read_idx(path: Path) -> Tensor:
    """An IDX file of bytes, gzipped or not (MNIST's format), as the uint8 tensor it holds.

    Raises:
        ValueError: not such a file, or cut short.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise ValueError(f"{path} is not an IDX file of bytes")
    start = 4 + 4 * content[3]
    shape = np.frombuffer(content[4:start], dtype=">i4").tolist()
    if len(content) - start != np.prod(shape):
        raise ValueError(f"{path} is damaged: {shape} promised, {len(content) - start} bytes there")
    return torch.frombuffer(bytearray(content[start:]), dtype=torch.uint8).view(shape)


def read_cifar(paths: Sequence[Path]) -> tuple[Tensor, Tensor]:
    """CIFAR-10's binary records (1 byte label, 3,072 bytes of pixels): (N, 3, 32, 32) uint8 and (N,) long.

    Raises:
        ValueError: a file that is not whole records.
    """
    for path in paths:
        if path.stat().st_size % 3073:
            raise ValueError(f"{path} is damaged: its size is not a multiple of 3,073 bytes")
    records = torch.cat([torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8) for path in paths])
    records = records.view(-1, 3073)
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0].long()


def read_image(path: Path, size: int, channels: int) -> Tensor:
    """Any image as (channels, size, size) uint8: upright, shorter side to ``size``, the middle cropped.

    Transparency is laid on white; 16-bit images keep their upper 8 bits.

    Raises:
        ValueError: no image, or a damaged one.
    """
    try:
        with Image.open(path) as file:
            file.draft("RGB", (size, size))  # lets JPEG decode at a fraction of its size
            image = ImageOps.exif_transpose(file)
            image = ImageOps.fit(_to_mode(image, channels), (size, size), Image.Resampling.BILINEAR)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read as an image: {error}") from error
    return torch.from_numpy(np.array(image)).view(size, size, channels).permute(2, 0, 1)


def _to_mode(image: Image.Image, channels: int) -> Image.Image:
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB" if channels == 3 else "L")
