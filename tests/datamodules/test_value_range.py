import numpy as np
import pytest
from PIL import Image
from unusual_images import png, tiff

from datamodules.image_files import read_image
from datamodules.value_range import survey, usual_range

RAMP = np.linspace(0, 1, 64).reshape(8, 8)


def grey(path, ranges=None, channels=1):
    return read_image(path, 8, channels, ranges).numpy()


def eight_bits(path):
    """The ramp as a file of 8 bits: what all others are to look like."""
    Image.fromarray((RAMP * 255).round().astype(np.uint8)).save(path)
    return grey(path)


@pytest.mark.parametrize(
    "low, high, found",
    [
        (0, 255, (0, 255)),
        (3, 256, (0, 1023)),
        (0, 3890, (0, 4095)),
        (0, 4096, (0, 16383)),
        (0, 65535, (0, 65535)),
        (0, 1, (0, 1)),
        (0, 0.97, (0, 1)),
        (0, 0.01, (0, 0.01)),  # a range up to 1 would be nearly black, and so below
        (0, 1.02, (0, 1.02)),
        (0, 60, (0, 60)),
        (0, 70000, (0, 70000)),
        (0, 4e9, (0, 4e9)),
        (-0.9, 0.9, (-1, 1)),
        (-1000, 3000, (-1000, 3000)),
        (0, 0, (0, 0)),
    ],
)
def test_the_nearest_usual_range_or_the_values_own(low, high, found):
    assert usual_range(low, high) == list(map(float, found))


@pytest.mark.parametrize(
    "values",
    [
        (RAMP * 255).round().astype(np.uint16),  # 8 bits in 16
        (RAMP * 4095).round().astype(np.uint16),
        (RAMP * 65535).round().astype(np.uint16),
        (RAMP * 255).round().astype(np.int32),
        (RAMP * 2**31 * 0.99).astype(np.int32),
        RAMP.astype(np.float32),
        (RAMP * 255).astype(np.float32),
        (RAMP * 2 - 1).astype(np.float32),
        (RAMP * 4000 - 1000).astype(np.float32),
        (RAMP * 1e-4).astype(np.float32),
    ],
)
def test_files_of_more_than_8_bits_look_as_those_of_8_do(tmp_path, values):
    wanted = eight_bits(tmp_path / "b.png")
    for name in ("a.tif", "a.png") if values.dtype == np.uint16 else ("a.tif",):
        Image.fromarray(values).save(tmp_path / name)
        found = grey(tmp_path / name).astype(int)
        assert abs(found - wanted).max() <= (0 if values.max() == 255 else 1)
        assert (grey(tmp_path / name, channels=3) == found).all()


KINDS = [(np.uint16, 1), (np.int16, 2), (np.int32, 2), (np.float32, 3)]


@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize(
    "order, kind, sample_format", [*((order, *kind) for order in "<>" for kind in KINDS), ("<", np.uint32, 1)]
)
def test_either_order_of_bytes_compressed_or_not(tmp_path, order, deflate, kind, sample_format):
    values = (RAMP * 4095).round().astype(kind)
    (tmp_path / "a.tif").write_bytes(tiff(values, sample_format, order, deflate))
    assert abs(grey(tmp_path / "a.tif").astype(int) - eight_bits(tmp_path / "b.png")).max() <= 1


def test_numbers_above_two_to_the_31_are_not_negative(tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff((RAMP * 4e9).astype(np.uint32), 1))
    assert abs(grey(tmp_path / "a.tif").astype(int) - eight_bits(tmp_path / "b.png")).max() <= 1


