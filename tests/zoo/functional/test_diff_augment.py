import pytest
import torch

from zoo.functional.diff_augment import POLICIES, colour, cut_out, diff_augment, translate

X = torch.rand(6, 3, 16, 12, generator=torch.Generator().manual_seed(0))


def test_translation_is_a_shift_filled_with_black():
    down, right = torch.tensor([1, -2, 0, 2, 0, 1]), torch.tensor([0, 1, -1, 2, 0, -1])
    moved = translate(X, down, right, low=-7.0)
    for i, (d, r) in enumerate(zip(down.tolist(), right.tolist(), strict=True)):
        expected = torch.full_like(X[i], -7.0)
        for y in range(16):
            for x in range(12):
                if 0 <= y - d < 16 and 0 <= x - r < 12:
                    expected[:, y, x] = X[i, :, y - d, x - r]
        assert torch.equal(moved[i], expected)


def test_cutout_is_half_the_sides_where_it_fits():
    hole = cut_out(X, torch.full((6,), 8.0), torch.full((6,), 6.0), low=-1.0)
    assert (hole[:, :, 4:12, 3:9] == -1).all() and (hole == -1).sum() == 6 * 3 * 8 * 6
    corner = cut_out(X, torch.zeros(6), torch.zeros(6), low=-1.0)
    assert (corner[:, :, :4, :3] == -1).all() and (corner == -1).sum() == 6 * 3 * 4 * 3


def test_colour_in_the_middle_changes_nothing():
    half = torch.full((6, 1, 1, 1), 0.5)
    torch.testing.assert_close(colour(X, half, half, half), X)
    lighter = colour(X, torch.ones(6, 1, 1, 1), half, half, span=2.0)
    torch.testing.assert_close(lighter, X + 0.5)
    grey = colour(X, half, torch.zeros(6, 1, 1, 1), half)
    torch.testing.assert_close(grey, X.mean(1, keepdim=True).expand_as(X))


@pytest.mark.parametrize("policy", [[name] for name in POLICIES] + [[*POLICIES]])
def test_gradients_go_through_and_pictures_change_each_in_its_own_way(policy):
    x = X[:1].repeat(6, 1, 1, 1).requires_grad_()
    generator = torch.Generator().manual_seed(1)
    y = diff_augment(x, policy, generator=generator)
    assert y.shape == x.shape and len({tuple(picture.flatten().tolist()) for picture in y}) > 1
    y.sum().backward()
    assert x.grad.abs().sum() > 0
    torch.testing.assert_close(y, diff_augment(x, policy, generator=torch.Generator().manual_seed(1)))


def test_an_unknown_name_is_named():
    with pytest.raises(ValueError, match="unknown augmentation 'color'; there are: colour, translation, cutout"):
        diff_augment(X, ["color"])
