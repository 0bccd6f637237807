import gzip
import struct
import tracemalloc

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from datamodules.image_files import read_cifar, read_idx, read_image


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
    return header + array.astype(np.uint8).tobytes()


def test_idx_plain_and_gzipped(tmp_path):
    array = np.arange(24).reshape(2, 3, 4)
    (tmp_path / "a").write_bytes(idx(array))
    (tmp_path / "a.gz").write_bytes(gzip.compress(idx(array)))
    for name in ("a", "a.gz"):
        assert read_idx(tmp_path / name).tolist() == array.tolist()


@pytest.mark.parametrize("content", [b"", b"\x00\x00\x0d\x01", idx(np.arange(9))[:-1], b"hello, world"])
def test_damaged_idx_is_named(tmp_path, content):
    (tmp_path / "bad").write_bytes(content)
    with pytest.raises(ValueError, match="bad"):
        read_idx(tmp_path / "bad")


def test_truncated_gzip_is_named(tmp_path):
    (tmp_path / "bad.gz").write_bytes(gzip.compress(idx(np.arange(99)))[:-12])
    with pytest.raises(ValueError, match=r"bad\.gz"):
        read_idx(tmp_path / "bad.gz")


def test_cifar_records(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)
    records = [bytes([label]) + image.tobytes() for label, image in zip([3, 1, 4, 1], pixels, strict=True)]
    (tmp_path / "a.bin").write_bytes(b"".join(records[:3]))
    (tmp_path / "b.bin").write_bytes(records[3])
    images, labels = read_cifar([tmp_path / "a.bin", tmp_path / "b.bin"])
    assert labels.tolist() == [3, 1, 4, 1] and np.array_equal(images.numpy(), pixels)
    (tmp_path / "b.bin").write_bytes(records[3][:-1])
    with pytest.raises(ValueError, match=r"b\.bin"):
        read_cifar([tmp_path / "a.bin", tmp_path / "b.bin"])


def colours(red, blue, mode="RGB"):
    """The left half red, the right half blue, twice as wide as high."""
    image = Image.new("RGB", (40, 20), red)
    image.paste(blue, (20, 0, 40, 20))
    return image.convert(mode)


@pytest.mark.parametrize(
    "ending, options", [("jpg", {"quality": 95}), ("png", {}), ("webp", {"lossless": True}), ("bmp", {})]
)
def test_kinds_of_files(tmp_path, ending, options):
    colours("red", "blue").save(tmp_path / f"a.{ending}", **options)
    image = read_image(tmp_path / f"a.{ending}", 10, 3).int()
    assert image.shape == (3, 10, 10)
    assert (image[:, :, :3] - torch.tensor([255, 0, 0])[:, None, None]).abs().max() < 40
    assert (image[:, :, 7:] - torch.tensor([0, 0, 255])[:, None, None]).abs().max() < 40


def test_grey_to_colour_and_back(tmp_path):
    Image.new("L", (9, 7), 100).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", 5, 3).unique().tolist() == [100]
    assert read_image(tmp_path / "a.png", 5, 1).shape == (1, 5, 5)


def test_transparency_is_laid_on_white(tmp_path):
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "a.png")
    Image.new("P", (8, 8), 0).save(tmp_path / "b.png", transparency=0)
    for name in "ab":
        assert read_image(tmp_path / f"{name}.png", 4, 3).unique().tolist() == [255]


def test_sixteen_bits_keep_their_upper_half(tmp_path):
    Image.fromarray(np.full((6, 6), 0x8042, dtype=np.uint16)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", 3, 1).unique().tolist() == [0x80]


def test_photographs_are_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3  # taken upside down
    colours("red", "blue").save(tmp_path / "a.jpg", exif=exif, quality=95)
    assert read_image(tmp_path / "a.jpg", 10, 3)[2, 5, 0] > 200  # blue is left now


@pytest.mark.parametrize("content", [b"", b"not an image"])
def test_what_is_no_image_is_named(tmp_path, content):
    (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"bad\.png"):
        read_image(tmp_path / "bad.png", 8, 3)


def test_a_truncated_image_is_named(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "bad.png")
    (tmp_path / "bad.png").write_bytes((tmp_path / "bad.png").read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"bad\.png"):
        read_image(tmp_path / "bad.png", 8, 3)


def header(*shape):
    return bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes()


@pytest.mark.parametrize(
    "content",
    [
        header(4_000_000_000, 4_000_000_000),  # 16 EB, more than 64 bits count
        header(2**31, 28, 28),  # as a signed number: negative
        header(2**32 - 1) + bytes(9),  # -1
        header(9) + bytes(10),
        header(9, 3)[:7],
        bytes([0, 0, 8, 0]) + bytes(1),
    ],
)
@pytest.mark.parametrize("ending", ["", ".gz", ".GZ"])
def test_a_shape_that_does_not_fit_the_file_is_refused_before_anything_is_allocated(tmp_path, content, ending):
    path = tmp_path / f"bad{ending}"
    path.write_bytes(gzip.compress(content) if ending else content)
    tracemalloc.start()
    with pytest.raises(ValueError, match=f"bad{ending}"):
        read_idx(path)
    assert tracemalloc.get_traced_memory()[1] < 10**6
    tracemalloc.stop()


def test_a_compressed_file_that_goes_on_is_not_unpacked_beyond_its_shape(tmp_path):
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(header(9) + bytes(10**8)))
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"bomb\.gz is damaged: 9 promised, more there"):
        read_idx(tmp_path / "bomb.gz")
    assert tracemalloc.get_traced_memory()[1] < 10**7
    tracemalloc.stop()


