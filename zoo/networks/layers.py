"""Outputs of layers within a network, and connectors that make layers of two networks comparable."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.core.suggest import did_you_mean


def find_layers(network: nn.Module, names: Sequence[str], owner: str = "network") -> dict[str, nn.Module]:
    """Layers by their names in ``network.named_modules()``.

    Args:
        network: Network that has the layers.
        names: Names of layers.
        owner: Name of the network in messages.

    Raises:
        ValueError: one does not exist; the nearest is proposed, and all are listed.
    """
    known = {name: layer for name, layer in network.named_modules() if name}
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known)
            raise ValueError(f"the {owner} has no layer {name!r}{hint}; there are: {', '.join(known)}")
    return {name: known[name] for name in names}


@contextmanager
def layer_outputs(network: nn.Module, names: Sequence[str], owner: str = "network") -> Iterator[dict[str, Tensor]]:
    """Context that collects layers' outputs in forward passes within it: {name: output}, with their gradients.

    Args:
        network: Network that has the layers.
        names: Names of layers; of one that is called several times the last output counts.
        owner: Name of the network in messages.

    Raises:
        ValueError: no such layer, or one that was not called or gave no tensor.
    """
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        return lambda layer, inputs, output: found.__setitem__(name, output)

    hooks = [layer.register_forward_hook(keep(n)) for n, layer in find_layers(network, names, owner).items()]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
    for name in names:
        if not isinstance(found.get(name), Tensor):
            raise ValueError(f"layer {name!r} of the {owner} gives no tensor in a forward pass: name another")


@torch.no_grad()
def layer_shapes(
    network: nn.Module, input_shape: Sequence[int], names: Sequence[str], owner: str = "network"
) -> dict[str, tuple[int, ...]]:
    """Shapes of layers' outputs for one sample, from a forward pass of zeros that leaves the network as it was.

    Raises:
        ValueError: see ``layer_outputs``.
    """
    modes = [(module, module.training) for module in network.modules()]
    parameter = next(network.parameters(), torch.zeros(()))
    zeros = torch.zeros(1, *input_shape, device=parameter.device, dtype=parameter.dtype)
    with layer_outputs(network.eval(), names, owner) as found:
        network(zeros)
    for module, training in modes:
        module.training = training
    return {name: tuple(output.shape[1:]) for name, output in found.items()}


class Connector(nn.Module):
    """A student's layer in the shape of a teacher's: (B, *student) to (B, *teacher) (Romero et al. 2015's regressor).

    Maps (C, H, W) get the teacher's size, by averaging where they are larger and linearly where they are smaller, then
    its channels by a 1 x 1 convolution; anything else gets a linear layer, as does a map beside a vector, after the
    mean over positions. With equal widths nothing is learned: the student is to give the teacher's values.

    Args:
        student: Shape of one sample's output.
        teacher: Shape of the teacher's output.

    Raises:
        ValueError: the teacher's is a map and the student's is not.
    """

    def __init__(self, student: Sequence[int], teacher: Sequence[int]) -> None:
        super().__init__()
        maps = len(teacher) == 3
        if maps and len(student) != 3:
            raise ValueError(
                f"a teacher's layer of shape {tuple(teacher)} needs one of the student that gives maps, too, and not "
                f"{tuple(student)}"
            )
        self.size = tuple(teacher[1:]) if maps else None
        self.pooled = not maps and len(student) == 3
        before = student[0] if len(student) == 3 else math.prod(student)
        after = teacher[0] if maps else math.prod(teacher)
        self.shape = tuple(teacher)
        self.map: nn.Module = nn.Identity()
        if before != after:
            self.map = nn.Conv2d(before, after, 1) if maps else nn.Linear(before, after)

    def forward(self, x: Tensor) -> Tensor:
        if self.size is not None:
            return self.map(_resized(x, self.size))
        x = x.mean((2, 3)) if self.pooled else x.flatten(1)
        return self.map(x).view(-1, *self.shape)


def _resized(x: Tensor, size: tuple[int, ...]) -> Tensor:
    here = tuple(x.shape[2:])
    if here == size:
        return x
    if all(a >= b for a, b in zip(here, size, strict=True)):
        return F.adaptive_avg_pool2d(x, size)  # type: ignore[arg-type]
    return F.interpolate(x, size, mode="bilinear", align_corners=False)
