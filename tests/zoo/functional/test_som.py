import math

import pytest
import torch

from zoo.functional.som import (
    adjacent,
    axis_distances,
    batch_update,
    decayed,
    distance_to,
    grid_distances,
    grid_positions,
    neighbourhood,
    online_update,
    pca_units,
    scores,
    spread,
    unit_sums,
)

ROWS, COLUMNS, D = 4, 5, 3
X = torch.randn(60, D, dtype=torch.double, generator=torch.Generator().manual_seed(0))
UNITS = torch.randn(ROWS * COLUMNS, D, dtype=torch.double, generator=torch.Generator().manual_seed(1))


def nearest(x, units):
    return torch.cdist(x, units).argmin(1)


def test_the_nearest_unit_has_the_highest_score():
    found = scores(X, UNITS)
    assert torch.equal(found.argmax(1), nearest(X, UNITS))
    squared = X.square().sum(1, keepdim=True) - 2 * found
    torch.testing.assert_close(squared.sqrt(), torch.cdist(X, UNITS))
    torch.testing.assert_close(distance_to(X, UNITS, nearest(X, UNITS)), torch.cdist(X, UNITS).amin(1))


def test_six_and_eight_neighbours():
    rectangular = adjacent(grid_distances(6, 7), "rectangular").view(6, 7, 6, 7)
    hexagonal = adjacent(grid_distances(6, 7, "hexagonal"), "hexagonal").view(6, 7, 6, 7)
    assert rectangular[2, 3].sum() - 1 == 8 and rectangular[0, 0].sum() - 1 == 3
    assert hexagonal[2, 3].sum() - 1 == 6 and hexagonal[3, 3].sum() - 1 == 6
    for kind in ("rectangular", "hexagonal"):
        touching = adjacent(grid_distances(6, 7, kind, torus=True), kind)
        assert (touching.sum(1) - 1 == (8 if kind == "rectangular" else 6)).all()  # no unit is at an edge
        assert torch.equal(touching, touching.T)


def test_distances_are_between_positions():
    places = grid_positions(4, 5, "hexagonal")
    torch.testing.assert_close(grid_distances(4, 5, "hexagonal").sqrt(), torch.cdist(places, places), atol=1e-3, rtol=0)
    torus = grid_distances(4, 5, "rectangular", torus=True).view(4, 5, 4, 5)
    assert torus[0, 0, 3, 4] == 2 and torus[0, 0, 2, 2] == 8  # one step back in each direction; half way round
    with pytest.raises(ValueError, match="even number of rows; got 5"):
        grid_distances(5, 5, "hexagonal", torus=True)


def test_neighbourhoods():
    squared = torch.tensor([0.0, 1.0, 4.0, 9.0])
    gaussian = [math.exp(-d / 8) for d in squared.tolist()]
    assert neighbourhood("gaussian", squared, 2.0).tolist() == pytest.approx(gaussian)
    assert neighbourhood("bubble", squared, 2.0).tolist() == [1, 1, 1, 0]
    hat = [(1 - d / 4) * g for d, g in zip(squared.tolist(), gaussian, strict=True)]
    assert neighbourhood("mexican_hat", squared, 2.0).tolist() == pytest.approx(hat, abs=1e-7)


def test_schedules():
    for schedule in ("linear", "exponential", "inverse"):
        assert decayed(schedule, 8.0, 0.5, 0.0) == pytest.approx(8) and decayed(
            schedule, 8.0, 0.5, 1.0
        ) == pytest.approx(0.5)
    assert decayed("linear", 8.0, 0.0, 0.25) == 6
    assert decayed("exponential", 8.0, 0.5, 0.5) == pytest.approx(2)
    assert decayed("inverse", 1.0, 1 / 3, 0.5) == pytest.approx(0.5)  # 1 / (1 + 2 t)


@pytest.mark.parametrize("torus", [False, True])
def test_rows_then_columns_is_the_whole_neighbourhood(torus):
    whole = neighbourhood("gaussian", grid_distances(ROWS, COLUMNS, torus=torus).double(), 1.3)
    down, right = (
        neighbourhood("gaussian", axis_distances(n, 1.0, torus).square().double(), 1.3) for n in (ROWS, COLUMNS)
    )
    torch.testing.assert_close(spread(UNITS, (down, right)), spread(UNITS, whole))
    torch.testing.assert_close(spread(UNITS[:, 0], (down, right)), spread(UNITS[:, 0], whole))