def test_white_may_be_zero(tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff((RAMP * 65535).round().astype(np.uint16), 1, white_is_zero=True))
    assert abs(grey(tmp_path / "a.tif").astype(int) - (255 - eight_bits(tmp_path / "b.png").astype(int))).max() <= 1


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize(
    "kind, count",
    [("png", 2), *((k, n) for k in ("png", "tiff", "tiff deflate", "tiff >", "tiff > deflate") for n in (3, 4))],
)
def test_colour_of_16_bits_keeps_the_lower_ones(tmp_path, bits, kind, count):
    """Pillow gives the upper half of each value alone, in which an image of 8 bits is black."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 2**bits, (8, 8, count)).astype(np.uint16)
    values[0, 0, 0] = 2**bits - 1
    if count != 3:
        values[..., -1] = 65535  # opaque
    colour = values[..., :1].repeat(3, 2) if count == 2 else values[..., :3]
    wanted = (colour / (2**bits - 1) * 255).round()
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    content = png(8, 8, 16, {2: 4, 3: 2, 4: 6}[count], rows) if kind == "png" else b""
    content = content or tiff(values, 1, ">" if ">" in kind else "<", "deflate" in kind)
    (tmp_path / "a.img").write_bytes(content)
    assert abs(read_image(tmp_path / "a.img", 8, 3).permute(1, 2, 0).numpy() - wanted).max() <= 1
    assert list(survey([tmp_path / "a.img"]).ranges()) == ["integer"]


def test_what_is_transparent_in_16_bits_is_white(tmp_path):
    rows = b"".join(b"\0" + np.zeros((8, 4), ">u2").tobytes() for _ in range(8))
    (tmp_path / "a.png").write_bytes(png(8, 8, 16, 6, rows))
    assert read_image(tmp_path / "a.png", 8, 3).unique().tolist() == [255]


def test_the_set_decides_and_not_each_file(tmp_path):
    for name, most in (("dark", 300), ("bright", 4000)):
        Image.fromarray(np.full((8, 8), most, np.uint16)).save(tmp_path / f"{name}.png")
    Image.new("L", (8, 8), 200).save(tmp_path / "eight_bits.png")
    ranges = survey(sorted(tmp_path.iterdir())).ranges()
    assert ranges == {"integer": [0, 4095]}
    assert grey(tmp_path / "dark.png", ranges).max() == round(300 / 4095 * 255)
    assert grey(tmp_path / "eight_bits.png", ranges).max() == 200


def test_whole_numbers_and_floats_have_ranges_of_their_own(tmp_path):
    Image.fromarray(np.full((8, 8), 4000, np.uint16)).save(tmp_path / "a.png")
    Image.fromarray(RAMP.astype(np.float32)).save(tmp_path / "b.tif")
    assert survey(sorted(tmp_path.iterdir())).ranges() == {"float": [0, 1], "integer": [0, 4095]}


def test_what_is_no_number_is_black_and_decides_nothing(tmp_path):
    values = RAMP.astype(np.float32)
    values[0, :3] = np.nan, np.inf, -np.inf
    Image.fromarray(values).save(tmp_path / "a.tif")
    assert survey([tmp_path / "a.tif"]).ranges() == {"float": [0, 1]}
    assert grey(tmp_path / "a.tif")[0, 0, :3].tolist() == [0, 255, 0]


def test_a_file_of_nothing_but_nan_is_black(tmp_path):
    Image.fromarray(np.full((8, 8), np.nan, np.float32)).save(tmp_path / "a.tif")
    assert grey(tmp_path / "a.tif").max() == 0 and survey([tmp_path / "a.tif"]).ranges() == {}


def test_a_declared_range_comes_first(tmp_path):
    values = (RAMP * 900).round().astype(np.uint16)
    (tmp_path / "a.tif").write_bytes(tiff(values, 1, more=[(281, 3, "H", 16383)]))
    (tmp_path / "b.pgm").write_bytes(b"P5 8 8 16383\n" + values.astype(">u2").tobytes())
    for name in ("a.tif", "b.pgm"):
        assert abs(grey(tmp_path / name) - RAMP * 900 / 16383 * 255).max() <= 1
    assert survey([tmp_path / "a.tif"]).ranges() == {"integer": [0, 16383]}


def test_a_declared_range_that_the_values_leave_is_none(tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff((RAMP * 4000).astype(np.uint16), 1, more=[(281, 3, "H", 99)]))
    assert survey([tmp_path / "a.tif"]).ranges() == {"integer": [0, 4095]}


def test_several_pages_and_frames_are_counted(tmp_path):
    frames = [Image.new("RGB", (8, 8), (i, 0, 0)) for i in (10, 200)]
    for name in ("a.tif", "b.gif", "c.webp", "d.png"):
        more = {"lossless": True} if name == "c.webp" else {}
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **more)
        frames[0].save(tmp_path / f"single_{name}")
    files = sorted(tmp_path.iterdir())
    assert survey(files).several == 4
    for path in files:
        assert abs(int(read_image(path, 8, 3)[0, 0, 0]) - 10) <= 3


def test_values_beyond_a_range_are_counted(tmp_path):
    for i, most in enumerate((100, 255, 256)):
        Image.fromarray(np.full((8, 8), most, np.uint16)).save(tmp_path / f"{i}.png")
    found = survey(sorted(tmp_path.iterdir()))
    assert found.beyond({"integer": [0, 255]}) == 1 and found.beyond({"float": [0, 1]}) == 0


def test_the_survey_leaves_damage_to_the_reader(tmp_path):
    for name, content in (("a.png", b""), ("c.webp", b"RIFF\x00\x00\x00\x00WEBPVP8X"), ("d.png", b"\x89PNG")):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "b.tif").write_bytes(tiff(RAMP.astype(np.float32), 3)[:100])
    assert survey([*sorted(tmp_path.iterdir()), tmp_path / "gone.png"]) == ({}, 0)
