import math
from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
import torch
from conftest import quiet_trainer
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler, TensorDataset

from zoo.core.optim import batch_scaled_lr, check_specs, configure, param_groups, scheduled
from zoo.core.optimizers import LARS


def attached(epochs=10, precision="32-true", clip=None):
    module = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    trainer = SimpleNamespace(max_epochs=epochs, max_steps=-1, precision=precision, gradient_clip_val=clip)
    module.trainer = trainer
    return module


def adamw(module, schedule="constant"):
    return configure(module, "adamw", schedule, 1e-3)


def test_only_trainable_matrices_decay():
    module = attached()
    module[0].bias.requires_grad_(False)
    decaying, rest = param_groups(module, 0.1)
    assert [p.shape for p in decaying["params"]] == [(4, 3)] and decaying["weight_decay"] == 0.1
    assert [p.shape for p in rest["params"]] == [(4,), (4,)] and rest["weight_decay"] == 0


def test_warm_up_then_half_a_cosine():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = scheduled(optimizer, {"name": "cosine", "warmup": 0.1}, lambda: 100)
    rates = []
    for _ in range(101):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[:10] == pytest.approx([2 * i / 10 for i in range(10)])
    assert rates[10:] == pytest.approx([1 + math.cos(math.pi * (i - 10) / 90) for i in range(10, 101)])


def test_one_kernel_unless_lightning_could_not_clip():
    assert adamw(attached(clip=1.0)).defaults["fused"]
    assert adamw(attached(precision="16-mixed")).defaults["fused"]
    assert not adamw(attached(precision="bf16-mixed", clip=1.0)).defaults["fused"]


def test_a_cosine_needs_an_end():
    assert adamw(attached(), "cosine")["lr_scheduler"]["interval"] == "step"
    with pytest.raises(ValueError, match="max_epochs"):
        adamw(attached(epochs=-1), "cosine")


def test_rate_falls_in_a_straight_line():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = scheduled(optimizer, {"name": "linear", "floor": 1e-4}, lambda: 10)
    rates = []
    for _ in range(11):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([2 * (1 - i / 10) for i in range(10)] + [2e-4])


def test_a_constant_rate_may_warm_up():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = scheduled(optimizer, {"name": "constant", "warmup": 0.2}, lambda: 10)
    rates = []
    for _ in range(5):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([0, 1, 2, 2, 2])


def test_optimizers_by_name_and_options():
    adam = configure(attached(), {"name": "adamw", "betas": [0.8, 0.95]}, "constant", 1e-3, 0.1)
    assert adam.defaults["betas"] == (0.8, 0.95) and [g["weight_decay"] for g in adam.param_groups] == [0.1, 0.0]
    sgd = configure(attached(), {"name": "sgd", "momentum": 0.5}, "linear", 0.1)["optimizer"]
    assert isinstance(sgd, torch.optim.SGD) and sgd.defaults["momentum"] == 0.5
    assert isinstance(configure(attached(), "lars", "constant", 0.1), LARS)


@pytest.mark.parametrize(
    ("specs", "says"),
    [
        (("adamv", "constant"), "unknown optimizer 'adamv' .did you mean 'adamw'"),
        (("sgd", "cosin"), "unknown schedule 'cosin' .did you mean 'cosine'"),
        (({"name": "sgd", "momentun": 0.9}, "cosine"), "no option 'momentun' .did you mean 'momentum'"),
        (("sgd", {"name": "constant", "floor": 0.1}), "schedule 'constant' has no option 'floor'; it has: warmup"),
    ],
)
def test_mistyped_names_and_options_are_named(specs, says):
    with pytest.raises(ValueError, match=says):
        check_specs(*specs)


def test_a_constant_rate_needs_no_end():
    assert isinstance(adamw(attached(epochs=-1), {"name": "constant"}), torch.optim.AdamW)
    with pytest.raises(ValueError, match="max_epochs"):
        adamw(attached(epochs=-1), {"name": "constant", "warmup": 0.1})


class Scaled(pl.LightningModule):
    """Keeps the rate that it would train with."""

    def __init__(self, rule):
        super().__init__()
        self.layer, self.rule = nn.Linear(2, 1), rule

    def training_step(self, batch, batch_idx):
        return self.layer(batch[0]).square().mean()

    def configure_optimizers(self):
        self.rate = batch_scaled_lr(self, 0.1, self.rule)
        return torch.optim.SGD(self.parameters(), lr=self.rate)


def rate_of(loader, rule="linear", **options):
    module = Scaled(rule)
    quiet_trainer(limit_train_batches=1, **options).fit(module, loader)
    return module.rate


def test_rates_follow_the_samples_of_a_step(caplog):
    samples = TensorDataset(torch.zeros(64, 2))
    loader = DataLoader(samples, batch_size=16)
    data = pl.LightningDataModule.from_datasets(samples, batch_size=16)
    for given in (loader, data):
        assert rate_of(given) == pytest.approx(0.1 / 16)
        assert rate_of(given, accumulate_grad_batches=4) == pytest.approx(0.1 / 4)
        assert rate_of(given, "sqrt", accumulate_grad_batches=4) == pytest.approx(0.1 / 2)
    module = attached()
    module.trainer.datamodule = SimpleNamespace(batch_size=16)
    module.trainer.world_size, module.trainer.accumulate_grad_batches = 8, 2
    assert batch_scaled_lr(module, 0.1) == pytest.approx(0.1)
    assert "batch_size" not in caplog.text


def test_a_loader_that_does_not_say_its_batch_leaves_the_rate(caplog):
    batches = BatchSampler(SequentialSampler(range(64)), 16, drop_last=False)
    assert rate_of(DataLoader(TensorDataset(torch.zeros(64, 2)), batch_sampler=batches)) == 0.1
    assert "does not say its batch_size" in caplog.text
