import sys
from types import SimpleNamespace

import pytest
import torch

from zoo.core.distributed import gather_rows, training_batches

TWO = """
import os
import torch
from zoo.core.distributed import alone, gather_rows, several_processes
from torchmetrics import MeanMetric
rank = int(os.environ["LOCAL_RANK"])
torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
rows = torch.arange(2 + 3 * rank).view(-1, 1) + 10 * rank  # 2 rows here, 5 there
assert gather_rows(rows, 2).flatten().tolist() == [0, 1, 10, 11, 12, 13, 14]
assert gather_rows(rows[:2].bool(), 2, equal=True).flatten().tolist() == [False, True, True, True]
assert gather_rows(rows[:0] if rank else rows, 2).flatten().tolist() == [0, 1]
assert gather_rows(rows, 1) is rows
metric = torch.nn.ModuleDict({{"mean": MeanMetric()}})
metric["mean"].update(float(rank))
assert several_processes()
if rank == 1:  # the other one is not asked, and does not wait
    with alone(metric):
        assert not several_processes() and metric["mean"].compute() == 1
    metric["mean"].reset()
    metric["mean"].update(float(rank))
assert several_processes() and metric["mean"].compute() == 0.5
torch.distributed.destroy_process_group()
"""


def test_alone_nothing_is_gathered():
    rows = torch.rand(3, 2)
    assert gather_rows(rows, 1) is rows


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="its two processes are forked")
def test_rows_of_two_ranks_whatever_their_numbers_and_metrics_of_one_alone(two_processes):
    two_processes(TWO)


def test_one_pass_leaves_the_trainers_loader_its_place():
    loader = [(torch.zeros(2, 1), torch.tensor([0, 1])), torch.ones(1, 1)]
    trainer = SimpleNamespace(
        strategy=SimpleNamespace(batch_to_device=lambda batch: batch),
        datamodule=SimpleNamespace(train_dataloader=lambda: iter(loader)),
        train_dataloader=None,
    )
    first, second = training_batches(trainer)
    assert {*first} == {"input", "label"} and {*second} == {"input"}
    assert next(training_batches(trainer, "tokens")).keys() == {"tokens", "label"}
