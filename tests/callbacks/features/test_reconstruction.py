import pytest
from conftest import quiet_trainer
from sklearn import decomposition

from callbacks.features.reconstruction import Reconstruction
from datamodules.images import Digits
from zoo import AutoencoderModule, PCAModule
from zoo.core.findings import collect


def fit_and_test(folder, module, data, **options):
    callback = Reconstruction(**options)
    trainer = quiet_trainer(folder, max_epochs=1, callbacks=[callback])
    trainer.fit(module, data)
    trainer.test(module, data, verbose=False)
    return trainer, callback


def test_errors_are_scikit_learns_and_pca_is_no_baseline_of_itself(tmp_path):
    data = Digits()
    trainer, callback = fit_and_test(tmp_path, PCAModule((1, 8, 8), n_components=5), data)
    train, test = (data.splits[name].images.flatten(1).double().numpy() / 255 for name in ("train", "test"))
    theirs = decomposition.PCA(5).fit(train)
    error = ((theirs.inverse_transform(theirs.transform(test)) - test) ** 2).mean()
    mean = ((test - train.mean(0)) ** 2).mean()
    metrics = trainer.callback_metrics
    assert metrics["test/reconstruction"].item() == pytest.approx(error, rel=1e-4)
    assert metrics["test/reconstruction_pca"].item() == pytest.approx(error, rel=1e-4)
    assert metrics["test/reconstruction_mean"].item() == pytest.approx(mean, rel=1e-4)
    finding = next(f for f in collect(trainer, trainer.lightning_module).findings if f.group == "reconstruction")
    assert [reference.title for reference in finding.references] == ["the mean of the training inputs"]
    assert finding.samples == 359 and finding.interval[0] < error < finding.interval[1]
    assert callback.findings(trainer, trainer.lightning_module)[0].baselines[0].chance == pytest.approx(0, abs=1e-6)


def test_a_worse_reconstruction_than_pcas_is_no(tmp_path):
    trainer, callback = fit_and_test(tmp_path, AutoencoderModule((1, 8, 8)), Digits())
    (finding,) = callback.findings(trainer, trainer.lightning_module)
    assert finding.value > finding.baselines[0].value + finding.baselines[0].chance, "one epoch is not enough"


def test_wide_inputs_are_compared_with_the_mean_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("callbacks.features.reconstruction._WIDEST", 63)
    trainer, callback = fit_and_test(tmp_path, AutoencoderModule((1, 8, 8)), Digits())
    (finding,) = callback.findings(trainer, trainer.lightning_module)
    assert not finding.baselines and "test/reconstruction_pca" not in trainer.callback_metrics


def test_modules_without_reconstructions_are_left_alone(tmp_path):
    class Only(AutoencoderModule):
        reconstruct = None

    trainer, callback = fit_and_test(tmp_path, Only((1, 8, 8)), Digits())
    assert callback.findings(trainer, trainer.lightning_module) == []
    assert not any("reconstruction" in name for name in trainer.callback_metrics)


def test_range_of_the_option():
    with pytest.raises(ValueError, match="train_samples"):
        Reconstruction(train_samples=1)
