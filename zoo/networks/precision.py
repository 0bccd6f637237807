"""Inputs in the type of the weights, and statistics that keep their bits where a network is cast to half precision."""

import copy
from typing import Any, Self

import torch
from torch import Tensor, nn

from zoo.functional.precision import never_narrower


def cast_like(x: Tensor, network: nn.Module) -> Tensor:
    """Floats (B, ...) in the floating type of a network's parameters; under autocast, and whole numbers, unchanged."""
    parameter = next(network.parameters(), None)
    if parameter is None or x.dtype == parameter.dtype or not (x.is_floating_point() and parameter.is_floating_point()):
        return x
    return x if torch.is_autocast_enabled(x.device.type) else x.to(parameter.dtype)


class FullPrecisionBuffers(nn.Module):
    """A module whose own buffers, which are statistics, are never cast to fewer bits; its networks are."""

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        before = dict(self._buffers)
        super()._apply(fn, recurse)
        for name, buffer in before.items():
            if buffer is not None:
                self._buffers[name] = never_narrower(fn)(buffer)
        return self


class Averageable(nn.Module):
    """A network of which there is a moving average: that keeps its bits, since its steps are small."""

    is_average = False

    def average(self) -> Self:
        """A copy for a moving average of the weights, which no optimiser trains."""
        mine = copy.deepcopy(self).requires_grad_(False)
        mine.is_average = True
        return mine

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        return super()._apply(never_narrower(fn) if self.is_average else fn, recurse)
