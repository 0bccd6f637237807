import lightning.pytorch as pl
import pytest
import torch
from conftest import quiet_trainer
from torch.utils.data import DataLoader

from zoo.core.base import ZooModule


class Counter(ZooModule):
    """Its n-th loss is n."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.count = 0
        self.random = []

    def loss(self, batch):
        self.count += self.training
        self.random.append(torch.rand(1).item())
        return self.weight.sum() * 0 + float(self.count), {"double": torch.tensor(2.0 * self.count)}

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Records(pl.loggers.logger.DummyLogger):
    """Keeps what is logged."""

    def __init__(self):
        super().__init__()
        self.kept = []

    def log_metrics(self, metrics, step=None):
        self.kept.append((step, metrics))


def fit(epochs=1, **options):
    pl.seed_everything(0, verbose=False)
    module, logger = Counter(), Records()
    quiet_trainer(max_epochs=epochs, logger=logger, **options).fit(module, DataLoader(torch.zeros(10, 1), batch_size=1))
    return module, logger


def test_records_are_means_since_the_last():
    _, logger = fit(log_every_n_steps=4)
    losses = {step: m["train/loss"] for step, m in logger.kept if "train/loss" in m}
    assert losses == {3: 2.5, 7: 6.5, 9: 9.5}
    assert all(m["train/double"] == 2 * m["train/loss"] for _, m in logger.kept if "train/loss" in m)


def test_every_step_has_its_own_randomness_and_repeats():
    first, _ = fit(2)
    torch.rand(17)
    second, _ = fit(2)
    assert len(set(first.random)) == 20 and first.random == second.random


def test_a_module_without_a_loss_says_so():
    with pytest.raises(NotImplementedError, match="ZooModule must define loss"):
        ZooModule().loss({})
