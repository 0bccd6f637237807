"""Low-rank updates of frozen weights (LoRA, Hu et al. 2022), for linear layers and convolutions."""

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

_PREFIX = "parametrizations.weight."


class LowRank(nn.Module):
    """Adds B A to a weight of shape (out, ...), where A is (rank, rest) and B, at first zero, (out, rank).

    Args:
        weight: Weight that the update is added to.
        rank: Rank of the update.
    """

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.empty(rank, weight[0].numel(), dtype=weight.dtype, device=weight.device))
        self.up = nn.Parameter(weight.new_zeros(len(weight), rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.up @ self.down).view_as(weight)


def add_low_rank(network: nn.Module, rank: int) -> int:
    """Freeze a network, and add a trainable low-rank update to every matrix and kernel that has a greater rank.

    Returns:
        The number of layers with an update.

    Raises:
        ValueError: no layer has a greater rank.
    """
    network.requires_grad_(False)
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d)]
    fitting = [layer for layer in layers if min(len(layer.weight), layer.weight[0].numel()) > rank]
    if not fitting:
        raise ValueError(f"no linear layer or convolution of the backbone has a rank above lora_rank {rank}")
    for layer in fitting:
        parametrize.register_parametrization(layer, "weight", LowRank(layer.weight.detach(), rank), unsafe=False)
    return len(fitting)


def merged(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A network's state dict with the updates added to the weights, under the names without updates; weights with
    another parametrization, such as a spectral norm, stay as they are."""
    plain: dict[str, Tensor] = {}
    for name, value in state.items():
        layer, found, part = name.rpartition(_PREFIX)
        if not found or f"{layer}{_PREFIX}0.up" not in state:
            plain[name] = value
        elif part == "original":
            up, down = (state[f"{layer}{_PREFIX}0.{matrix}"] for matrix in ("up", "down"))
            plain[f"{layer}weight"] = value + (up @ down).view_as(value)
    return plain


def load_plain(network: nn.Module, state: dict[str, Tensor]) -> None:
    """Load a state dict without updates into a network that may have them, as its frozen weights; what else the state
    holds is left out.

    Raises:
        KeyError: it lacks a weight.
    """
    named = {name: name.replace(f"{_PREFIX}original", "weight") for name in network.state_dict()}
    network.load_state_dict({k: state[v] for k, v in named.items() if f"{_PREFIX}0." not in k}, strict=False)
