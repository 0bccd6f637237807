"""Eleven kinds of noise, for a generator's prior or for pictures, each defined by its quantile function.

What is drawn are uniform numbers; a kind turns them into its own. So a kind is stated once, whether its numbers come
from a generator (``draw``) or from a counter (``datamodules.noise``). phi and Phi are the standard normal's density and
distribution, Z the mass Phi(b) - Phi(a) between the bounds in deviations from the mean, p the probabilities.

===================  ==============================  ==========================  =================================
kind and options     values                          mean                        variance
===================  ==============================  ==========================  =================================
truncated_normal_01  z / 2 + 1/2 in [0, 1]; z is     1/2                         0.0728
                     standard, cut to [-1, 1]
truncated_normal_11  2 z - 1 in [-1, 1]; z is        -0.0803                     0.3184
                     standard, cut to [0, 1]
uniform_01           [0, 1]                          1/2                         1/12
uniform_11           [-1, 1]                         0                           1/3
normal               all reals                       mean (0)                    std^2 (1)
log_normal           (0, inf): e^y, y normal with    e^(mean + std^2 / 2)        (e^(std^2) - 1) times
                     mean (0), std (1)                                           the mean's square
categorical          0 .. classes - 1 (10 classes)   sum p k                     sum p k^2 - mean^2
one_hot              0 and a single 1 in dimension   1 / classes                 1 / classes - 1 / classes^2
                     1: D of (B, D), C of
                     (B, C, H, W)
integer              low (0) .. high (9), both       (low + high) / 2            ((high - low + 1)^2 - 1) / 12
                     included
discrete             values (-1, 1)                  sum p v                     sum p v^2 - mean^2
truncated_normal     [low, high] (mean -+ 2 std)     mean + std (phi(a) -        std^2 (1 + (a phi(a) - b phi(b))
                                                     phi(b)) / Z                 / Z - ((phi(a) - phi(b)) / Z)^2)
===================  ==============================  ==========================  =================================

``categorical``, ``one_hot`` and ``discrete`` take ``probabilities``, equal unless given. ``truncated_normal_11`` leans
to -1; the symmetric one is ``truncated_normal`` with low -1 and high 1.
"""

import difflib
import inspect
import math
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple, Protocol

import torch
from torch import Generator, Tensor

from zoo.functional.randomness import widest

_LEAST_MASS = 1e-290  # between a truncated normal's bounds: less is lost in float64


class Moments(NamedTuple):
    """The least and the greatest value (maybe infinite), the mean and the variance of all elements together."""

    support: tuple[float, float]
    mean: float
    variance: float


class Prior(Protocol):
    """A distribution whose options were found to be right."""

    def quantile(self, u: Tensor) -> Tensor:
        """Uniform numbers (B, ...) in (0, 1) to the distribution's own, (B, ...) in the same precision."""

    def moments(self) -> Moments:
        """In closed form."""


def draw(
    kind: str,
    shape: Sequence[int],
    generator: Generator | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
    **options: Any,
) -> Tensor:
    """Independent numbers of one kind (``one_hot``: independent vectors), computed in float64 and rounded to ``dtype``.

    Nothing waits for the device.

    Args:
        kind: a name in ``PRIORS``.
        shape: (B, D), (B, C, H, W) or any other; ``one_hot`` needs two dimensions at least.
        generator: on ``device``; None is torch's own.
        device: None is the generator's, or torch's default.
        dtype: of the result; floating.
        options: of the kind.

    Returns:
        (*shape,)

    Raises:
        ValueError: an unknown kind or option, an option out of its range, a shape that does not fit the kind.
    """
    made = prior(kind, **options)
    if not dtype.is_floating_point:
        raise ValueError(f"noise needs a floating dtype; got {dtype}")
    place = torch.empty(0, device=generator.device if device is None and generator else device).device
    u = torch.rand(tuple(shape), dtype=widest(place), device=place, generator=generator)
    return made.quantile(u.clamp_min_(torch.finfo(u.dtype).eps / 4)).to(dtype)  # 0, too, would be of infinite depth


def moments(kind: str, **options: Any) -> Moments:
    """Support, mean and variance of a kind with these options; ``one_hot`` needs ``classes`` or ``probabilities``.

    A truncated normal's variance loses digits where its bounds are closer than a ten-thousandth of ``std``.

    Raises:
        ValueError: as ``draw``.
    """
    return prior(kind, **options).moments()


