from types import SimpleNamespace
from typing import NamedTuple

import torch
from torch import Tensor

from zoo.core.accumulator import Accumulator

ALONE = SimpleNamespace(world_size=1)


class Sums(NamedTuple):
    total: Tensor
    count: Tensor
    about: Tensor


def of(*values):
    return Sums(torch.tensor(values).sum(), torch.tensor(float(len(values))), torch.tensor(5.0))


def add(first, second):
    return Sums(first.total + second.total, first.count + second.count, first.about)


def test_sums_grow_fade_and_begin_anew():
    sums = Accumulator(add, ("total", "count"))
    sums.add(of(1.0, 2.0))
    sums.add(of(4.0))
    assert sums.reduced(ALONE) == Sums(7, 3, 5)
    sums.decay(0.5)
    assert sums.reduced(ALONE) == Sums(3.5, 1.5, 5)  # what does not add up stays
    sums.clear()
    assert sums.sums is None


class Two:
    """A trainer of two ranks, whose other one has as much as this one; reduces in place, as Lightning does."""

    world_size = 2

    def __init__(self):
        self.strategy = SimpleNamespace(reduce=lambda tensor, reduce_op: tensor.mul_(2))


def test_sums_of_all_ranks_leave_each_its_own():
    sums = Accumulator(add, ("total", "count"))
    sums.add(of(1.0, 2.0))
    assert sums.reduced(Two()) == Sums(6, 4, 5) and sums.sums == Sums(3, 2, 5)
    aligned = Accumulator(add, ("total", "count"), lambda own: Sums(own.total + 1, own.count.clone(), own.about))
    aligned.add(of(1.0, 2.0))
    assert aligned.reduced(Two()) == Sums(8, 4, 5)


def test_of_a_checkpoint_the_first_rank_has_the_sums():
    for first, expected in ((True, 3), (False, None)):
        sums = Accumulator(add, ("total", "count"))
        sums.restore(of(1.0, 2.0), first)
        assert sums.sums == (Sums(3, 2, 5) if expected else None)
    sums.restore(of(1.0), False, lambda saved: Sums(saved.total * 0, saved.count * 0, saved.about))
    assert sums.sums == Sums(0, 0, 5)
