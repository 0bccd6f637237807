import pytest
import torch
from torch import nn

from zoo.core.optimizers import LARS, RowAdagrad


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


def test_lars_is_the_papers_formula():
    """You et al. 2017, algorithm 1, written out in float64."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(4, 3, generator=generator)
    weight, bias = nn.Parameter(start.clone()), nn.Parameter(torch.zeros(4))
    groups = [{"params": [weight], "weight_decay": 0.1}, {"params": [bias], "weight_decay": 0.1}]
    optimizer = LARS(groups, lr=0.5, momentum=0.9, trust=0.02)
    w, v, b, u = start.double(), torch.zeros(4, 3).double(), torch.zeros(4).double(), torch.zeros(4).double()
    for _ in range(5):
        weight.grad, bias.grad = torch.randn(4, 3, generator=generator), torch.randn(4, generator=generator)
        g = weight.grad.double() + 0.1 * w
        v = 0.9 * v + 0.5 * (0.02 * w.norm() / g.norm()) * g
        u = 0.9 * u + 0.5 * bias.grad.double()
        w, b = w - v, b - u
        optimizer.step()
    torch.testing.assert_close(weight.detach().double(), w)
    torch.testing.assert_close(bias.detach().double(), b)


def test_lars_moves_a_layer_that_begins_at_zero():
    weight = nn.Parameter(torch.zeros(2, 2))
    weight.grad = torch.ones(2, 2)
    LARS([weight], lr=0.1).step()
    torch.testing.assert_close(weight.detach(), torch.full((2, 2), -0.1))


def test_arguments_out_of_range_are_named():
    table = [nn.Parameter(torch.zeros(2, 2))]
    for optimizer, options in ((LARS, {"trust": 0.0}), (LARS, {"momentum": 2.0}), (RowAdagrad, {"power": 0.7})):
        with pytest.raises(ValueError, match=next(iter(options))):
            optimizer(table, lr=0.1, **options)
