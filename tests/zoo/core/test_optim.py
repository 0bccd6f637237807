import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from zoo.core.optim import RowAdagrad, adamw, linear_decay, param_groups, warmup_cosine


def attached(epochs=10, precision="32-true", clip=None):
    module = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    trainer = SimpleNamespace(max_epochs=epochs, max_steps=-1, precision=precision, gradient_clip_val=clip)
    module.trainer = trainer
    return module


def test_only_trainable_matrices_decay():
    module = attached()
    module[0].bias.requires_grad_(False)
    decaying, rest = param_groups(module, 0.1)
    assert [p.shape for p in decaying["params"]] == [(4, 3)] and decaying["weight_decay"] == 0.1
    assert [p.shape for p in rest["params"]] == [(4,), (4,)] and rest["weight_decay"] == 0


def test_warm_up_then_half_a_cosine():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = warmup_cosine(optimizer, lambda: 100, warmup_fraction=0.1)
    rates = []
    for _ in range(101):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[:10] == pytest.approx([2 * i / 10 for i in range(10)])
    assert rates[10:] == pytest.approx([1 + math.cos(math.pi * (i - 10) / 90) for i in range(10, 101)])


def test_one_kernel_unless_lightning_could_not_clip():
    assert adamw(attached(clip=1.0), 1e-3, 0).defaults["fused"]
    assert adamw(attached(precision="16-mixed"), 1e-3, 0).defaults["fused"]
    assert not adamw(attached(precision="bf16-mixed", clip=1.0), 1e-3, 0).defaults["fused"]


def test_a_cosine_needs_an_end():
    assert adamw(attached(), 1e-3, 0, "cosine")["lr_scheduler"]["interval"] == "step"
    with pytest.raises(ValueError, match="max_epochs"):
        adamw(attached(epochs=-1), 1e-3, 0, "cosine")


def moved(power, grads, sparse=False, **options):
    """Where two rows of zeros go under some gradients."""
    table = nn.Parameter(torch.zeros(2, 4))
    optimizer = RowAdagrad([table], lr=0.1, power=power, **{"max_step": 1e9, **options})
    for grad in grads:
        table.grad = grad.to_sparse(1) if sparse else grad
        optimizer.step()
    return table.detach()


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("power", [0.0, 0.25, 0.5])
def test_a_rows_step_is_the_formula(power, sparse):
    grads = [torch.randn(2, 4, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    place, sums = torch.zeros(2, 4), torch.zeros(2, 1)
    for grad in grads:
        sums += grad.square().mean(1, keepdim=True)
        place -= 0.1 * grad / sums**power
    torch.testing.assert_close(moved(power, grads, sparse), place)


def test_no_row_moves_further_than_the_longest_step():
    grad = torch.tensor([[3e4, 0, 0, 0], [1e-3, 0, 0, 0]])
    place = moved(0.0, [grad], max_step=0.5)
    torch.testing.assert_close(place[:, 0], torch.tensor([-0.5, -1e-4]))


def test_rate_falls_in_a_straight_line():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = linear_decay(optimizer, lambda: 10)
    rates = []
    for _ in range(11):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([2 * (1 - i / 10) for i in range(10)] + [2e-4])
