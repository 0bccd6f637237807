"""Optimisers that PyTorch lacks: LARS for large batches, RowAdagrad for tables of vectors."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from zoo.core.arguments import at_least, between, more_than


class _ByParameter(Optimizer):
    """Updates each parameter by itself; a subclass defines ``_update(parameter, gradient, options)``."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:  # type: ignore[override]
        """One step over all parameters."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for options in self.param_groups:
            for parameter in options["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, options)
        return loss

    def _update(self, parameter: Tensor, grad: Tensor, options: Mapping[str, Any]) -> None:
        raise NotImplementedError


class LARS(_ByParameter):
    """SGD with momentum and layer-wise rates (You et al. 2017, "Large batch training of convolutional networks").

    A matrix or kernel w with gradient g has the rate ``lr * trust * |w| / |g + weight_decay * w|``; where either norm
    is 0, and for biases and norms (ndim < 2), ``lr`` itself, without weight decay, as is customary (Goyal et al. 2017;
    Grill et al. 2020).

    Args:
        params: Parameters or groups of them.
        lr: Learning rate.
        momentum: Momentum.
        trust: Trust coefficient.
        weight_decay: Weight decay of matrices and kernels.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(
        self, params: Any, lr: float, momentum: float = 0.9, trust: float = 1e-3, weight_decay: float = 0.0
    ) -> None:
        more_than(0, lr=lr, trust=trust)
        at_least(0, weight_decay=weight_decay)
        between(0, 1, momentum=momentum)
        super().__init__(params, {"lr": lr, "momentum": momentum, "trust": trust, "weight_decay": weight_decay})

    def _update(self, parameter: Tensor, grad: Tensor, options: Mapping[str, Any]) -> None:
        if parameter.ndim >= 2:
            grad = grad.add(parameter, alpha=options["weight_decay"])
            length, slope = parameter.norm(), grad.norm()
            moves = (length > 0) & (slope > 0)
            grad = grad * torch.where(moves, options["trust"] * length / slope, 1.0)
        state = self.state[parameter]
        if not state:
            state["velocity"] = torch.zeros_like(parameter)
        velocity = state["velocity"].mul_(options["momentum"]).add_(grad)
        parameter.sub_(velocity, alpha=options["lr"])


class RowAdagrad(_ByParameter):
    """For tables of which a step touches few rows, some of them often: a learning rate per row, and a longest step.

    A row moves by ``-lr * g / s ** power``, but no further than ``max_step``, where g is its gradient and s the sum of
    the mean squares of all its gradients so far. With the power 1/2 this is Adagrad (Duchi et al. 2011) with one
    accumulator per row; with 0 it is plain SGD; between them a rare row keeps long steps, and a row that sums thousands
    of gradients in one step does not diverge (cf. Chen et al. 2020, on the power).

    Args:
        params: Tables, of two dimensions or more, or groups of them; gradients may be sparse or dense.
        lr: Learning rate.
        power: Power of s, 0 to 1/2.
        max_step: Longest distance that a row moves in a step, at the full rate; it falls with the rate.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(self, params: Any, lr: float, power: float = 0.25, max_step: float = 0.5) -> None:
        more_than(0, lr=lr, max_step=max_step)
        between(0, 0.5, power=power)
        super().__init__(params, {"lr": lr, "initial_lr": lr, "power": power, "max_step": max_step})

    def _update(self, table: Tensor, grad: Tensor, options: Mapping[str, Any]) -> None:
        state = self.state[table]
        if not state:
            exact = torch.promote_types(table.dtype, torch.float32)  # a sum in half precision soon stops growing
            state["sum"] = torch.zeros(len(table), dtype=exact, device=table.device)
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

    def _rates(self, grad: Tensor, sums: Tensor, options: Mapping[str, Any]) -> Tensor:
        """Factors of the rows' gradients, (rows,); their mean squares are added to ``sums``."""
        lengths = torch.linalg.vector_norm(grad.flatten(1), dim=1)
        sums.addcmul_(lengths, lengths, value=grad.shape[0] / grad.numel())
        longest = options["max_step"] * options["lr"] / options["initial_lr"]
        rate = options["lr"] * sums.clamp_min(1e-20).pow_(-options["power"])
        return -torch.minimum(rate, longest / lengths.clamp_min_(1e-20))


def _rows(grad: Tensor) -> tuple[Tensor, Tensor]:
    """Indices of a sparse gradient's rows, unique and ascending, and the rows."""
    rows = grad._indices()[0]
    if (rows[1:] > rows[:-1]).all():  # autograd drops the flag of it, and coalescing costs more than this check
        return rows, grad._values()
    grad = grad.coalesce()
    return grad.indices()[0], grad.values()
