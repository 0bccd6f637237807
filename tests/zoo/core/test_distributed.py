import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from conftest import ROOT

from zoo.core.distributed import gather_rows, training_batches

TWO = """
import os, sys
sys.path.insert(0, {root!r})
import torch
from zoo.core.distributed import gather_rows

def work(rank):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT={port!r}, GLOO_SOCKET_IFNAME="lo")
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    rows = torch.arange(2 + 3 * rank).view(-1, 1) + 10 * rank  # 2 rows here, 5 there
    assert gather_rows(rows, 2).flatten().tolist() == [0, 1, 10, 11, 12, 13, 14]
    assert gather_rows(rows[:2].bool(), 2, equal=True).flatten().tolist() == [False, True, True, True]
    assert gather_rows(rows[:0] if rank else rows, 2).flatten().tolist() == [0, 1]
    assert gather_rows(rows, 1) is rows
    torch.distributed.destroy_process_group()

if __name__ == "__main__":
    torch.multiprocessing.spawn(work, nprocs=2)
"""


def test_alone_nothing_is_gathered():
    rows = torch.rand(3, 2)
    assert gather_rows(rows, 1) is rows


@pytest.mark.long
def test_rows_of_two_ranks_whatever_their_numbers(tmp_path):
    (tmp_path / "two.py").write_text(TWO.format(root=str(ROOT), port=str(29600 + hash(str(tmp_path)) % 300)))
    done = subprocess.run([sys.executable, str(tmp_path / "two.py")], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


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