@pytest.mark.parametrize("position", range(0, 120, 7))
def test_a_flipped_bit_in_a_compressed_file_never_ends_in_another_error(tmp_path, position):
    array = np.random.default_rng(0).integers(0, 256, (5, 6, 7))
    content = bytearray(gzip.compress(idx(array), mtime=0))
    content[position] ^= 1 << (position % 8)
    (tmp_path / "a.gz").write_bytes(content)
    try:
        assert read_idx(tmp_path / "a.gz").tolist() == array.tolist()  # a flag or a date of gzip's own
    except ValueError as error:
        assert "a.gz" in str(error)


@pytest.mark.parametrize("content", [b"", bytes([10]) + bytes(3072), bytes(3073) + bytes([255]) + bytes(3072)])
def test_damaged_cifar_records_are_named(tmp_path, content):
    (tmp_path / "bad.bin").write_bytes(content)
    with pytest.raises(ValueError, match=r"bad\.bin is damaged"):
        read_cifar([tmp_path / "bad.bin"])


def modes():
    """One grey, 128, in every mode that a file may have."""
    image = Image.new("L", (8, 8), 128)
    yield "L", "png", image
    yield "P", "png", image.convert("P")
    yield "P", "gif", image.convert("P")
    yield "LA", "png", image.convert("LA")
    yield "RGBA", "png", image.convert("RGBA")
    yield "RGB", "png", image.convert("RGB")
    yield "CMYK", "tif", Image.new("CMYK", (8, 8), (127, 127, 127, 0))
    yield "CMYK", "jpg", Image.new("CMYK", (8, 8), (127, 127, 127, 0))
    yield "YCbCr", "jpg", image.convert("YCbCr")


@pytest.mark.parametrize(
    "mode, ending, image", list(modes()), ids=lambda value: value if isinstance(value, str) else ""
)
@pytest.mark.parametrize("channels", [1, 3])
def test_modes_of_8_bits(tmp_path, mode, ending, image, channels):
    image.save(tmp_path / f"a.{ending}")
    assert (read_image(tmp_path / f"a.{ending}", 8, channels).int() - 128).abs().max() <= 1


def test_black_and_white(tmp_path):
    Image.fromarray(np.eye(8) > 0).save(tmp_path / "a.png")
    Image.fromarray(np.eye(8) > 0).save(tmp_path / "b.tif", compression="group4")
    for name in ("a.png", "b.tif"):
        assert read_image(tmp_path / name, 8, 1)[0].tolist() == (np.eye(8) * 255).tolist()


def exif(*entries):
    """EXIF in the order of bytes of Motorola: tag, type, count, four bytes of value or of where it stands."""
    body = b"".join(struct.pack(">HHI", tag, kind, count) + value for tag, kind, count, value in entries)
    head = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, len(entries))
    return head + body + bytes(4) + bytes(16)


SIDEWAYS = (0x0112, 3, 1, struct.pack(">HH", 6, 0))
ODD = {
    "rational 0/0": (0x0100, 5, 1, struct.pack(">I", 38)),
    "text that is none": (0x010F, 2, 400, struct.pack(">I", 60000)),
    "unknown type": (0x0100, 77, 1, bytes(4)),
    "beyond the end": (0x0100, 5, 100, struct.pack(">I", 2**32 - 1)),
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("ending", ["jpg", "png", "webp"])
def test_odd_exif_tags_keep_no_image_from_being_read_and_turned(tmp_path, odd, ending):
    options = {"quality": 95} if ending == "jpg" else {"lossless": True} if ending == "webp" else {}
    colours("red", "blue").save(tmp_path / f"a.{ending}", exif=exif(ODD[odd], SIDEWAYS), **options)
    red, _, blue = read_image(tmp_path / f"a.{ending}", 10, 3)
    assert (red[:3] > 200).all() and (blue[7:] > 200).all()  # the left is the top now


@pytest.mark.parametrize(
    "orientation",
    [
        (0x0112, 3, 1, struct.pack(">HH", 0, 0)),
        (0x0112, 3, 1, struct.pack(">HH", 99, 0)),
        (0x0112, 2, 2, b"x\0\0\0"),
        (0x0112, 5, 1, struct.pack(">I", 26)),  # 0/0
    ],
)
def test_a_broken_orientation_is_upright(tmp_path, orientation):
    colours("red", "blue").save(tmp_path / "a.jpg", exif=exif(orientation), quality=95)
    assert (read_image(tmp_path / "a.jpg", 10, 3)[0, :, :3] > 200).all()


@pytest.mark.parametrize("number", range(1, 9))
def test_orientations_are_pillows(tmp_path, number):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8))
    tags = Image.Exif()
    tags[0x0112] = number
    noise.save(tmp_path / "a.png", exif=tags)
    wanted = ImageOps.exif_transpose(Image.open(tmp_path / "a.png"))
    assert np.array_equal(read_image(tmp_path / "a.png", 12, 3).permute(1, 2, 0).numpy(), np.asarray(wanted))


def test_a_file_that_is_gone_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"gone\.png cannot be read as an image"):
        read_image(tmp_path / "gone.png", 8, 3)
