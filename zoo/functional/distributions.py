"""Distributions as quantile functions: uniform numbers in (0, 1) to numbers of a distribution, by inversion.

Options are checked when a distribution is made; what is wrong is a ValueError that names option and value.
"""

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

_LEAST_MASS = 1e-290  # between a truncated normal's bounds: less is lost in float64


class Moments(NamedTuple):
    """The least and the greatest value (maybe infinite), the mean and the variance of all elements together."""

    support: tuple[float, float]
    mean: float
    variance: float


class Distribution(Protocol):
    """A distribution whose options were found to be right."""

    def quantile(self, u: Tensor) -> Tensor:
        """Uniform numbers (B, ...) in (0, 1) to the distribution's own, (B, ...) in the same precision."""

    def moments(self) -> Moments:
        """Support, mean and variance in closed form."""


def _number(name: str, value: Any, *, infinite: bool = False) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise ValueError(f"{name} must be a number; got {value!r}")
    if math.isinf(value) and not infinite:
        raise ValueError(f"{name} must be finite; got {value}")
    return value


def _numbers(name: str, given: Any) -> list[float]:
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise ValueError(f"{name} must be a list of numbers; got {given!r}")
    return [_number(f"each of {name}", value) for value in given]


def _deviation(value: Any) -> float:
    if not _number("std", value) > 0:
        raise ValueError(f"std must be more than 0; got {value}")
    return value


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name} must be a whole number; got {value!r}")
    return value


def _classes(classes: Any) -> int:
    if _whole("classes", classes) < 2:
        raise ValueError(f"classes must be 2 or more; got {classes}")
    return classes


def _probabilities(given: Any, count: int, of_what: str) -> list[float] | None:
    if given is None:
        return None
    chances = _numbers("probabilities", given)
    if len(chances) != count:
        raise ValueError(f"there are {count} {of_what} and {len(chances)} probabilities")
    if min(chances) < 0:
        raise ValueError(f"each of probabilities must be 0 or more; got {min(chances)}")
    if not math.isclose(sum(chances), 1, abs_tol=1e-6):
        raise ValueError(f"probabilities must sum to 1; these sum to {sum(chances):.7g}")
    return chances


def _choose(u: Tensor, count: int, probabilities: Sequence[float] | None) -> Tensor:
    """Uniform numbers to indices 0 .. count - 1, int64 of the same shape; None is equal probabilities."""
    if probabilities is None:
        return (u * count).long().clamp_max_(count - 1)  # a product may be rounded up
    *steps, total = accumulate(probabilities)
    # Not blocking: a copy that waits would stop the host until the device has done all that it was given before.
    edges = torch.tensor([step / total for step in steps], dtype=u.dtype).to(u.device, non_blocking=True)
    return torch.searchsorted(edges, u.contiguous(), right=True)


def _density(x: float) -> float:
    return math.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


def _below(x: float) -> float:
    """Phi(x), exact in the lower tail."""
    return 0.5 * math.erfc(-x / math.sqrt(2))


class Uniform:
    """Uniform between ``low`` and ``high``.

    >>> Uniform(0.0, 4.0).moments()
    Moments(support=(0.0, 4.0), mean=2.0, variance=1.3333333333333333)
    """

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def quantile(self, u: Tensor) -> Tensor:
        """Uniform numbers (B, ...) in (0, 1) to this distribution's, (B, ...)."""
        return self.low + (self.high - self.low) * u

    def moments(self) -> Moments:
        """Support, mean and variance in closed form."""
        return Moments((self.low, self.high), (self.low + self.high) / 2, (self.high - self.low) ** 2 / 12)


class Normal:
    """Normal with mean ``mean`` and standard deviation ``std``."""

    def __init__(self, mean: float = 0.0, std: float = 1.0) -> None:
        self.mean, self.std = _number("mean", mean), _deviation(std)

    def quantile(self, u: Tensor) -> Tensor:
        """Uniform numbers (B, ...) in (0, 1) to this distribution's, (B, ...)."""
        return torch.special.ndtri(u) * self.std + self.mean

    def moments(self) -> Moments:
        """Support, mean and variance in closed form."""
        return Moments((-math.inf, math.inf), self.mean, self.std**2)


class LogNormal(Normal):
    """e^y with y normal; the options are y's."""

    def __init__(self, mean: float = 0.0, std: float = 1.0) -> None:
        super().__init__(mean, std)
        if mean + 8.3 * std > 88:  # the farthest that ndtri comes, and float32's end
            raise ValueError(f"mean {mean} and std {std} give numbers too large for float32")

    def quantile(self, u: Tensor) -> Tensor:
        """Uniform numbers (B, ...) in (0, 1) to this distribution's, (B, ...)."""
        return super().quantile(u).exp()

    def moments(self) -> Moments:
        """Support, mean and variance in closed form; the variance may be infinite in float64."""
        mean, variance = math.exp(self.mean + self.std**2 / 2), self.std**2
        return Moments((0.0, math.inf), mean, mean**2 * math.expm1(variance) if variance < 700 else math.inf)


