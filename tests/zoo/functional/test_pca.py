import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.decomposition._pca import _infer_dimension

from zoo.functional.moments import row_moments
from zoo.functional.pca import (
    choose_components,
    log_density,
    mle_dimension,
    noise_variance,
    nystrom_axes,
    orient,
    principal_axes,
    random_directions,
    residual,
)


def data(rows, dim, decay=0.8, seed=0):
    """Rows whose variances fall from axis to axis, in a random basis."""
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(dim, dim, generator=generator, dtype=torch.float64))[0]
    spread = decay ** torch.arange(dim, dtype=torch.float64)
    return torch.randn(rows, dim, generator=generator, dtype=torch.float64) * spread @ basis + 3


def test_axes_and_signs_are_scikit_learns():
    x = data(500, 12)
    values, axes = principal_axes(row_moments(x))
    reference = PCA(svd_solver="full").fit(x.numpy())
    np.testing.assert_allclose(values.numpy(), reference.explained_variance_, rtol=1e-10)
    np.testing.assert_allclose(orient(axes).numpy(), reference.components_, atol=1e-9)


def test_near_equal_variances_are_told_apart():
    """Deviations of 1 and 1 + 1e-3 about a mean of 1e6: the axes are those of the sample, to the gap's precision."""
    x = data(20_000, 8, decay=1.0)
    x = (x - x.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T))).T  # of covariance 1
    spread = 1 + 1e-3 * torch.arange(8, 0, -1, dtype=torch.float64)
    values, axes = principal_axes(row_moments(x * spread + 1e6))
    torch.testing.assert_close(values, spread.square(), rtol=1e-8, atol=0)
    torch.testing.assert_close(orient(axes), torch.eye(8, dtype=torch.float64), atol=1e-5, rtol=0)


def test_what_has_no_variance_has_none():
    x = data(400, 6)
    x[:, 2] = 7.0
    values, axes = principal_axes(row_moments(x))
    assert values[-1] == 0 and axes[-1, 2].abs() == pytest.approx(1)
    few, _ = principal_axes(row_moments(data(4, 9)))
    assert (few[:3] > 0).all() and (few[3:] == 0).all()


def test_signs():
    assert orient(torch.tensor([[1.0, -3.0], [2.0, 1.0], [0.0, 0.0]])).tolist() == [[-1, 3], [2, 1], [0, 0]]


@pytest.mark.parametrize("seed", range(8))
def test_minkas_choice_is_scikit_learns(seed):
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(15, generator=generator, dtype=torch.float64).sort(descending=True).values
    values[4:] *= 0.05 if seed % 2 else 0.9
    values = values.sort(descending=True).values
    values[13:] = 0 if seed >= 4 else values[13:]
    if seed >= 4:
        values = values[:14]  # the reference takes no logarithm of two equal variances' difference
    for rows in (20, 100, 100_000):
        assert mle_dimension(values, rows) == _infer_dimension(values.numpy(), rows)


def test_minkas_choice_finds_the_planted_dimension():
    x = data(5000, 20, decay=1.0)
    x[:, :6] += 5 * torch.randn(5000, 6, generator=torch.Generator().manual_seed(5))
    values, _ = principal_axes(row_moments(x))
    assert mle_dimension(values, 5000) == 6 == PCA("mle", svd_solver="full").fit(x.numpy()).n_components_


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999, 0.9999999])
def test_a_fraction_is_exceeded_as_in_scikit_learn(share):
    x = data(300, 10)
    values, _ = principal_axes(row_moments(x))
    expected = PCA(share, svd_solver="full").fit(x.numpy()).n_components_
    assert choose_components(share, values, values.sum().item(), 300) == expected


def test_a_fraction_of_nothing_is_one_component():
    assert choose_components(0.5, torch.zeros(4).double(), 0.0, 10) == 1


@pytest.mark.parametrize(
    "wanted, total, rows, says",
    [(5, 3.0, 4, "is 5.*only 4 rows"), ("mle", 3.0, 2, "2 and 3"), (0.9, 9.0, 50, "hold only 0.333.*sketch_size")],
)
def test_what_cannot_be_chosen_is_said(wanted, total, rows, says):
    with pytest.raises(ValueError, match=says):
        choose_components(wanted, torch.ones(3).double(), total, rows)


@pytest.mark.parametrize("components", [1, 4, 10])
@pytest.mark.parametrize("rows", [7, 500])
def test_noise_and_density_are_scikit_learns(components, rows):
    if components > rows:
        components = rows - 2
    x = data(rows, 10)
    values, axes = principal_axes(row_moments(x))
    reference = PCA(components, svd_solver="full").fit(x.numpy())
    noise = noise_variance(values, values.sum().item(), components, min(rows, 10))
    assert noise == pytest.approx(reference.noise_variance_, rel=1e-9)
    centred = x - x.mean(0)
    codes = centred @ axes[:components].T
    left = residual(centred, codes)
    rebuilt = torch.from_numpy(reference.inverse_transform(reference.transform(x.numpy())))
    torch.testing.assert_close(left, (x - rebuilt).square().sum(1), atol=1e-10, rtol=1e-9)
    found = log_density(codes, left, values[:components], torch.tensor(noise, dtype=torch.float64), 10)
    np.testing.assert_allclose(found.numpy(), reference.score_samples(x.numpy()), rtol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_sketchs_error_is_within_what_is_known_and_what_is_promised(dtype):
    x = data(3000, 60, decay=0.9).to(dtype)
    covariance = torch.cov(x.double().T)
    exact = torch.linalg.eigvalsh(covariance).flip(0)
    width, missed = 24, []
    for seed in range(20):
        omega = random_directions(60, width, seed)
        values, axes = nystrom_axes(row_moments(x, omega), omega)
        missed.append((exact.sum() - values.sum()).item())
        rounding = 1e-5 * exact[0]
        assert (values <= exact[:width] + rounding).all() and (exact[:width] - values <= missed[-1] + rounding).all()
        left = covariance - axes.T * values @ axes
        ends = torch.linalg.eigvalsh(left)
        assert ends[0] > -rounding and ends[-1] <= missed[-1] + rounding
        torch.testing.assert_close(axes @ axes.T, torch.eye(width).double(), atol=1e-8, rtol=0)
    promised = min((1 + r / (width - r - 1)) * exact[r:].sum().item() for r in range(1, width - 1))
    assert 0 < np.mean(missed) <= promised


def test_a_sketch_of_few_dimensions_is_exact():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1000, 3, generator=generator).double() @ torch.randn(3, 50, generator=generator).double()
    omega = random_directions(50, 10)
    values, axes = nystrom_axes(row_moments(x, omega), omega)
    expected, vectors = principal_axes(row_moments(x))
    torch.testing.assert_close(values[:3], expected[:3], rtol=1e-7, atol=0)
    torch.testing.assert_close(orient(axes[:3]), orient(vectors[:3]), atol=1e-7, rtol=0)
    assert (values[3:] < 1e-6 * values[0]).all()
