import pytest
import torch

from zoo.functional import moments as m
from zoo.functional.moments import add_moments, covariance, empty_moments, row_moments, variance


def gather(x, size, directions=None):
    found = None
    for rows in x.split(size):
        block = row_moments(rows, directions)
        found = found or empty_moments(block.shift, directions)
        found = add_moments(found, block, directions)
    return found


def random(rows, dim, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    if dtype == torch.uint8:
        return torch.randint(0, 256, (rows, dim), generator=generator, dtype=dtype)
    mix = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    x = torch.randn(rows, dim, generator=generator, dtype=torch.float64) @ mix
    return x > 0 if dtype == torch.bool else x.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.uint8, torch.int64, torch.bfloat16, torch.bool])
@pytest.mark.parametrize("size", [1, 7, 500, 3000])
def test_mean_and_covariance_are_torchs_own(dtype, size):
    x = random(2500, 9, dtype) if dtype != torch.int64 else random(2500, 9, torch.uint8).long() * 10**6
    found = gather(x, size)
    exact = x.double()
    tolerance = 1e-11 if dtype in (torch.float64, torch.uint8, torch.int64) else 5e-6
    expected = torch.cov(exact.T)
    assert (covariance(found) - expected).abs().max() < tolerance * expected.abs().max()
    assert (found.mean - exact.mean(0)).abs().max() < tolerance * exact.abs().max()
    torch.testing.assert_close(variance(found), exact.var(0, correction=0).sum(), rtol=10 * tolerance, atol=0)


@pytest.mark.parametrize("fast", [True, False])
def test_bytes_are_exact_whatever_the_batches_and_their_order(monkeypatch, fast):
    if not fast:
        monkeypatch.setattr(m, "_multiplies_bytes", lambda device: False)
    x = random(5000, 12, torch.uint8)
    x[:, 3], x[:2500, 4] = 255, 0
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    y = x.long() - 128
    for found in (gather(x, 1), gather(x, 640), gather(x[order], 5000), gather(x.flip(1), 999)):
        flipped = found.product.flip(0, 1) if torch.equal(found.total.flip(0).long(), y.sum(0)) else found.product
        assert torch.equal(flipped.long(), y.T @ y) and found.rows == 5000
        assert found.energy.long() == y.square().sum()


def test_bytes_do_not_overflow_in_large_batches():
    x = torch.zeros(140_000, 2, dtype=torch.uint8)  # products of 2^14, 2.3 * 10^9 in all
    assert row_moments(x).product.tolist() == [[140_000 * 2.0**14] * 2] * 2


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_huge_mean_cancels_nothing(dtype):
    x = (random(4000, 6, torch.float64) + 1e6).to(dtype)
    expected = torch.cov((x.double() - 1e6).T)  # what float32 rounded off is gone before
    for size in (37, 1000):
        assert (covariance(gather(x, size)) - expected).abs().max() < 1e-6 * expected.abs().max()


def test_a_mean_that_wanders_far_cancels_nothing():
    steps = torch.arange(40).repeat_interleave(100)[:, None] * 1e4
    x = (random(4000, 5, torch.float64) + steps).float()
    expected = torch.cov(x.double().T)
    assert (covariance(gather(x, 100)) - expected).abs().max() < 1e-6 * expected.abs().max()
    moved = torch.eye(5, dtype=torch.float64) - 0.2  # without the direction in which all wander
    assert (moved @ (covariance(gather(x, 100)) - expected) @ moved).abs().max() < 1e-6 * x.double().var()


def test_two_halves_are_the_whole_about_either_point():
    x = random(1000, 8, torch.float64) + 5
    first, second = gather(x[:300], 50), gather(x[300:], 70)
    whole = torch.cov(x.T)
    torch.testing.assert_close(covariance(add_moments(empty_moments(second.shift), first)), torch.cov(x[:300].T))
    torch.testing.assert_close(covariance(add_moments(first, second)), whole)


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_projected_products_are_products_projected(dtype):
    x, directions = random(2000, 30, dtype), torch.randn(30, 4, generator=torch.Generator().manual_seed(1))
    expected = torch.cov(x.double().T) @ directions.double()
    for size in (64, 2000):
        found = gather(x, size, directions)
        assert (covariance(found, directions) - expected).abs().max() < 1e-5 * expected.abs().max()
        torch.testing.assert_close(variance(found), variance(gather(x, size)), rtol=1e-5, atol=0)


def test_rows_are_not_changed():
    for dtype in (torch.uint8, torch.float32, torch.float64):
        x = random(50, 4, dtype)
        copy = x.clone()
        gather(x, 10)
        assert torch.equal(x, copy)