def prior(kind: str, **options: Any) -> Prior:
    """The distribution of this kind.

    Raises:
        ValueError: an unknown kind or option (the nearest is proposed), or an option out of its range.
    """
    if kind not in PRIORS:
        raise ValueError(f"unknown prior {_listed(kind, PRIORS)}")
    if options:
        known = inspect.signature(PRIORS[kind]).parameters
        for name in options:
            if name not in known:
                raise ValueError(f"prior {kind!r} has no option {_listed(name, known)}")
    try:
        return PRIORS[kind](**options)
    except ValueError as error:
        raise ValueError(f"prior {kind!r}: {error}") from error


def _listed(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"{name!r}{f' (did you mean {near[0]!r}?)' if near else ''}; there are: {', '.join(known) or 'none'}"


def _number(name: str, value: Any, *, infinite: bool = False) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise ValueError(f"{name} must be a number; got {value!r}")
    if math.isinf(value) and not infinite:
        raise ValueError(f"{name} must be finite; got {value}")
    return value


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


def _probabilities(given: Any, count: int, of_what: str) -> list[float]:
    if given is None:
        return [1 / count] * count
    chances = [_number("a probability", p) for p in given]
    if len(chances) != count:
        raise ValueError(f"there are {count} {of_what} and {len(chances)} probabilities")
    if min(chances) < 0:
        raise ValueError(f"a probability must be 0 or more; got {min(chances)}")
    if not math.isclose(sum(chances), 1, abs_tol=1e-6):
        raise ValueError(f"probabilities must sum to 1; these sum to {sum(chances):.7g}")
    return chances


def _choose(u: Tensor, probabilities: Sequence[float]) -> Tensor:
    """Uniform numbers to indices, int64 of the same shape; index k has probability k."""
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
    """Between two numbers."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def quantile(self, u: Tensor) -> Tensor:
        """(B, ...) to (B, ...)."""
        return self.low + (self.high - self.low) * u

    def moments(self) -> Moments:
        """In closed form."""
        return Moments((self.low, self.high), (self.low + self.high) / 2, (self.high - self.low) ** 2 / 12)


class Normal:
    """Of given mean and deviation."""

    def __init__(self, mean: float = 0.0, std: float = 1.0) -> None:
        self.mean, self.std = _number("mean", mean), _deviation(std)

    def quantile(self, u: Tensor) -> Tensor:
        """(B, ...) to (B, ...)."""
        return torch.special.ndtri(u) * self.std + self.mean

    def moments(self) -> Moments:
        """In closed form."""
        return Moments((-math.inf, math.inf), self.mean, self.std**2)


class LogNormal(Normal):
    """e^y with y normal; the options are y's."""

    def __init__(self, mean: float = 0.0, std: float = 1.0) -> None:
        super().__init__(mean, std)
        if mean + 8.3 * std > 88:  # the farthest that ndtri comes, and float32's end
            raise ValueError(f"mean {mean} and std {std} give numbers too large for float32")

    def quantile(self, u: Tensor) -> Tensor:
        """(B, ...) to (B, ...)."""
        return super().quantile(u).exp()

    def moments(self) -> Moments:
        """In closed form; the variance may be infinite in float64."""
        mean, variance = math.exp(self.mean + self.std**2 / 2), self.std**2
        return Moments((0.0, math.inf), mean, mean**2 * math.expm1(variance) if variance < 700 else math.inf)


class TruncatedNormal:
    """A normal distribution given that it falls between ``low`` and ``high``; None is ``mean`` -+ 2 ``std``.

    By inversion in the lower tail, mirrored where the upper is nearer: Phi is near 1 there, where floats are coarse.
    """

    def __init__(
        self, mean: float = 0.0, std: float = 1.0, low: float | None = None, high: float | None = None
    ) -> None:
        self.mean, self.std = _number("mean", mean), _deviation(std)
        self.low = mean - 2 * std if low is None else _number("low", low, infinite=True)
        self.high = mean + 2 * std if high is None else _number("high", high, infinite=True)
        if not self.low < self.high:
            raise ValueError(f"low must be less than high; got {self.low} and {self.high}")
        ends = ((self.low - mean) / std, (self.high - mean) / std)
        self.mirrored = sum(ends) > 0
        self.a, self.b = (-ends[1], -ends[0]) if self.mirrored else ends
        self.mass = _below(self.b) - _below(self.a)
        if self.mass < _LEAST_MASS:
            raise ValueError(f"from {self.low} to {self.high} there is nothing of mean {mean} and std {std}")

    def quantile(self, u: Tensor) -> Tensor:
        """(B, ...) to (B, ...)."""
        z = torch.special.ndtri(_below(self.a) + self.mass * (1 - u if self.mirrored else u))
        return (z * (-self.std if self.mirrored else self.std) + self.mean).clamp(self.low, self.high)

    def moments(self) -> Moments:
        """In closed form."""
        at_a, at_b = _density(self.a), _density(self.b)
        shift = (at_a - at_b) / self.mass
        # Infinity times a density of 0 is 0 here.
        slope = (self.a * at_a if at_a else 0.0) - (self.b * at_b if at_b else 0.0)
        mean = self.mean + (-shift if self.mirrored else shift) * self.std
        return Moments((self.low, self.high), mean, self.std**2 * max(0.0, 1 + slope / self.mass - shift**2))


class Integer:
    """Whole numbers from ``low`` to ``high``, both included, equally often; float32 holds them exactly up to 2^24."""

    def __init__(self, low: int = 0, high: int = 9) -> None:
        self.low, self.high = _whole("low", low), _whole("high", high)
        if not low < high:
            raise ValueError(f"low must be less than high; got {low} and {high}")

    def quantile(self, u: Tensor) -> Tensor:
        """(B, ...) to (B, ...)."""
        return (u * (self.high - self.low + 1)).floor().clamp_max(self.high - self.low) + self.low

    def moments(self) -> Moments:
        """In closed form."""
        count = self.high - self.low + 1
        return Moments((self.low, self.high), (self.low + self.high) / 2, (count**2 - 1) / 12)


class Discrete:
    """One of some numbers."""

    def __init__(self, values: Sequence[float] = (-1.0, 1.0), probabilities: Sequence[float] | None = None) -> None:
        self.values = [float(_number("a value", value)) for value in values]
        if not self.values:
            raise ValueError("values must hold one number at least")
        self.probabilities = _probabilities(probabilities, len(self.values), "values")

    def quantile(self, u: Tensor) -> Tensor:
        """(B, ...) to (B, ...)."""
        values = torch.tensor(self.values, dtype=u.dtype).to(u.device, non_blocking=True)
        return values[_choose(u, self.probabilities)]

    def moments(self) -> Moments:
        """In closed form; values of probability 0 do not count."""
        pairs = [(p, v) for p, v in zip(self.probabilities, self.values, strict=True) if p]
        support = min(v for _, v in pairs), max(v for _, v in pairs)
        mean = sum(p * v for p, v in pairs)
        return Moments(support, mean, sum(p * (v - mean) ** 2 for p, v in pairs))


class OneHot:
    """Vectors with a single 1 along dimension 1: a feature of (B, D), a channel at each place of (B, C, H, W).

    ``classes`` is D or C: leave it out, or be told where the shape does not fit.
    """

    def __init__(self, classes: int | None = None, probabilities: Sequence[float] | None = None) -> None:
        given = len(probabilities) if classes is None and probabilities is not None else classes
        self.classes = None if given is None else _classes(given)
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
        chosen = _choose(u[:, :1], self.probabilities or [1 / count] * count)
        return (chosen == torch.arange(count, device=u.device).view(-1, *[1] * (u.ndim - 2))).to(u.dtype)

    def moments(self) -> Moments:
        """Of all elements together: whatever the probabilities, one of K is 1."""
        if self.classes is None:
            raise ValueError("prior 'one_hot' has moments for a number of classes only: give classes")
        share = 1 / self.classes
        return Moments((0.0, 1.0), share, share - share**2)


def _categorical(classes: int | None = None, probabilities: Sequence[float] | None = None) -> Prior:
    if probabilities is None:
        return Integer(0, _classes(10 if classes is None else classes) - 1)
    count = _classes(len(probabilities) if classes is None else classes)
    return Discrete(range(count), _probabilities(probabilities, count, "classes"))


PRIORS: dict[str, Callable[..., Prior]] = {
    "truncated_normal_01": lambda: TruncatedNormal(0.5, 0.5, 0.0, 1.0),
    "truncated_normal_11": lambda: TruncatedNormal(-1.0, 2.0, -1.0, 1.0),
    "uniform_11": lambda: Uniform(-1.0, 1.0),
    "uniform_01": lambda: Uniform(0.0, 1.0),
    "normal": Normal,
    "log_normal": LogNormal,
    "categorical": _categorical,
    "one_hot": OneHot,
    "integer": Integer,
    "discrete": Discrete,
    "truncated_normal": TruncatedNormal,
}
