"""Random numbers as a function of position (seed, epoch, batch, rank), not of what was drawn before."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def seed_generator(device: torch.device, *place: int) -> None:
    """Seed the device's default generator from a few whole numbers; the host waits for nothing."""
    cuda = device.type == "cuda"
    generator = torch.cuda.default_generators[device.index or 0] if cuda else torch.default_generator
    generator.manual_seed(hash(place) % 2**63)


@contextmanager
def fixed_randomness(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Within, torch's generators of the CPU and of ``device`` begin at a seed; afterwards they are as before.

    >>> with fixed_randomness(0):
    ...     first = torch.rand(2)
    >>> with fixed_randomness(0):
    ...     print(torch.equal(first, torch.rand(2)))
    True
    """
    cuda = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(seed)
        yield


def widest_float_dtype(device: torch.device) -> torch.dtype:
    """The floating type with the most digits that the device computes with."""
    return torch.float32 if device.type == "mps" else torch.float64


def counter_based_uniform(start: int, places: Tensor) -> Tensor:
    """Uniform numbers that depend on seed and position alone: the same on any device, in any order and batch.

    SplitMix64 (Steele et al. 2014, "Fast splittable pseudorandom number generators"), whose numbers can be had one
    without the others, as whole tensors.

    Args:
        start: 64-bit seed, signed: each has a sequence of its own.
        places: int64, 0 or more: positions in the sequence.

    Returns:
        Numbers in (0, 1), of the shape of ``places``; neither end occurs.

    >>> several = counter_based_uniform(7, torch.arange(3))
    >>> torch.equal(several[2:], counter_based_uniform(7, torch.tensor([2])))
    True
    """
    bits = _splitmix64(places * _STEP + _signed(start + _STEP))
    dtype = widest_float_dtype(places.device)
    kept = 52 if dtype == torch.float64 else 23  # with the half below it, as many as the type holds
    return _shifted(bits, 64 - kept).to(dtype).add_(0.5).mul_(2.0**-kept)


def _signed(value: int) -> int:
    """The 64-bit two's complement of a whole number: torch's int64 wraps round, Python's int does not."""
    return (value + 2**63) % 2**64 - 2**63


_STEP = _signed(0x9E3779B97F4A7C15)
_FACTORS = _signed(0xBF58476D1CE4E5B9), _signed(0x94D049BB133111EB)


def _shifted(bits: Tensor, count: int) -> Tensor:
    """To the right with zeros coming in; torch's own repeats the sign."""
    return (bits >> count).bitwise_and_((1 << (64 - count)) - 1)


def _splitmix64(bits: Tensor) -> Tensor:
    """SplitMix64's output function, int64 to int64."""
    bits = (bits ^ _shifted(bits, 30)) * _FACTORS[0]
    bits = (bits ^ _shifted(bits, 27)) * _FACTORS[1]
    return bits ^ _shifted(bits, 31)
