import io
import struct
import sys
import tracemalloc
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from unusual_images import png, tiff

from datamodules import image_formats
from datamodules.image_files import read_image
from datamodules.image_formats import formats, is_readable, open_image


def damaged(kind):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(noise).save(content, kind)
    return content.getvalue()


@pytest.mark.parametrize("ending", [".JPG", ".jfif", ".JPE", ".jif", ".TIFF", ".Png", ".webp", ".mpo", ".jp2"])
def test_endings_in_any_case(ending):
    assert is_readable(ending)


@pytest.mark.parametrize("ending", [".txt", "", ".csv", ".eps", ".pdf", ".svg", ".dng", ".jxl"])
def test_what_is_no_image_here(ending):
    assert not is_readable(ending)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "TGA"])
@pytest.mark.parametrize(
    "damage", [lambda c: c[: len(c) // 2], lambda c: c[:30], lambda c: c[:40] + bytes(len(c) - 40)]
)
def test_every_kind_of_damage_is_an_error_with_the_files_name_or_an_image(tmp_path, kind, damage):
    (tmp_path / "bad.img").write_bytes(damage(damaged(kind)))
    try:
        assert read_image(tmp_path / "bad.img", 8, 3).shape == (3, 8, 8)
    except ValueError as error:
        assert "bad.img cannot be read as an image: " in str(error)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
def test_a_file_cut_in_half_is_never_half_an_image(tmp_path, kind):
    content = damaged(kind)
    (tmp_path / "bad.img").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"bad\.img"):
        read_image(tmp_path / "bad.img", 8, 3)


@pytest.mark.parametrize("side", [13_000, 60_000, 2**31 - 1])
def test_a_header_that_promises_more_than_the_file_holds_is_refused_before_memory_is_taken(tmp_path, side):
    (tmp_path / "huge.png").write_bytes(png(side, side, 8, 2, bytes(100)))
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"huge\.png cannot be read as an image: .*(promises|limit|too large|exceed)"):
        read_image(tmp_path / "huge.png", 8, 3)
    assert tracemalloc.get_traced_memory()[1] < 10**6
    tracemalloc.stop()


@pytest.mark.parametrize(
    "head",
    [b"P6 13000 13000 255\n", b"BM" + struct.pack("<IIIIiiHHI", 54, 0, 54, 40, 13000, 13000, 1, 24, 0) + bytes(20)],
)
def test_what_is_not_compressed_is_no_larger_than_its_file(tmp_path, head):
    (tmp_path / "huge.img").write_bytes(head + bytes(99))
    with pytest.raises(ValueError, match="promises 13000 x 13000 pixels, which"):
        open_image(tmp_path / "huge.img")


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_a_compressed_tiff_is_no_larger_than_its_file_can_be(tmp_path, compression):
    Image.new("F", (8, 8)).save(tmp_path / "a.tif", compression=compression)
    content = (tmp_path / "a.tif").read_bytes()
    for tag in (256, 257):  # width and height
        content = content.replace(struct.pack("<HHIHH", tag, 3, 1, 8, 0), struct.pack("<HHII", tag, 4, 1, 13_000))
        content = content.replace(struct.pack("<HHII", tag, 4, 1, 8), struct.pack("<HHII", tag, 4, 1, 13_000))
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(ValueError, match="promises 13000 x 13000 pixels"):
        open_image(tmp_path / "a.tif")


def test_an_empty_image_that_is_compressed_well_is_read(tmp_path):
    Image.new("1", (5000, 5000)).save(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size < 5000
    assert read_image(tmp_path / "a.png", 8, 1).unique().tolist() == [0]


def test_no_file_starts_a_program(tmp_path):
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with pytest.raises(ValueError, match="not an image, or of a kind that Pillow does not read"):
        open_image(tmp_path / "a.png")
    assert "EPS" not in formats()


def test_an_unknown_kind_of_tiff_is_said(tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff(np.zeros((4, 4)), 3))
    with pytest.raises(ValueError, match="save it with 8 or 16 bits, or float32"):
        open_image(tmp_path / "a.tif")


def test_tiffs_that_pillow_gets_wrong_are_refused(tmp_path):
    (tmp_path / "signed.tif").write_bytes(tiff(np.full((4, 4), -1, np.int8), 2))
    (tmp_path / "planes.tif").write_bytes(tiff(np.zeros((4, 4, 3), np.uint16), 1, planes=True))
    for name, said in (("signed", "signed numbers of 8 bits"), ("planes", "separate planes of 16 bits")):
        with pytest.raises(ValueError, match=said):
            open_image(tmp_path / f"{name}.tif")


def test_a_plugin_that_is_installed_is_used(monkeypatch):
    """HEIC with pillow-heif, which registers an opener and endings as this one does."""

    def register():
        Image.register_open("HEIF", lambda *args: None, lambda prefix: False)
        Image.register_extensions("HEIF", [".heic", ".heif"])

    for table in ("OPEN", "EXTENSION"):
        monkeypatch.setattr(Image, table, dict(getattr(Image, table)))
    monkeypatch.setattr(Image, "ID", list(Image.ID))
    plugin = ModuleType("pillow_heif")
    plugin.register_heif_opener = register
    monkeypatch.setitem(sys.modules, "pillow_heif", plugin)
    image_formats.formats.cache_clear()
    assert is_readable(".HEIC") and "HEIF" in formats()
    image_formats.formats.cache_clear()
