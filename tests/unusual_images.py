"""Image files of kinds that Pillow does not write, as their specifications have them."""

import struct
import zlib

import numpy as np


def png(width, height, bits, kind, rows):
    """A PNG with any header: ``kind`` is 0 grey, 2 colour, 4 and 6 with transparency."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff(values, sample_format, order="<", deflate=False, planes=False, white_is_zero=False, more=()):
    """A TIFF of one strip as the specification has it, of kinds that Pillow does not write.

    Args:
        values: (H, W) or (H, W, C), in any type.
        sample_format: 1 unsigned, 2 signed, 3 floats.
        order: "<" for little-endian values, ">" for big-endian ones.
        more: More tags, (number, type, struct's format, value).
    """
    height, width, count = (*values.shape, 1)[:3]
    bits = values.dtype.itemsize * 8
    body = (np.moveaxis(values, 2, 0) if planes else values).astype(values.dtype.newbyteorder(order)).tobytes()
    strips = count if planes else 1
    size = len(body) // strips
    body = zlib.compress(body) if deflate else body
    size = size if planes else len(body)
    tags = [
        (256, 4, "I", [width]),
        (257, 4, "I", [height]),
        (258, 3, "H", [bits] * count),
        (259, 3, "H", [8 if deflate else 1]),
        (262, 3, "H", [2 if count >= 3 else 0 if white_is_zero else 1]),
        (273, 4, "I", [8 + i * size for i in range(strips)]),
        (277, 3, "H", [count]),
        (278, 4, "I", [height]),
        (279, 4, "I", [size] * strips),
        (284, 3, "H", [2 if planes else 1]),
        *([(338, 3, "H", [2])] if count in (2, 4) else []),
        (339, 3, "H", [sample_format] * count),
        *((number, kind, code, [value]) for number, kind, code, value in more),
    ]
    body += bytes(len(body) % 2)
    entries, extra = b"", b""
    start = 8 + len(body) + 2 + 12 * len(tags) + 4
    for number, kind, code, content in sorted(tags):
        packed = struct.pack(f"{order}{len(content)}{code}", *content)
        if len(packed) > 4:
            packed, extra = struct.pack(f"{order}I", start + len(extra)), extra + packed
        entries += struct.pack(f"{order}HHI", number, kind, len(content)) + packed.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8 + len(body))
    return head + body + struct.pack(f"{order}H", len(tags)) + entries + bytes(4) + extra
