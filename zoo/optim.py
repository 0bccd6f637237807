"""Optimizers and schedules as plain functions."""

import math
from typing import Any, Literal

import lightning.pytorch as pl
from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

Schedule = Literal["constant", "cosine"]


def param_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Trainable parameters in two groups: matrices and kernels decay, biases and norms (ndim < 2) do not."""
    trainable = [p for p in module.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]


def warmup_cosine(optimizer: Optimizer, total_steps: int, warmup_fraction: float = 0.05) -> LambdaLR:
    """Linear warm-up, then a half cosine to zero at ``total_steps`` (Loshchilov & Hutter 2017)."""
    warmup = max(1, round(total_steps * warmup_fraction))

    def scale(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        progress = min(1.0, (step - warmup) / max(1, total_steps - warmup))
        return 0.5 * (1 + math.cos(math.pi * progress))

    return LambdaLR(optimizer, scale)


def adamw(module: pl.LightningModule, lr: float, weight_decay: float, schedule: Schedule = "constant") -> Any:
    """AdamW (Loshchilov & Hutter 2019) over all trainable parameters, in the form ``configure_optimizers`` returns.

    Args:
        module: attached to its trainer, which is asked for the precision and the number of steps.
        lr: the (peak) learning rate.
        weight_decay: on parameters of two or more dimensions.
        schedule: "constant", or "cosine": a warm-up over 5 % of the steps, then down to zero.

    Raises:
        ValueError: a cosine over a training without an end.
    """
    # Fused: one kernel for all parameters. Lightning refuses to clip for such an optimizer in mixed precision.
    fused = not (module.trainer.gradient_clip_val and "mixed" in str(module.trainer.precision))
    optimizer = AdamW(param_groups(module, weight_decay), lr=lr, fused=fused)
    if schedule == "constant":
        return optimizer
    steps = module.trainer.estimated_stepping_batches
    if math.isinf(steps):
        raise ValueError("schedule 'cosine' needs an end: give --trainer.max_epochs or --trainer.max_steps")
    return {
        "optimizer": optimizer,
        "lr_scheduler": {"scheduler": warmup_cosine(optimizer, int(steps)), "interval": "step"},
    }
