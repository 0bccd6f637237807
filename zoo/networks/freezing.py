"""Freezing of an encoder's parts, and copies of its initial weights."""

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from zoo.functional.finetune import interpolate, l2_sp_distance
from zoo.networks.low_rank import add_low_rank
from zoo.networks.stages import batch_norms, stages


def configure_trainable(encoder: nn.Module, frozen: bool, freeze_norm: bool, lora_rank: int) -> None:
    """Set which parameters of an encoder are trainable.

    Args:
        encoder: Network, which is changed in place.
        frozen: Whether all parameters are frozen.
        freeze_norm: Whether batch norms are frozen.
        lora_rank: Rank of updates that are learned instead of the weights; 0 learns the weights.
    """
    if lora_rank:
        add_low_rank(encoder, lora_rank)
    if frozen:
        encoder.requires_grad_(False)
    if freeze_norm:
        for layer in batch_norms(encoder):
            layer.requires_grad_(False)


def frozen_stages(encoder: nn.Module, unfrozen: int) -> list[nn.Module]:
    """All stages of an encoder except the last ``unfrozen`` (Howard & Ruder 2018)."""
    parts = stages(encoder)
    return parts[: max(0, len(parts) - unfrozen)]


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Context in which a network is in eval mode; its former mode is restored after it."""
    training = network.training
    network.eval()
    yield
    network.train(training)


def drop_gradients(modules: Iterable[nn.Module]) -> None:
    """Set gradients to None, so that an optimiser skips these parameters."""
    for module in modules:
        for parameter in module.parameters():
            parameter.grad = None


class StartWeights(nn.ModuleDict):
    """Frozen copies of an encoder and its head as they were before training, for L2-SP and WiSE-FT."""

    def __init__(self, encoder: nn.Module, head: nn.Module) -> None:
        super().__init__(copy.deepcopy({"encoder": encoder, "head": head}))
        self.requires_grad_(False)

    def distance(self, encoder: nn.Module) -> Tensor:
        """Squared distance of an encoder's weights from these, a scalar."""
        return l2_sp_distance(encoder.parameters(), self["encoder"].parameters())

    @torch.no_grad()
    def interpolate(self, encoder: nn.Module, head: nn.Module, share: float) -> None:
        """Replace trained weights by their interpolation with these; ``share``, 0 to 1, is the trained weights'."""
        for name, network in (("encoder", encoder), ("head", head)):
            network.load_state_dict(interpolate(self[name].state_dict(), network.state_dict(), share))
