"""Exponential moving averages of networks."""

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


@torch.no_grad()
def update_ema(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Update parameters of ``average`` to decay * average + (1 - decay) * network's; buffers are copied."""
    get_ema_multi_avg_fn(decay)([*average.parameters()], [*network.parameters()], 0)
    for mine, theirs in zip(average.buffers(), network.buffers(), strict=True):
        mine.copy_(theirs)