class TruncatedNormal:
    """A normal distribution given that it falls between ``low`` and ``high``; None is ``mean`` -+ 2 ``std``.

    Inverted from the nearer tail, of which the mass is known to all digits: Phi near 1 is not.
    """

    def __init__(
        self, mean: float = 0.0, std: float = 1.0, low: float | None = None, high: float | None = None
    ) -> None:
        self.mean, self.std = _number("mean", mean), _deviation(std)
        self.low = mean - 2 * std if low is None else _number("low", low, infinite=True)
        self.high = mean + 2 * std if high is None else _number("high", high, infinite=True)
        if not self.low < self.high:
            raise ValueError(f"low must be less than high; got {self.low} and {self.high}")
        self.a, self.b = (self.low - mean) / std, (self.high - mean) / std
        self.below, self.above = _below(self.a), _below(-self.b)  # the masses that are cut off
        self.mass = _below(self.b) - self.below if self.a < 0 else _below(-self.a) - self.above
        if self.mass < _LEAST_MASS:
            raise ValueError(f"from {self.low} to {self.high} there is nothing of mean {mean} and std {std}")

    def quantile(self, u: Tensor) -> Tensor:
        """Uniform numbers (B, ...) in (0, 1) to this distribution's, (B, ...)."""
        left, right = self.below + self.mass * u, self.above + self.mass * (1 - u)
        z = torch.special.ndtri(torch.minimum(left, right))
        return (torch.where(left < right, z, -z) * self.std + self.mean).clamp(self.low, self.high)

    def moments(self) -> Moments:
        """Support, mean and variance in closed form."""
        at_a, at_b = _density(self.a), _density(self.b)
        shift = (at_a - at_b) / self.mass
        # Infinity times a density of 0 is 0 here.
        slope = (self.a * at_a if at_a else 0.0) - (self.b * at_b if at_b else 0.0)
        variance = self.std**2 * max(0.0, 1 + slope / self.mass - shift**2)
        return Moments((self.low, self.high), self.mean + self.std * shift, variance)


class Integer:
    """Whole numbers from ``low`` to ``high``, both included, equally often; float32 holds them exactly up to 2^24."""

    def __init__(self, low: int = 0, high: int = 9) -> None:
        self.low, self.high = _whole("low", low), _whole("high", high)
        if not low < high:
            raise ValueError(f"low must be less than high; got {low} and {high}")

    def quantile(self, u: Tensor) -> Tensor:
        """Uniform numbers (B, ...) in (0, 1) to this distribution's, (B, ...)."""
        return _choose(u, self.high - self.low + 1, None).to(u.dtype) + self.low

    def moments(self) -> Moments:
        """Support, mean and variance in closed form."""
        count = self.high - self.low + 1
        return Moments((self.low, self.high), (self.low + self.high) / 2, (count**2 - 1) / 12)


class Discrete:
    """One of the numbers ``values``, each with its probability, or all alike."""

    def __init__(self, values: Sequence[float] = (-1.0, 1.0), probabilities: Sequence[float] | None = None) -> None:
        self.values = [float(value) for value in _numbers("values", values)]
        if not self.values:
            raise ValueError("values must hold one number at least")
        self.probabilities = _probabilities(probabilities, len(self.values), "values")

    def quantile(self, u: Tensor) -> Tensor:
        """Uniform numbers (B, ...) in (0, 1) to this distribution's, (B, ...)."""
        values = torch.tensor(self.values, dtype=u.dtype).to(u.device, non_blocking=True)
        return values[_choose(u, len(self.values), self.probabilities)]

    def moments(self) -> Moments:
        """Support, mean and variance in closed form; values of probability 0 do not count."""
        equal = [1 / len(self.values)] * len(self.values)
        pairs = [(p, v) for p, v in zip(self.probabilities or equal, self.values, strict=True) if p]
        support = min(v for _, v in pairs), max(v for _, v in pairs)
        mean = sum(p * v for p, v in pairs)
        return Moments(support, mean, sum(p * (v - mean) ** 2 for p, v in pairs))


class OneHot:
    """Vectors with a single 1 along dimension 1: a feature of (B, D), a channel at each place of (B, C, H, W).

    ``classes`` is D or C: leave it out, or be told where the shape does not fit.
    """

    def __init__(self, classes: int | None = None, probabilities: Sequence[float] | None = None) -> None:
        if classes is None and probabilities is not None:
            classes = len(_numbers("probabilities", probabilities))
        self.classes = None if classes is None else _classes(classes)
        self.probabilities = None if self.classes is None else _probabilities(probabilities, self.classes, "classes")

    def quantile(self, u: Tensor) -> Tensor:
        """(B, K, ...) to (B, K, ...): the first number along dimension 1 decides, the others go unused.

        Raises:
            ValueError: K is not the number of classes, or is less than 2.
        """
        if u.ndim < 2 or u.shape[1] < 2:
            raise ValueError(f"prior 'one_hot' needs two classes or more in dimension 1 of {tuple(u.shape)}")
        count = u.shape[1]
        if self.classes not in (None, count):
            raise ValueError(f"prior 'one_hot' has {self.classes} classes; dimension 1 of {tuple(u.shape)} has {count}")
        chosen = _choose(u[:, :1], count, self.probabilities)
        return (chosen == torch.arange(count, device=u.device).view(-1, *[1] * (u.ndim - 2))).to(u.dtype)

    def moments(self) -> Moments:
        """Of all elements together: whatever the probabilities, one of K is 1."""
        if self.classes is None:
            raise ValueError("prior 'one_hot' has moments for a number of classes only: give classes")
        share = 1 / self.classes
        return Moments((0.0, 1.0), share, share - share**2)


def categorical(classes: int | None = None, probabilities: Sequence[float] | None = None) -> Distribution:
    """``Integer`` from 0, or ``Discrete`` with probabilities: names of classes, as numbers."""
    if probabilities is None:
        return Integer(0, _classes(10 if classes is None else classes) - 1)
    count = _classes(len(_numbers("probabilities", probabilities)) if classes is None else classes)
    return Discrete(range(count), _probabilities(probabilities, count, "classes"))
