"""Linear models on fixed features, fitted to the optimum: nothing to tune but a penalty.

Features are (N, D) floats. What is fitted is returned as a linear layer's weight (C, D) and bias (C,), for the
features as they came: they are standardised for the fit only, so that one penalty suits them all.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.functional.randomness import widest_float_dtype


def fit_logistic(
    x: Tensor,
    labels: Tensor,
    classes: int | None = None,
    l2: float = 1e-5,
    steps: int = 100,
    class_weight: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Logistic regression by L-BFGS: multinomial, or one for each class of a multi-label problem.

    Args:
        x: Features (N, D).
        labels: Classes (N,) long, or (N, C) floats of 0 and 1.
        classes: Number of classes C; None is the greatest label plus one.
        l2: Penalty on the squared weights of standardised features, against the mean cross-entropy.
        steps: Largest number of L-BFGS steps.
        class_weight: Weights (C,) of the classes' samples; for a multi-label problem, of its positive ones.
    """
    several = labels.ndim == 2
    classes = labels.shape[1] if several else classes or int(labels.max()) + 1

    def loss(output: Tensor) -> Tensor:
        if several:
            return F.binary_cross_entropy_with_logits(output, labels, pos_weight=weights) * classes
        return F.cross_entropy(output, labels, weights)

    with torch.inference_mode(False):  # the loss is differentiated: it may hold no tensor made in inference mode
        labels = labels.to(widest_float_dtype(x.device), copy=True) if several else labels.clone()
        weights = None if class_weight is None else class_weight.to(widest_float_dtype(x.device), copy=True)
    mean, scale = _moments(x)
    weight, bias = _minimise(loss, (x - mean) / scale, classes, l2, steps)
    return _unscaled(weight, bias, mean, scale)


def fit_ridge(x: Tensor, y: Tensor, l2: float = 1e-5) -> tuple[Tensor, Tensor]:
    """Linear regression of (N, K) on (N, D) in closed form, in float64; ``l2`` against the mean squared error.

    >>> weight, bias = fit_ridge(torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[1.0], [3.0], [5.0]]), l2=0.0)
    >>> weight.round(decimals=4), bias.round(decimals=4)
    (tensor([[2.]]), tensor([1.]))
    """
    mean, scale = _moments(x)
    z, centre = ((x - mean) / scale).double(), y.double().mean(0)
    gram = z.T @ z / len(z) + max(l2, 1e-9) * torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
    weight = torch.linalg.solve(gram, z.T @ (y.double() - centre) / len(z))
    return _unscaled(weight.T.float(), centre.float(), mean, scale)


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    scale, mean = torch.std_mean(x, 0, correction=0)
    return mean, torch.where(scale > 1e-6, scale, 1.0)  # what never changes has no scale to be divided by


def _unscaled(weight: Tensor, bias: Tensor, mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    weight = weight / scale
    return weight, bias - weight @ mean


def _minimise(
    loss: Callable[[Tensor], Tensor], x: Tensor, classes: int, l2: float, steps: int
) -> tuple[Tensor, Tensor]:
    wide = widest_float_dtype(x.device)
    with torch.inference_mode(False), torch.enable_grad():
        x = x.clone()
        weight = x.new_zeros(classes, x.shape[1]).requires_grad_()
        bias = x.new_zeros(classes).requires_grad_()
        solver = torch.optim.LBFGS(
            [weight, bias],
            max_iter=steps,
            history_size=20,
            line_search_fn="strong_wolfe",
            tolerance_grad=1e-6,
            tolerance_change=1e-12,
        )

        def closure() -> Tensor:
            solver.zero_grad()
            # Losses in float64 tell steps apart that are alike in float32: it ends 10 times nearer to the optimum.
            value = loss(F.linear(x, weight, bias).to(wide)) + l2 * weight.to(wide).square().sum()
            value.backward()
            return value

        solver.step(closure)  # type: ignore[arg-type]
    return weight.detach(), bias.detach()
