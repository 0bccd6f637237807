import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from datamodules.augment import random_flip, random_jitter, random_resized_crop, random_rotation, random_shift


def images(n=32):
    return torch.rand(n, 3, 8, 10, generator=torch.Generator().manual_seed(0))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_each_shift_is_a_crop_of_the_padded_image():
    x, seen = images(), set()
    for original, shifted in zip(x, random_shift(x, 2, seeded()), strict=True):
        padded = tv.pad(original, [2, 2], padding_mode="reflect")
        places = [(i, j) for i in range(5) for j in range(5) if torch.equal(tv.crop(padded, i, j, 8, 10), shifted)]
        assert len(places) == 1
        seen.update(places)
    assert len(seen) > 10  # each image goes its own way


def test_no_shift_changes_nothing():
    assert torch.equal(random_shift(images(), 0), images())


def test_about_half_is_mirrored_and_the_rest_untouched():
    x = images(400)
    flipped = random_flip(x, seeded())
    mirrored = (flipped == tv.horizontal_flip(x)).flatten(1).all(1)
    same = (flipped == x).flatten(1).all(1)
    assert (mirrored ^ same).all() and 150 < mirrored.sum() < 250


def test_each_resized_crop_is_a_window_of_the_stated_area():
    """Of images whose pixels say where they are: a window's values are evenly spaced, and their span is its side."""
    down, right = torch.meshgrid(torch.arange(40.0), torch.arange(50.0), indexing="ij")
    cropped = random_resized_crop(torch.stack([down, right]).expand(300, 2, 40, 50), 0.5, seeded())
    rows, columns = cropped[:, 0, 1:-1, 25].diff(dim=1), cropped[:, 1, 20, 1:-1].diff(dim=1)
    torch.testing.assert_close(rows, rows[:, :1].expand_as(rows), atol=1e-4, rtol=0)
    torch.testing.assert_close(columns, columns[:, :1].expand_as(columns), atol=1e-4, rtol=0)
    heights, widths = rows[:, 0], columns[:, 0]  # as shares of the sides
    assert heights.max() <= 1.001 and widths.max() <= 1.001
    whole = (heights < 0.999) & (widths < 0.999)  # not clipped at the image's edges
    areas, aspects = (heights * widths)[whole], (widths / heights)[whole]
    assert 0.5 <= areas.min() < 0.55 and areas.max() > 0.85 and aspects.min() > 0.74 and aspects.max() < 1.34
    assert 0 <= cropped.min() < 0.5 and cropped[:, 0].max() <= 39 and cropped[:, 1].max() <= 49


def test_a_crop_of_everything_changes_the_aspect_alone():
    x = images(1)
    torch.testing.assert_close(
        random_resized_crop(x.expand(9, -1, -1, -1), 0.999, seeded()).mean(), x.mean(), atol=0.02, rtol=0
    )


@pytest.mark.parametrize("scale", [0.0, -1.0, 1.5, float("nan")])
def test_a_crop_of_no_share(scale):
    with pytest.raises(ValueError, match="crop_scale"):
        random_resized_crop(images(), scale)


def test_turned_images_are_torchvisions():
    """Inside the circle that no corner reaches."""
    x = torch.rand(32, 3, 24, 30, generator=seeded())
    angles = 40 * (2 * torch.rand(32, generator=seeded()) - 1)
    bilinear = tv.InterpolationMode.BILINEAR
    expected = torch.stack([tv.rotate(one, a.item(), bilinear) for one, a in zip(x, angles, strict=True)])
    down, right = torch.meshgrid(torch.arange(24) - 11.5, torch.arange(30) - 14.5, indexing="ij")
    inside = down.square() + right.square() < 11**2
    torch.testing.assert_close(random_rotation(x, 40, seeded())[..., inside], expected[..., inside], atol=1e-3, rtol=0)


def test_jitter_is_contrast_and_brightness_within_bounds():
    x = 0.4 + 0.1 * images()  # nothing is clipped
    y = random_jitter(x, 0.3, seeded())
    contrast = y.flatten(1).std(1) / x.flatten(1).std(1)  # both factors
    brightness = y.mean((1, 2, 3)) / x.mean((1, 2, 3))
    assert brightness.min() >= 0.7 - 1e-5 and brightness.max() <= 1.3 + 1e-5 and brightness.unique().numel() == len(x)
    factor = contrast / brightness
    assert factor.min() >= 0.7 - 1e-4 and factor.max() <= 1.3 + 1e-4


@pytest.mark.parametrize(
    "augment",
    [
        lambda x, g: random_shift(x, 3, g),
        random_flip,
        lambda x, g: random_rotation(x, 45, g),
        lambda x, g: random_jitter(x, 0.9, g),
    ],
)
def test_input_stays_and_the_seed_repeats(augment):
    x = images()
    first, second, other = augment(x, seeded(1)), augment(x, seeded(1)), augment(x, seeded(2))
    assert torch.equal(x, images()) and torch.equal(first, second) and not torch.equal(first, other)
    assert first.min() >= 0 and first.max() <= 1


@pytest.mark.parametrize(
    "call", [lambda x: random_shift(x, 8), lambda x: random_jitter(x, 1.5), lambda x: random_rotation(x, 200)]
)
def test_impossible_amounts_are_refused(call):
    with pytest.raises(ValueError, match=r"8 pixels|0 to 1"):
        call(images())
