"""What an evaluation costs: with all that watches a run, the encoder runs once a batch."""

import importlib

import lightning.pytorch as pl
import pytest
from conftest import quiet_trainer
from test_common import make

from zoo.registry import CALLBACKS, MODULES


def watchers(name):
    """All callbacks that a run of this technique has."""
    for path in {**CALLBACKS, **MODULES[name].callbacks}.values():
        module, _, attribute = path.rpartition(".")
        few = {"train_samples": 200} if attribute == "Representation" else {}
        if attribute not in ("PredictionWriter", "Predictions"):  # which writes what is predicted alone
            yield getattr(importlib.import_module(module), attribute)(**few)


class Count(pl.Callback):
    """How often a network runs from a batch's beginning to its end, the other callbacks' part included."""

    def __init__(self, network):
        self.calls, self.counts = 0, []
        network.register_forward_hook(self._count)

    def _count(self, *_):
        self.calls += 1

    def on_validation_batch_start(self, *_):
        self.calls = 0

    def on_validation_batch_end(self, *_):
        self.counts.append(self.calls)


@pytest.mark.parametrize("name", [name for name in MODULES if name not in ("skipgram", "contrastive")])
def test_the_encoder_runs_once_a_batch(name, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # of feature extractors
    monkeypatch.setattr("callbacks.samples.feature_extractor._STEPS", 1)
    module, data = make(name)
    count = Count(module.encoder.trunk)
    trainer = quiet_trainer(tmp_path, callbacks=[*watchers(name), count], limit_val_batches=3)
    trainer.validate(module, data, verbose=False)
    assert count.counts and set(count.counts) == {1}, count.counts


@pytest.mark.parametrize(("name", "options"), [("autoencoder", {"variant": "denoising"}), ("contrastive", {})])
def test_what_learns_from_changed_images_encodes_these_and_those_that_are_not(name, options, tmp_path):
    module, data = make(name, **options)
    count = Count(module.encoder.trunk)
    trainer = quiet_trainer(tmp_path, callbacks=[*watchers(name), count], limit_val_batches=2)
    trainer.validate(module, data, verbose=False)
    assert set(count.counts) == {2}


def test_a_subclass_that_encodes_in_another_way_is_measured_by_it(tmp_path):
    module, data = make("autoencoder")

    class Doubled(type(module)):
        def encode(self, x):
            return 2 * super().encode(x)

    class Keep(pl.Callback):
        def on_validation_batch_end(self, trainer, module, outputs, batch, batch_idx, dataloader_idx=0):
            self.outputs = outputs

    for technique, kept in ((type(module), {"features"}), (Doubled, set())):
        keep = Keep()
        quiet_trainer(tmp_path, callbacks=[keep], limit_val_batches=1).validate(
            technique(**module.hparams), data, verbose=False
        )
        assert set(keep.outputs) == kept
