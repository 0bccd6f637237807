import pytest
import torch

from zoo.functional.patches import patchify, positions_2d, unpatchify


def test_patches_are_rows_of_an_image():
    x = torch.arange(2 * 3 * 4 * 6.0).view(2, 3, 4, 6)
    rows = patchify(x, 2)
    assert rows.shape == (2, 6, 12)
    assert torch.equal(rows[1, 4], x[1, :, 2:4, 2:4].flatten())


@pytest.mark.parametrize("shape, patch", [((1, 8, 8), 2), ((3, 12, 20), 4), ((2, 6, 6), 6), ((5, 3, 4), 1)])
def test_patches_and_images_are_inverse(shape, patch):
    x = torch.randn(2, *shape)
    grid = (shape[1] // patch, shape[2] // patch)
    assert torch.equal(unpatchify(patchify(x, patch), patch, grid), x)


def test_patches_are_torchs_unfolded_windows():
    x = torch.randn(2, 3, 8, 12)
    assert torch.equal(patchify(x, 4), torch.nn.functional.unfold(x, 4, stride=4).transpose(1, 2))


def test_positions_tell_places_and_axes_apart():
    positions = positions_2d(torch.arange(5.0), torch.arange(7.0), 16)
    assert positions.shape == (35, 16) and torch.pdist(positions).min() > 0.1
    grid = positions.view(5, 7, 16)
    assert torch.equal(grid[:, 0, :8], grid[:, 6, :8]) and torch.equal(grid[0, :, 8:], grid[4, :, 8:])
    shortest, longest = torch.pi, torch.pi / 20  # 2 and 40 patches
    torch.testing.assert_close(grid[2, 3, 3], torch.tensor(2 * longest).sin())
    torch.testing.assert_close(grid[2, 3, 4], torch.tensor(2 * shortest).cos())
    torch.testing.assert_close(grid[2, 3, 11], torch.tensor(3 * longest).sin())
    torch.testing.assert_close(grid[2, 3, 12], torch.tensor(3 * shortest).cos())
