"""Optimisers and schedules by name, each with options of its own, and groups of parameters.

A spec is a name or a mapping ``{"name": ..., options}``: "adamw", {"name": "sgd", "momentum": 0.95},
{"name": "cosine", "warmup": 0.1}.
"""

import inspect
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from zoo.core.arguments import WrongTypeError, at_least, below, between, check_finite, more_than
from zoo.core.optimizers import LARS
from zoo.core.options import check_type
from zoo.core.suggest import did_you_mean

log = logging.getLogger(__name__)

OptimSpec = str | dict[str, Any]
_BASE_BATCH = 256  # for which papers state their rates


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
    """Groups by depth: the last stage has the learning rate ``lr``, every earlier one ``layer_decay`` times the next
    one's (Clark et al. 2020); matrices and kernels decay, biases and norms do not."""
    groups: list[dict[str, Any]] = []
    for depth, parameters in enumerate(reversed(stages)):
        for decay, wanted in ((weight_decay, True), (0.0, False)):
            chosen = [p for p in parameters if (p.ndim >= 2) == wanted]
            if chosen:
                groups.append({"params": chosen, "lr": lr * layer_decay**depth, "weight_decay": decay})
    return groups


# Schedules: functions of the step, the number of steps (asked for only after the first: see ``scheduled``), and options


def constant(step: int, total_steps: Callable[[], float], warmup: float = 0.0) -> float:
    """The full rate, after a linear warm-up over the share ``warmup`` of the steps."""
    return _after_warmup(step, total_steps, warmup, lambda progress: 1.0)


def cosine(step: int, total_steps: Callable[[], float], warmup: float = 0.05) -> float:
    """Linear warm-up from zero, then a half cosine to zero at the end (Loshchilov & Hutter 2017)."""
    return _after_warmup(step, total_steps, warmup, lambda progress: 0.5 * (1 + math.cos(math.pi * progress)))


def linear(step: int, total_steps: Callable[[], float], warmup: float = 0.0, floor: float = 0.0) -> float:
    """Linear warm-up from zero, then linear decay to the share ``floor`` of the rate at the end."""
    return _after_warmup(step, total_steps, warmup, lambda progress: max(floor, 1 - progress))


def _after_warmup(step: int, total_steps: Callable[[], float], share: float, shape: Callable[[float], float]) -> float:
    if step == 0:
        return 0.0 if share else 1.0
    total = total_steps()
    warmup = max(1, round(total * share)) if share else 0
    if step < warmup:
        return step / warmup
    return shape(min(1.0, (step - warmup) / max(1, total - warmup)))


SCHEDULES: dict[str, Callable[..., float]] = {"constant": constant, "cosine": cosine, "linear": linear}


def scheduled(optimizer: Optimizer, schedule: OptimSpec, total_steps: Callable[[], float]) -> LambdaLR:
    """Multiply the optimiser's rates by a schedule, step by step; not those of groups with ``constant_lr``.

    The number of steps is asked for at the second step only: asking Lightning while it sets up makes it forget, on
    resuming, where in the epoch it was.
    """
    name, options = _parse(schedule)
    shape = SCHEDULES[name]

    def falling(step: int) -> float:
        return shape(step, total_steps, **options)

    kept = [group.get("constant_lr", False) for group in optimizer.param_groups]
    return LambdaLR(optimizer, [_constant_lr if constant else falling for constant in kept])


def _constant_lr(step: int) -> float:
    return 1.0


def total_steps_fn(module: pl.LightningModule) -> Callable[[], float]:
    """A function that returns the training's number of steps.

    Raises:
        ValueError: a training without an end.
    """
    trainer = module.trainer
    if trainer.max_epochs == -1 and trainer.max_steps == -1:
        raise ValueError("the schedule needs the training's end: give `trainer.max_epochs` or `trainer.max_steps`")
    return lambda: float(trainer.estimated_stepping_batches)


# Optimisers by name: makers (groups, lr, fused, options)


def _adamw(groups: Any, lr: float, fused: bool, betas: Sequence[float] = (0.9, 0.999)) -> Optimizer:
    return AdamW(groups, lr=lr, betas=(betas[0], betas[1]), eps=adam_eps(groups), fused=fused)


def _sgd(groups: Any, lr: float, fused: bool, momentum: float = 0.9, nesterov: bool = False) -> Optimizer:
    return SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov, fused=fused)


def _lars(groups: Any, lr: float, fused: bool, momentum: float = 0.9, trust: float = 1e-3) -> Optimizer:
    return LARS(groups, lr=lr, momentum=momentum, trust=trust)


def adam_eps(groups: list[dict[str, Any]]) -> float:
    """Adam's epsilon: torch's own, or 1e-4 for weights in float16, in which the square of a smaller gradient is 0."""
    half = any(p.dtype == torch.float16 for group in groups for p in group["params"])
    return 1e-4 if half else 1e-8


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"adamw": _adamw, "sgd": _sgd, "lars": _lars}


def _parse(spec: OptimSpec) -> tuple[str, dict[str, Any]]:
    if not isinstance(spec, str | Mapping):
        raise WrongTypeError(f"an optimizer or schedule is a name or a mapping with `name`; got {spec!r}")
    options = {"name": spec} if isinstance(spec, str) else dict(spec)
    return str(options.pop("name", None)), options


