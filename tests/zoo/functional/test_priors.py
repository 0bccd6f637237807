import math

import numpy as np
import pytest
import torch
from scipy import stats

from zoo.functional.priors import PRIORS, draw, moments

SAMPLES = 50_000
INF = math.inf


def discrete(values, probabilities):
    return stats.rv_discrete(values=(values, probabilities))


def truncated(mean, std, low, high):
    return stats.truncnorm((low - mean) / std, (high - mean) / std, mean, std)


# (kind, options, the same by scipy)
CONTINUOUS = [
    ("truncated_normal_01", {}, stats.truncnorm(-1, 1, 0.5, 0.5)),
    ("truncated_normal_11", {}, stats.truncnorm(0, 1, -1, 2)),
    ("uniform_01", {}, stats.uniform(0, 1)),
    ("uniform_11", {}, stats.uniform(-1, 2)),
    ("normal", {}, stats.norm()),
    ("normal", {"mean": 3, "std": 0.5}, stats.norm(3, 0.5)),
    ("log_normal", {}, stats.lognorm(1)),
    ("log_normal", {"mean": -1.0, "std": 0.5}, stats.lognorm(0.5, scale=math.exp(-1))),
    ("truncated_normal", {}, stats.truncnorm(-2, 2)),
    ("truncated_normal", {"mean": 5.0, "std": 2.0}, truncated(5, 2, 1, 9)),
    ("truncated_normal", {"mean": 5.0, "std": 2.0, "low": 4, "high": 12}, truncated(5, 2, 4, 12)),
    ("truncated_normal", {"low": 0, "high": INF}, truncated(0, 1, 0, INF)),
    ("truncated_normal", {"low": -INF, "high": -6}, truncated(0, 1, -INF, -6)),
    ("truncated_normal", {"low": 6, "high": 9}, truncated(0, 1, 6, 9)),
    ("truncated_normal", {"low": -INF, "high": INF}, stats.norm()),
]
DISCRETE = [
    ("categorical", {}, stats.randint(0, 10)),
    ("categorical", {"classes": 3}, stats.randint(0, 3)),
    ("categorical", {"probabilities": [0.1, 0.2, 0.7]}, discrete([0, 1, 2], [0.1, 0.2, 0.7])),
    ("integer", {}, stats.randint(0, 10)),
    ("integer", {"low": -3, "high": 4}, stats.randint(-3, 5)),
    ("discrete", {}, discrete([-1, 1], [0.5, 0.5])),
    ("discrete", {"values": [3, -2, 8], "probabilities": [0.2, 0.7, 0.1]}, discrete([-2, 3, 8], [0.7, 0.2, 0.1])),
    ("one_hot", {"classes": 4}, discrete([0, 1], [0.75, 0.25])),
    ("one_hot", {"probabilities": [0.9, 0.1]}, discrete([0, 1], [0.5, 0.5])),
]
ALL = CONTINUOUS + DISCRETE


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def sample(kind, options, count=SAMPLES):
    classes = len(options.get("probabilities", ())) or options.get("classes", 8)
    return draw(kind, (count, classes) if kind == "one_hot" else (count,), generator(), **options)


def test_every_kind_is_held_against_scipy():
    assert {kind for kind, _, _ in ALL} == set(PRIORS) and len(PRIORS) == 11


@pytest.mark.parametrize("kind, options, reference", ALL)
def test_moments_are_scipys(kind, options, reference):
    support, mean, variance = moments(kind, **options)
    assert mean == pytest.approx(reference.mean(), rel=1e-9, abs=1e-12)
    assert variance == pytest.approx(reference.var(), rel=1e-6)
    low, high = reference.support()
    assert support == pytest.approx((low, high))


@pytest.mark.parametrize("kind, options, reference", ALL)
def test_samples_have_the_moments_and_keep_to_the_support(kind, options, reference):
    x = sample(kind, options).double().flatten()
    (low, high), mean, variance = moments(kind, **options)
    assert x.isfinite().all() and x.min() >= low and x.max() <= high
    spread = x.var().item()
    assert abs(x.mean().item() - mean) < 5 * math.sqrt(variance / len(x))
    fourth = (x - mean).pow(4).mean().item()  # of it, the error of a variance
    assert abs(spread - variance) < 5 * math.sqrt((fourth - variance**2) / len(x)) + 1e-3 * variance


@pytest.mark.parametrize("kind, options, reference", CONTINUOUS)
def test_samples_pass_kolmogorov_and_smirnov(kind, options, reference):
    assert stats.kstest(sample(kind, options).double().numpy(), reference.cdf).pvalue > 1e-3


@pytest.mark.parametrize("kind, options, reference", [case for case in DISCRETE if case[0] != "one_hot"])
def test_samples_pass_chi_square(kind, options, reference):
    values, counts = np.unique(sample(kind, options).numpy(), return_counts=True)
    expected = reference.pmf(values) * SAMPLES
    assert expected.sum() == pytest.approx(SAMPLES)  # every value was drawn, and no other
    assert stats.chisquare(counts, expected).pvalue > 1e-3


