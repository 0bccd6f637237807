"""What is not finite is said once, and not measured; the run goes on."""

import pytest
import torch
from conftest import quiet_trainer

from callbacks.features.evaluation import Representation
from callbacks.features.latent_map import LatentMap
from callbacks.features.reconstruction import Reconstruction
from callbacks.predictions.evaluation import Classification
from callbacks.samples.evaluation import Generation
from datamodules.images import Digits
from zoo import AutoencoderModule

SHAPE = (1, 8, 8)


class _Lost(AutoencoderModule):
    """Trains as its parent, and gives nothing but NaN."""

    def encode(self, x):
        return super().encode(x) * torch.nan

    def reconstruct(self, batch):
        return super().reconstruct(batch) * torch.nan

    def sample(self, n, **options):
        return super().sample(n, **options) * torch.nan


def test_features_reconstructions_and_samples(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("callbacks.samples.feature_extractor._STEPS", 1)
    callbacks = [Representation(), LatentMap(), Reconstruction(), Generation(features="auto", cache=str(tmp_path))]
    trainer = quiet_trainer(tmp_path, callbacks=callbacks)
    module = _Lost(SHAPE, network="mlp")
    trainer.fit(module, Digits())
    (logged,) = trainer.test(module, Digits(), verbose=False)
    for what in ("features", "reconstructions", "samples"):
        assert f"{what}: " in caplog.text and "NaN or infinite; they are not measured" in caplog.text
    withheld = ("probe", "knn", "rank_me", "feature_std", "reconstruction", "fid")
    assert not [name for name in logged if name.partition("/")[2].startswith(withheld)]
    measuring = [callback for callback in callbacks if hasattr(callback, "findings")]
    assert len(measuring) == 3 and not [
        finding for callback in measuring for finding in callback.findings(trainer, module)
    ]


def test_it_is_said_once(caplog):
    callback = Classification()
    values = torch.full((4, 3), torch.nan)
    assert not callback.finite(values, "predictions") and not callback.finite(values, "predictions")
    assert caplog.text.count("predictions: 4 of 4 are NaN") == 1


@pytest.mark.parametrize("values", [torch.zeros(0, 3), torch.ones(2), torch.ones(2, 3, dtype=torch.long)])
def test_what_is_finite_is_not_said(values, caplog):
    assert LatentMap().finite(values, "x") and not caplog.text