def check_specs(optimizer: OptimSpec = "adamw", schedule: OptimSpec = "constant") -> None:
    """Refuse specs when a module is made, which would otherwise fail when its training begins.

    Raises:
        ValueError: an unknown name or option; the nearest name is proposed.
    """
    for what, spec, table in (("optimizer", optimizer, OPTIMIZERS), ("schedule", schedule, SCHEDULES)):
        name, options = _parse(spec)
        if name not in table:
            raise ValueError(f"unknown {what} {name!r}{did_you_mean(name, table)}; there are: {', '.join(table)}")
        known = [p.name for p in inspect.signature(table[name]).parameters.values() if p.default is not p.empty]
        for option in options:
            if option not in known:
                hint = did_you_mean(option, known)
                raise ValueError(f"{what} {name!r} has no option {option!r}{hint}; it has: {', '.join(known)}")
        _check_values(what, table[name], options)


def _check_values(what: str, maker: Any, options: dict[str, Any]) -> None:
    named = {f"{what}.{option}": value for option, value in options.items()}
    types = inspect.signature(maker).parameters
    for option, value in options.items():
        check_type(f"{what}.{option}", value, types[option].annotation)
        check_finite(f"{what}.{option}", value)
    between(0, 1, **{name: value for name, value in named.items() if name.endswith((".warmup", ".floor", ".momentum"))})
    more_than(0, **{name: value for name, value in named.items() if name.endswith(".trust")})
    if "betas" in options:
        check_betas(options["betas"], f"{what}.betas")
    if options.get("nesterov") and not options.get("momentum", 0.9):
        raise ValueError(f"{what}.nesterov needs a momentum above 0")


def check_betas(betas: Sequence[float], name: str = "betas") -> None:
    """Refuse Adam's betas unless they are two numbers from 0 to below 1.

    Raises:
        ValueError: they are not; names them.
    """
    if len(betas) != 2:
        raise ValueError(f"{name} must be two numbers; got {betas}")
    for beta in betas:
        at_least(0, **{name: beta})
        below(1, **{name: beta})


def configure(
    module: pl.LightningModule,
    optimizer: OptimSpec,
    schedule: OptimSpec,
    lr: float,
    weight_decay: float = 0.0,
    groups: list[dict[str, Any]] | None = None,
) -> Any:
    """An optimiser over all trainable parameters and its schedule, in the form ``configure_optimizers`` returns.

    Args:
        module: Module attached to its trainer, which is asked for the precision and the number of steps.
        optimizer: Optimiser: "adamw" (Loshchilov & Hutter 2019; ``betas``), "sgd" (``momentum``, ``nesterov``) or
            "lars" (You et al. 2017; ``momentum``, ``trust``), or a mapping of its name and options.
        schedule: Schedule: "constant", "cosine" or "linear", each with ``warmup``, a share of the steps (cosine's is
            0.05).
        lr: Learning rate (its peak).
        weight_decay: Weight decay of parameters of two or more dimensions.
        groups: Groups of parameters, each with its own options; None is those of ``param_groups``.

    Raises:
        ValueError: an unknown name or option; a schedule that falls over a training without an end.
    """
    check_specs(optimizer, schedule)
    name, options = _parse(optimizer)
    made = OPTIMIZERS[name](groups or param_groups(module, weight_decay), lr, can_fuse(module.trainer), **options)
    return with_schedule(module, made, schedule)


def can_fuse(trainer: Any) -> bool:
    """Whether an optimiser may be fused, one kernel for all parameters: Lightning refuses to clip gradients for a fused
    one in mixed precision.

    Raises:
        ValueError: gradients are to be clipped to a length that is negative or not finite.
    """
    at_least(0, **{"`trainer.gradient_clip_val`": trainer.gradient_clip_val or 0})
    return not (trainer.gradient_clip_val and "mixed" in str(trainer.precision))


def clip_by_group(optimizer: Optimizer, value: float | None, algorithm: str | None) -> None:
    """Clip the gradients of each group of parameters by itself; arguments as Lightning's ``clip_gradients``."""
    clip = nn.utils.clip_grad_value_ if algorithm == "value" else nn.utils.clip_grad_norm_
    for group in optimizer.param_groups if value else ():
        clip(group["params"], value)  # type: ignore[arg-type]


def batch_scaled_lr(module: pl.LightningModule, lr: float, rule: Literal["linear", "sqrt"] = "linear") -> float:
    """A learning rate stated for batches of 256 samples, for those of this training.

    Args:
        module: Module attached to its trainer.
        lr: Learning rate for a batch of 256.
        rule: Rule: in proportion to the samples of an optimiser's step, "linear" (Goyal et al. 2017), or to their
            square root, "sqrt".

    Returns:
        The rate for a step's samples: those of all processes and accumulated batches. Where loaders do not say how many
        a batch has, the rate as it is, with a warning.
    """
    trainer = module.trainer
    size = getattr(getattr(trainer, "datamodule", None), "batch_size", None)
    if not isinstance(size, int):
        trainer.fit_loop.setup_data()  # the loader, which Lightning has not asked for yet
        size = getattr(trainer.train_dataloader, "batch_size", None)
    if not isinstance(size, int):
        log.warning("the loader does not say its batch_size: lr is used as it is, not scaled from batches of 256")
        return lr
    share = size * trainer.world_size * trainer.accumulate_grad_batches / _BASE_BATCH
    return lr * (share if rule == "linear" else math.sqrt(share))


def with_schedule(module: pl.LightningModule, optimizer: Optimizer, schedule: OptimSpec) -> Any:
    """An optimiser and its schedule, in the form ``configure_optimizers`` returns."""
    name, options = _parse(schedule)
    if name == "constant" and not options.get("warmup"):
        return optimizer
    scheduler = scheduled(optimizer, schedule, total_steps_fn(module))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
