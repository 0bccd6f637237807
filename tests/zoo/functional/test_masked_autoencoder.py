import pytest
import torch

from zoo.functional.masked_autoencoder import (
    check_mask,
    count_visible,
    explained_share,
    patch_error,
    patch_statistics,
    patch_targets,
    put,
    split_patches,
    take,
)


def split(index, grid=(4, 4), ratio=0.75, seed=3, epoch=5, block=1):
    return split_patches(torch.as_tensor(index), grid, ratio, seed, epoch, block)


@pytest.mark.parametrize("grid", [(4, 4), (7, 7), (3, 8), (14, 14)])
@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.75, 0.9])
@pytest.mark.parametrize("block", [1, 2, 3])
def test_every_patch_is_either_visible_or_hidden(grid, ratio, block):
    patches = grid[0] * grid[1]
    visible, hidden = split(torch.arange(50), grid, ratio, block=block)
    assert visible.shape == (50, int(patches * (1 - ratio))) and count_visible(patches, ratio) == visible.shape[1]
    both = torch.cat([visible, hidden], 1).sort(1).values
    assert torch.equal(both, torch.arange(patches).expand(50, -1))


def test_masks_are_the_samples_not_the_batchs():
    visible, hidden = split(torch.arange(100))
    some = torch.tensor([97, 3, 41])
    assert torch.equal(split(some)[0], visible[some]) and torch.equal(split(some)[1], hidden[some])
    for other in ({"seed": 4}, {"epoch": 6}, {"epoch": -1}):
        assert (split(torch.arange(100), **other)[0] != visible).any(1).float().mean() > 0.95


def test_every_patch_is_as_often_visible_whatever_its_neighbours():
    """Over 20,000 masks shares and those of pairs are within five standard errors of draws without replacement."""
    visible, _ = split(torch.arange(20_000))
    seen = torch.zeros(20_000, 16).scatter_(1, visible, 1.0)
    assert (seen.mean(0) - 0.25).abs().max() < 5 * (0.25 * 0.75 / 20_000) ** 0.5
    pairs = seen.T @ seen / 20_000
    expected = 4 / 16 * 3 / 15
    off = ~torch.eye(16, dtype=torch.bool)
    assert (pairs[off] - expected).abs().max() < 5 * (expected / 20_000) ** 0.5
    across = seen[:-1] * seen[1:]  # of one sample and the next
    assert (across.mean(0) - 1 / 16).abs().max() < 5 * (1 / 16 / 20_000) ** 0.5


@pytest.mark.parametrize("grid", [(8, 8), (7, 7)])
def test_blocks_are_hidden_whole_but_for_one(grid):
    block = 2
    h, w = grid
    visible, _ = split(torch.arange(200), grid, block=block)
    seen = torch.zeros(200, h * w).scatter_(1, visible, 1.0).view(200, 1, h, w)
    whole = torch.nn.functional.pad(seen, (0, -w % block, 0, -h % block))
    size = torch.nn.functional.pad(torch.ones(1, 1, h, w), (0, -w % block, 0, -h % block))
    counts, most = (torch.nn.functional.avg_pool2d(x, block) * block**2 for x in (whole, size))
    partly = (counts > 0.5) & (counts < most - 0.5)
    assert partly.flatten(1).sum(1).max() <= 1
    assert (seen.mean(0) - int(h * w * 0.25) / (h * w)).abs().max() < 0.15


def test_take_and_put_are_inverse():
    x = torch.randn(5, 16, 3)
    visible, hidden = split(torch.arange(5))
    assert torch.equal(take(x, visible)[2, 1], x[2, visible[2, 1]])
    empty = put(torch.zeros_like(x), visible, take(x, visible))
    assert torch.equal(put(empty, hidden, take(x, hidden)), x)


def test_targets_are_normalised_patch_by_patch():
    patches = torch.rand(2, 3, 16) * torch.tensor([1.0, 5.0, 0.0]).view(3, 1) + 2
    targets = patch_targets(patches)
    torch.testing.assert_close(targets[:, :2].var(-1), torch.ones(2, 2), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(targets.mean(-1), torch.zeros(2, 3), rtol=0, atol=1e-4)
    assert not targets[:, 2].any()  # of one colour
    layer = torch.nn.functional.layer_norm(patches, (16,), eps=0)[:, :2] * (15 / 16) ** 0.5  # its variance is biased
    torch.testing.assert_close(targets[:, :2], layer, rtol=1e-3, atol=1e-3)
    mean, std = patch_statistics(patches)
    torch.testing.assert_close(targets * std + mean, patches)
    assert torch.equal(patch_targets(patches, normalise=False), patches)


def test_a_patch_of_one_number_is_its_own_mean():
    assert torch.equal(patch_targets(torch.rand(2, 3, 1)), torch.zeros(2, 3, 1))


def test_error_is_computed_in_full_precision():
    answers, targets = torch.randn(2, 5, 4), torch.randn(2, 5, 4)
    torch.testing.assert_close(patch_error(answers, targets), torch.nn.functional.mse_loss(answers, targets))
    half = answers.bfloat16()
    assert patch_error(half, targets).dtype == torch.float32
    torch.testing.assert_close(patch_error(half, targets), torch.nn.functional.mse_loss(half.float(), targets))
    assert torch.autograd.gradcheck(patch_error, (answers.double().requires_grad_(), targets.double()))


def test_explained_is_a_coefficient_of_determination():
    targets = torch.randn(3, 4, 5)
    for answers, share in ((targets, 1.0), (targets.mean().expand_as(targets), 0.0)):
        found = explained_share(patch_error(answers, targets), targets)
        torch.testing.assert_close(found, torch.tensor(share), rtol=0, atol=1e-5)
    assert explained_share(torch.tensor(0.0), torch.zeros(2, 2, 2)) == 1  # images of one colour


@pytest.mark.parametrize(
    "patches, ratio, says",
    [
        (16, 0.99, "0.99 of 16 patches leaves none visible: take 0.062 to 0.94"),
        (16, 0.95, "leaves none visible"),
        (4, 0.0, "more than 0"),
        (4, 1.0, "less than 1"),
        (4, -0.5, "more than 0"),
        (4, float("nan"), "more than 0"),
        (1, 0.5, "one patch"),
    ],
)
def test_ratios_that_leave_nothing_to_do_are_refused(patches, ratio, says):
    with pytest.raises(ValueError, match=says):
        check_mask(patches, ratio)


def test_every_other_ratio_does():
    for patches in (2, 4, 16, 49):
        for ratio in (1 / patches, 0.5, 1 - 1 / patches):
            check_mask(patches, ratio)
