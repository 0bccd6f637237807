"""Exponential moving averages of networks."""

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


@torch.no_grad()
def update_ema(average: nn.Module, network: nn.Module, decay: float, buffers: bool = True) -> None:
    """Update parameters of ``average`` to decay * average + (1 - decay) * network's; copy ``buffers`` if wanted."""
    mine = [*average.parameters()]
    theirs = [p.to(own.dtype) for own, p in zip(mine, network.parameters(), strict=True)]  # an average may be wider
    get_ema_multi_avg_fn(decay)(mine, theirs, 0)
    for own, buffer in zip(average.buffers(), network.buffers(), strict=True) if buffers else ():
        own.copy_(buffer)
