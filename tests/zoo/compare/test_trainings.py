"""Single cells: what a probe is fitted to, and which samples are looked at."""

import lightning.pytorch as pl
import pytest
import torch

from datamodules.images import Digits
from zoo import FinetuneModule, save_encoder
from zoo.compare.cells import Cell, Folder
from zoo.compare.plan import Entry, Plan
from zoo.compare.trainings import QUIET, Work, encoded, linear
from zoo.functional.features import raw_pixels
from zoo.networks.encoder import Encoder


@pytest.fixture(scope="module")
def digits():
    data = Digits(batch_size=64)
    data.setup()
    return data


def work(data, tmp_path, *entries):
    tuning = {"steps": 2, "batch_size": 64, "probe_l2": 0.25, "augmentation": {}}
    plan = Plan("", {}, "", entries, (5,), (), 3, 3, 0, '"conv"', tuning, "2 steps", 2, 1.0, "32-true", 1)
    return Work(plan, Folder(tmp_path), data)


def test_a_probe_gives_an_encoder_the_normalisation_that_it_needs_as_fine_tuning_does(digits, tmp_path):
    pl.seed_everything(0, verbose=False)
    encoder = Encoder("conv", (1, 8, 8), None, {"mean": [0.9], "std": [0.05]})
    weights = str(save_encoder(encoder, tmp_path / "encoder"))
    made = work(digits, tmp_path, Entry(weights, weights=weights))
    right = linear(made, Cell(weights, "probe", 0.0, 5, 0), "test")
    module = FinetuneModule((1, 8, 8), 10, backbone=weights, mode="probe")
    pl.Trainer(max_epochs=1, limit_val_batches=0, **QUIET).fit(module, digits.with_labels(5, 0))
    outputs, truth = encoded(module.eval().classify, digits, "test")
    assert torch.equal(right, outputs.argmax(1) == truth)
    bare = Encoder.from_config({**encoder.get_config(), "normalisation": None})
    bare.load_state_dict(encoder.state_dict())
    save_encoder(bare, weights)
    assert not torch.equal(right, linear(made, Cell(weights, "probe", 0.0, 5, 0), "test"))


def test_of_more_samples_than_are_looked_at_a_part_is_drawn_from_all_classes():
    data = Digits()
    data.setup()
    images, labels = data.splits["train"]
    order = labels.argsort(stable=True)
    data.splits["train"] = data.splits["train"]._replace(images=images[order], labels=labels[order])
    _, some = encoded(raw_pixels, data, "train", 200)
    assert len(some) == 200 and some.bincount(minlength=10).min() > 5
    _, every = encoded(raw_pixels, data, "train", len(labels))
    assert torch.equal(every, labels[order])
