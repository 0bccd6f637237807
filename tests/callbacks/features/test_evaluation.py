import lightning.pytorch as pl
import pytest
import torch
from conftest import quiet_trainer
from sklearn.neighbors import KNeighborsClassifier
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from callbacks.features.evaluation import Representation, untrained
from datamodules.image_base import Split
from datamodules.images import Digits
from zoo import AutoencoderModule
from zoo.functional.features import raw_pixels

SHAPE = (1, 8, 8)
BASELINES = ("", "_pixels", "_pca", "_untrained")


class Flat(AutoencoderModule):
    """Its features are the pixels."""

    def encode(self, x):
        return x.flatten(1)


class Constant(AutoencoderModule):
    def encode(self, x):
        return torch.ones(len(x), 4)


def fit(folder, module, data, epochs=1, **options):
    callback = Representation(every_n_epochs=1, **options)
    trainer = quiet_trainer(folder, max_epochs=epochs, limit_train_batches=1, callbacks=[callback])
    trainer.fit(module, data)
    return trainer


def test_measures_features_and_baselines_and_draws(tmp_path):
    trainer = fit(tmp_path, AutoencoderModule(SHAPE), Digits())
    metrics = trainer.callback_metrics
    assert {f"val/{m}{r}" for m in ("knn", "probe") for r in BASELINES} <= set(metrics)
    assert metrics["val/knn_pixels"] > 0.95 and metrics["val/probe_pixels"] > 0.9 and metrics["val/knn_pca"] > 0.9
    assert 1 <= metrics["val/rank_me"] <= 16
    assert (tmp_path / "representation.png").stat().st_size > 5000
    trainer.test(trainer.lightning_module, Digits(), verbose=False)
    assert "test/probe_untrained" in trainer.callback_metrics


def test_features_that_are_pixels_score_as_pixels_and_as_scikit_learn_says(tmp_path):
    data = Digits(shift=1, jitter=0.5, normalise="standard")  # augmentation must not reach the measured samples
    metrics = fit(tmp_path, Flat(SHAPE), data, k=1).callback_metrics
    assert metrics["val/knn"] == metrics["val/knn_pixels"] and metrics["val/probe"] == metrics["val/probe_pixels"]
    (train, labels), (val, truth) = data.splits["train"], data.splits["val"]
    mean, std = data.mean[0] * 255, data.std[0] * 255
    train, val = ((x.flatten(1).float() - mean) / std for x in (train, val))
    expected = KNeighborsClassifier(1, metric="cosine").fit(train, labels).score(val, truth)
    assert metrics["val/knn"] == pytest.approx(expected, abs=0.008)


def test_without_labels_rank_and_spread_only(tmp_path):
    x = torch.rand(100, *SHAPE)
    loader = DataLoader(TensorDataset(x), batch_size=50)
    trainer = quiet_trainer(tmp_path, callbacks=[Representation()])
    trainer.fit(AutoencoderModule(SHAPE), loader, loader)
    found = {name for name in trainer.callback_metrics if "knn" in name or "probe" in name}
    assert not found and "val/rank_me" in trainer.callback_metrics and "val/feature_std" in trainer.callback_metrics


def test_tuples_of_anybodys_loader(tmp_path):
    data = Digits()
    data.setup()
    images, labels = data.splits["train"]
    loader = DataLoader(TensorDataset(images.float() / 255, labels), batch_size=100)
    trainer = quiet_trainer(tmp_path, callbacks=[Representation()])
    trainer.fit(AutoencoderModule(SHAPE), loader, loader)
    assert trainer.callback_metrics["val/knn_pixels"] > 0.95


def test_only_labelled_samples_vote_and_too_few_are_said(tmp_path, caplog):
    fit(tmp_path, AutoencoderModule(SHAPE), Digits(labels_per_class=1), epochs=2, k=20)
    said = [record.message for record in caplog.records if "all of them vote" in record.message]
    assert said == ["k is 20 but there are only 10 labelled training samples: all of them vote"]


def test_fewer_validation_samples_than_k_are_measured_all_the_same(tmp_path, caplog):
    data = Digits()
    data.setup()
    data.splits["val"] = Split(*(part[:5] for part in data.splits["val"]))
    metrics = fit(tmp_path, AutoencoderModule(SHAPE), data, k=10).callback_metrics
    assert metrics["val/knn_pixels"] in (0.8, 1.0) and 1 <= metrics["val/rank_me"] <= 5
    assert "vote" not in caplog.text  # the voters are training samples, and there are enough


def test_collapse_is_said(tmp_path, caplog):
    fit(tmp_path, Constant(SHAPE), Digits())
    assert "the features have collapsed" in caplog.text


def test_a_module_that_cannot_collapse_is_not_said_to(tmp_path, caplog):
    class Rebuilding(Constant):
        may_collapse = False

    fit(tmp_path, Rebuilding(SHAPE), Digits())
    assert "collapsed" not in caplog.text


def test_a_module_without_encode_is_told_at_setup(tmp_path, caplog):
    class Bare(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(64, 1)

        def training_step(self, batch, batch_idx):
            return self.layer(batch["input"].flatten(1)).mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    trainer = fit(tmp_path, Bare(), Digits())
    assert "Bare has no encode(x): its features are not measured" in caplog.text
    assert not [name for name in trainer.callback_metrics if name.startswith("val/")]


def test_measuring_does_not_change_the_training(tmp_path):
    states = []
    for callbacks in ([], [Representation(every_n_epochs=1)]):
        pl.seed_everything(0, verbose=False)
        module = AutoencoderModule(SHAPE)
        quiet_trainer(tmp_path, max_epochs=2, callbacks=callbacks).fit(module, Digits())
        states.append(module.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_the_untrained_copy_is_new_repeats_and_leaves_the_module_alone():
    module = AutoencoderModule(SHAPE)
    with torch.no_grad():
        for p in module.parameters():
            p.fill_(0.5)
    first, second = untrained(module), untrained(module)
    assert all((p == 0.5).all() for p in module.parameters())
    assert torch.equal(first.encoder.head.weight, second.encoder.head.weight)
    assert first.encoder.head.weight.std() > 0.001


def test_large_images_are_averaged_for_the_pixel_baseline():
    x = torch.rand(2, 3, 64, 128)
    assert raw_pixels(x).shape == (2, 3 * 32 * 32)
    torch.testing.assert_close(raw_pixels(x)[0, 0], x[0, 0, :2, :4].mean())


@pytest.mark.parametrize("options", [{"k": 0}, {"train_samples": 1}, {"every_n_epochs": -1}])
def test_wrong_options(options):
    with pytest.raises(ValueError, match="or more"):
        Representation(**options)
