"""Eleven kinds of noise, for a generator's prior or for images, each defined by its quantile function.

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

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from zoo.core.suggest import did_you_mean
from zoo.functional.distributions import (
    Discrete,
    Distribution,
    Integer,
    LogNormal,
    Moments,
    Normal,
    OneHot,
    TruncatedNormal,
    Uniform,
    categorical,
)
from zoo.functional.randomness import widest_float_dtype


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
        kind: A name in ``PRIORS``.
        shape: Shape of the result: (B, D), (B, C, H, W) or any other; ``one_hot`` needs two dimensions at least.
        generator: Source of the random numbers, on ``device``; None is torch's own.
        device: Device of the result; None is the generator's, or torch's default.
        dtype: Floating type of the result.
        options: Options of the kind, as in the table above.

    Returns:
        (*shape,)

    Raises:
        ValueError: an unknown kind or option, an option out of its range, a shape that does not fit the kind.
    """
    made = prior(kind, **options)
    if not dtype.is_floating_point:
        raise ValueError(f"noise needs a floating dtype; got {dtype}")
    place = torch.empty(0, device=generator.device if device is None and generator else device).device
    u = torch.rand(tuple(shape), dtype=widest_float_dtype(place), device=place, generator=generator)
    return made.quantile(u.clamp_min_(torch.finfo(u.dtype).eps / 4)).to(dtype)  # 0, too, would be of infinite depth


def moments(kind: str, **options: Any) -> Moments:
    """Support, mean and variance of a kind with these options; ``one_hot`` needs ``classes`` or ``probabilities``.

    A truncated normal's variance loses digits where its bounds are closer than a ten-thousandth of ``std``.

    >>> moments("integer", low=0, high=9)
    Moments(support=(0, 9), mean=4.5, variance=8.25)

    Raises:
        ValueError: as ``draw``.
    """
    return prior(kind, **options).moments()


def prior(kind: str, **options: Any) -> Distribution:
    """The distribution of this kind.

    Raises:
        ValueError: an unknown kind or option (the nearest is proposed), or an option out of its range.
    """
    if kind not in PRIORS:
        raise ValueError(f"unknown prior {_listed(kind, PRIORS)}")
    if options:
        for name in options:
            if name not in _OPTIONS[kind]:
                raise ValueError(f"prior {kind!r} has no option {_listed(name, _OPTIONS[kind])}")
    try:
        return PRIORS[kind](**options)
    except ValueError as error:
        raise ValueError(f"prior {kind!r}: {error}") from error


def _listed(name: str, known: Any) -> str:
    return f"{name!r}{did_you_mean(name, known)}; there are: {', '.join(known) or 'none'}"


PRIORS: dict[str, Callable[..., Distribution]] = {
    "truncated_normal_01": lambda: TruncatedNormal(0.5, 0.5, 0.0, 1.0),
    "truncated_normal_11": lambda: TruncatedNormal(-1.0, 2.0, -1.0, 1.0),
    "uniform_11": lambda: Uniform(-1.0, 1.0),
    "uniform_01": lambda: Uniform(0.0, 1.0),
    "normal": Normal,
    "log_normal": LogNormal,
    "categorical": categorical,
    "one_hot": OneHot,
    "integer": Integer,
    "discrete": Discrete,
    "truncated_normal": TruncatedNormal,
}
_OPTIONS = {kind: list(inspect.signature(make).parameters) for kind, make in PRIORS.items()}


def interpolate_noise(start: Tensor, end: Tensor, steps: int, gaussian: bool) -> Tensor:
    """From one noise to another along a line: (B, ...) each to (B, steps, ...).

    Args:
        start, end: Both ends.
        steps: Number of points, the ends among them.
        gaussian: Whether the noise is standard normal: points between two such vectors are shorter than either, and get
            back the length that such noise has.
    """
    weight = torch.linspace(0, 1, steps, device=start.device).view(1, -1, *[1] * (start.ndim - 1))
    z = torch.lerp(start.unsqueeze(1), end.unsqueeze(1), weight)
    return z / (weight.square() + (1 - weight).square()).sqrt() if gaussian else z