def test_the_batch_rule_is_kohonens_formula():
    """Every unit the mean of all samples, each weighted by the neighbourhood between its unit and this one."""
    influence = neighbourhood("gaussian", grid_distances(ROWS, COLUMNS).double(), 1.1)
    chosen = nearest(X, UNITS)
    sums, counts = unit_sums(X, chosen, len(UNITS))
    moved = batch_update(UNITS, spread(sums, influence), spread(counts, influence))
    for k in range(len(UNITS)):
        weight = [influence[k, c].item() for c in chosen.tolist()]
        for d in range(D):
            expected = sum(w * x for w, x in zip(weight, X[:, d].tolist(), strict=True)) / sum(weight)
            assert moved[k, d].item() == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_a_unit_that_nothing_reaches_stays():
    influence = neighbourhood("bubble", grid_distances(ROWS, COLUMNS).double(), 0.5).double()
    sums, counts = unit_sums(X[:1], torch.tensor([7]), len(UNITS))
    moved = batch_update(UNITS, spread(sums, influence), spread(counts, influence))
    assert torch.equal(moved[7], X[0])
    assert torch.equal(moved[torch.arange(len(UNITS)) != 7], UNITS[torch.arange(len(UNITS)) != 7])


@pytest.mark.parametrize("kind", ["gaussian", "bubble", "mexican_hat"])
def test_the_online_rule_for_one_sample_is_kohonens(kind):
    influence = neighbourhood(kind, grid_distances(ROWS, COLUMNS).double(), 1.5).double()
    for x in X[:5]:
        unit = nearest(x[None], UNITS)
        moved = online_update(UNITS, *unit_sums(x[None], unit, len(UNITS)), influence, 0.3, kind == "mexican_hat")
        torch.testing.assert_close(moved, UNITS + 0.3 * influence[unit].T * (x - UNITS))


def test_the_online_rule_for_like_samples_is_that_rule_many_times():
    influence = neighbourhood("gaussian", grid_distances(ROWS, COLUMNS).double(), 1.5)
    x = X[:1].expand(9, D)
    moved = online_update(UNITS, *unit_sums(x, torch.full((9,), 7), len(UNITS)), influence, 0.3)
    one_by_one = UNITS
    for row in x:
        one_by_one = one_by_one + 0.3 * influence[:, 7:8] * (row - one_by_one)
    torch.testing.assert_close(moved, one_by_one)


def test_a_start_on_the_principal_plane():
    x = torch.randn(500, 6, dtype=torch.double) * torch.tensor([5.0, 3.0, 0.1, 0.1, 0.1, 0.1]) + 7
    units = pca_units(x, 8, 4)
    centred = units - x.mean(0)
    assert torch.linalg.matrix_rank(centred, atol=1e-8) == 2
    grid = centred.view(8, 4, 6)
    assert (grid[-1, 0] - grid[0, 0]).norm() == pytest.approx(4 * 5, rel=0.15)  # the longer side, four deviations
    assert (grid[0, -1] - grid[0, 0]).norm() == pytest.approx(4 * 3, rel=0.15)
    assert pca_units(x[:1], 2, 2).isfinite().all()
    flipped = pca_units(x.flip(0), 8, 4)
    torch.testing.assert_close(flipped, units)


def test_minisom_agrees():
    """Its own errors, and its own steps one sample at a time."""
    minisom = pytest.importorskip("minisom")
    theirs = minisom.MiniSom(ROWS, COLUMNS, D, sigma=1.2, learning_rate=0.4, random_seed=0)
    theirs._weights = UNITS.view(ROWS, COLUMNS, D).numpy().copy()
    top = scores(X, UNITS).topk(2, 1).indices
    touching = adjacent(grid_distances(ROWS, COLUMNS), "rectangular")
    assert theirs.quantization_error(X.numpy()) == pytest.approx(distance_to(X, UNITS, top[:, 0]).mean().item())
    assert theirs.topographic_error(X.numpy()) == pytest.approx(
        (~touching[top[:, 0], top[:, 1]]).double().mean().item()
    )
    units = UNITS
    for t, x in enumerate(X[:20]):
        theirs.update(x.numpy(), theirs.winner(x.numpy()), t, 20)
        sigma, rate = 1.2 / (1 + t / 10), 0.4 / (1 + t / 10)
        influence = neighbourhood("gaussian", grid_distances(ROWS, COLUMNS).double(), sigma)
        units = online_update(units, *unit_sums(x[None], nearest(x[None], units), len(units)), influence, rate)
    torch.testing.assert_close(units, torch.from_numpy(theirs._weights).view(-1, D), rtol=1e-6, atol=1e-6)
