"""Optimizers and schedules as plain functions."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
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


def layered_groups(
    stages: Sequence[Sequence[nn.Parameter]], lr: float, weight_decay: float, layer_decay: float
) -> list[dict[str, Any]]:
    """Groups by depth: the last stage learns at ``lr``, every earlier one at ``layer_decay`` of the next one's rate
    (Clark et al. 2020); matrices and kernels decay, biases and norms do not."""
    groups: list[dict[str, Any]] = []
    for depth, parameters in enumerate(reversed(stages)):
        for decay, wanted in ((weight_decay, True), (0.0, False)):
            chosen = [p for p in parameters if (p.ndim >= 2) == wanted]
            if chosen:
                groups.append({"params": chosen, "lr": lr * layer_decay**depth, "weight_decay": decay})
    return groups


def warmup_cosine(optimizer: Optimizer, total_steps: Callable[[], float], warmup_fraction: float = 0.05) -> LambdaLR:
    """Linear warm-up from zero, then a half cosine to zero at ``total_steps()`` (Loshchilov & Hutter 2017).

    The number is asked for at the second step only: asking Lightning while it sets up makes it forget, on resuming,
    where in the epoch it was.
    """

    def scale(step: int) -> float:
        if step == 0:
            return 0.0
        total = total_steps()
        warmup = max(1, round(total * warmup_fraction))
        if step < warmup:
            return step / warmup
        progress = min(1.0, (step - warmup) / max(1, total - warmup))
        return 0.5 * (1 + math.cos(math.pi * progress))

    return LambdaLR(optimizer, scale)


def total_steps_fn(module: pl.LightningModule) -> Callable[[], float]:
    """How many steps the training has, once somebody asks.

    Raises:
        ValueError: a training without an end.
    """
    trainer = module.trainer
    if trainer.max_epochs == -1 and trainer.max_steps == -1:
        raise ValueError("the rate falls to nothing at the end: give --trainer.max_epochs or --trainer.max_steps")
    return lambda: float(trainer.estimated_stepping_batches)


def adamw(
    module: pl.LightningModule,
    lr: float,
    weight_decay: float,
    schedule: Schedule = "constant",
    groups: list[dict[str, Any]] | None = None,
) -> Any:
    """AdamW (Loshchilov & Hutter 2019) over all trainable parameters, in the form ``configure_optimizers`` returns.

    Args:
        module: attached to its trainer, which is asked for the precision and the number of steps.
        lr: the (peak) learning rate.
        weight_decay: on parameters of two or more dimensions.
        schedule: "constant", or "cosine": a warm-up over 5 % of the steps, then down to zero.
        groups: of parameters, with what is special to each; None is those of ``param_groups``.

    Raises:
        ValueError: a cosine over a training without an end.
    """
    # Fused: one kernel for all parameters. Lightning refuses to clip for such an optimizer in mixed precision.
    fused = not (module.trainer.gradient_clip_val and "mixed" in str(module.trainer.precision))
    optimizer = AdamW(groups or param_groups(module, weight_decay), lr=lr, fused=fused)
    if schedule == "constant":
        return optimizer
    cosine = warmup_cosine(optimizer, total_steps_fn(module))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cosine, "interval": "step"}}


def linear_decay(optimizer: Optimizer, total_steps: Callable[[], float], floor: float = 1e-4) -> LambdaLR:
    """From the full rate straight down to ``floor`` of it at ``total_steps()``, as word2vec does.

    The number is asked for at the second step only, as in ``warmup_cosine``.
    """
    return LambdaLR(optimizer, lambda step: 1.0 if step == 0 else max(floor, 1 - step / max(1, total_steps())))


class RowAdagrad(Optimizer):
    """For tables of which a step touches few rows, some of them often: a rate for each row, and a longest step.

    A row moves by ``-lr * g / s ** power``, but no further than ``max_step``, where g is its gradient and s the sum of
    the mean squares of all its gradients so far. With the power 1/2 this is Adagrad (Duchi et al. 2011) with one
    number a row; with 0 it is plain descent; between them a rare row keeps long steps, and a row that collects
    thousands of gradients in one step is not thrown out of the table (cf. Chen et al. 2020, on the power).

    Args:
        params: of which those of two dimensions or more are tables; gradients may be sparse or dense.
        lr: the rate.
        power: of s, 0 to 1/2.
        max_step: the longest distance a row moves in a step, at the full rate; it falls with the rate.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(self, params: Any, lr: float, power: float = 0.25, max_step: float = 0.5) -> None:
        for name, value in {"lr": lr, "max_step": max_step}.items():
            if not value > 0:
                raise ValueError(f"{name} must be more than 0; got {value}")
        if not 0 <= power <= 0.5:
            raise ValueError(f"power must be 0 to 0.5; got {power}")
        super().__init__(params, {"lr": lr, "initial_lr": lr, "power": power, "max_step": max_step})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:  # type: ignore[override]
        """One step over all tables."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for options in self.param_groups:
            for table in options["params"]:
                if table.grad is not None:
                    self._update_rows(table, table.grad, options)
        return loss

    def _update_rows(self, table: Tensor, grad: Tensor, options: dict[str, Any]) -> None:
        state = self.state[table]
        if not state:
            state["sum"] = torch.zeros(len(table), dtype=table.dtype, device=table.device)
        sums = state["sum"]
        if not grad.is_sparse:
            table += grad * self._rates(grad, sums, options).view(-1, *[1] * (grad.ndim - 1))
            return
        rows, values = _rows(grad)
        touched = sums.index_select(0, rows)
        rates = self._rates(values, touched, options)
        sums.index_copy_(0, rows, touched)
        values = values * rates.unsqueeze(1)
        table += torch.sparse_coo_tensor(
            rows.unsqueeze(0), values, table.shape, is_coalesced=True, check_invariants=False
        )

    def _rates(self, grad: Tensor, sums: Tensor, options: dict[str, Any]) -> Tensor:
        """What each row's gradient is multiplied with, (rows,); ``sums`` gain its mean square."""
        lengths = torch.linalg.vector_norm(grad.flatten(1), dim=1)
        sums.addcmul_(lengths, lengths, value=grad.shape[0] / grad.numel())
        longest = options["max_step"] * options["lr"] / options["initial_lr"]
        rate = options["lr"] * sums.clamp_min(1e-20).pow_(-options["power"])
        return -torch.minimum(rate, longest / lengths.clamp_min_(1e-20))


def _rows(grad: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers of a sparse gradient's rows, each there once and ascending, and the rows."""
    rows = grad._indices()[0]
    if (rows[1:] > rows[:-1]).all():  # autograd drops the mark of it, and coalescing costs more than looking
        return rows, grad._values()
    grad = grad.coalesce()
    return grad.indices()[0], grad.values()