@pytest.mark.parametrize("shape", [(500, 6), (60, 6, 5, 4), (60, 6, 9)])
def test_one_hot_runs_along_the_second_dimension(shape):
    probabilities = [0.05, 0.1, 0.15, 0.2, 0.0, 0.5]
    x = draw("one_hot", shape, generator(), probabilities=probabilities)
    assert x.shape == shape and torch.equal(x.sum(1), torch.ones(shape[0], *shape[2:]))
    assert set(x.unique().tolist()) == {0.0, 1.0}
    counts = x.transpose(0, 1).flatten(1).sum(1).numpy()
    assert counts[4] == 0
    kept = [k for k in range(6) if k != 4]
    assert stats.chisquare(counts[kept], np.array(probabilities)[kept] * counts.sum()).pvalue > 1e-3


def test_one_hot_takes_its_classes_from_the_shape():
    x = draw("one_hot", (4000, 5), generator())
    assert stats.chisquare(x.sum(0).numpy()).pvalue > 1e-3


@pytest.mark.parametrize("kind", PRIORS)
def test_a_seed_repeats_and_another_differs(kind):
    shape = (40, 3, 4, 4)
    first, again, other = (draw(kind, shape, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    torch.manual_seed(1)
    assert torch.equal(draw(kind, shape), first)  # without a generator it is torch's own
    assert not torch.equal(draw(kind, shape), first)  # which goes on
    assert first.shape == shape and first.dtype == torch.float32 and not first.requires_grad


@pytest.mark.parametrize("kind", PRIORS)
def test_types_and_devices(kind):
    exact = draw(kind, (64, 4), generator(), dtype=torch.float64)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        assert torch.equal(draw(kind, (64, 4), generator(), dtype=dtype), exact.to(dtype))
    assert (
        draw(kind, (2, 3), device="meta").device.type == "meta"
    )  # nothing asks for a value: a device is not waited for


@pytest.mark.parametrize(
    "kind, options",
    [*((kind, {}) for kind in PRIORS), ("categorical", {"probabilities": [0.5, 0.5]}), ("normal", {"std": 2.0})],
)
def test_compiles_as_a_whole(kind, options):
    def made():
        return draw(kind, (8, 4), **options)

    torch.compiler.reset()  # kinds are constants: each is compiled anew, and after a few torch would refuse
    torch.manual_seed(0)
    expected = made()
    torch.manual_seed(0)
    torch.testing.assert_close(torch.compile(made, fullgraph=True, backend="eager")(), expected)


@pytest.mark.parametrize(
    "kind, options, says",
    [
        ("lognormal", {}, "unknown prior 'lognormal' \\(did you mean 'log_normal'\\?\\)"),
        ("normal", {"sdt": 1}, "'normal' has no option 'sdt' \\(did you mean 'std'\\?\\); there are: mean, std"),
        ("uniform_01", {"low": 1}, "'uniform_01' has no option 'low'; there are: none"),
        ("normal", {"std": 0}, "'normal': std must be more than 0; got 0"),
        ("normal", {"mean": INF}, "mean must be finite; got inf"),
        ("normal", {"mean": "a"}, "mean must be a number; got 'a'"),
        ("log_normal", {"std": -1.0}, "std must be more than 0; got -1.0"),
        ("log_normal", {"mean": 90.0}, "too large for float32"),
        ("truncated_normal", {"low": 1, "high": 1}, "low must be less than high; got 1 and 1"),
        ("truncated_normal", {"low": math.nan}, "low must be a number; got nan"),
        ("truncated_normal", {"low": 50, "high": 51}, "from 50 to 51 there is nothing of mean 0.0 and std 1.0"),
        ("integer", {"low": 4, "high": 3}, "low must be less than high; got 4 and 3"),
        ("integer", {"low": 0.5}, "low must be a whole number; got 0.5"),
        ("categorical", {"classes": 1}, "classes must be 2 or more; got 1"),
        ("categorical", {"classes": 3, "probabilities": [0.5, 0.5]}, "3 classes and 2 probabilities"),
        ("categorical", {"probabilities": [0.5, 0.6]}, "must sum to 1; these sum to 1.1"),
        ("discrete", {"values": []}, "values must hold one number"),
        ("discrete", {"values": [1, 2], "probabilities": [1.5, -0.5]}, "0 or more; got -0.5"),
        ("discrete", {"values": 3}, "values must be a list of numbers; got 3"),
        ("categorical", {"probabilities": 0.5}, "probabilities must be a list of numbers; got 0.5"),
        ("one_hot", {"probabilities": ["a", "b"]}, "each of probabilities must be a number; got 'a'"),
        ("one_hot", {"classes": 3}, "has 3 classes; dimension 1 of \\(8, 4\\) has 4"),
        ("one_hot", {"probabilities": [0.5, 0.5]}, "has 2 classes; dimension 1"),
    ],
)
def test_mistakes_are_named(kind, options, says):
    with pytest.raises(ValueError, match=says):
        draw(kind, (8, 4), **options)


def test_shapes_and_types_that_do_not_fit():
    for shape in ((8,), (8, 1)):
        with pytest.raises(ValueError, match="two classes or more in dimension 1"):
            draw("one_hot", shape)
    with pytest.raises(ValueError, match=r"floating dtype; got torch.int64"):
        draw("normal", (3,), dtype=torch.int64)
    with pytest.raises(ValueError, match="give classes"):
        moments("one_hot")
