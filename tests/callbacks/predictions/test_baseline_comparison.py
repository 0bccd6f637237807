import lightning.pytorch as pl
import pytest
import torch
from conftest import quiet_trainer
from lightning.pytorch.loggers import CSVLogger

from callbacks.predictions.baseline_comparison import BaselineComparison
from datamodules.domains import Domains
from datamodules.images import Digits
from datamodules.tabular import Vectors
from zoo import AdaptModule, AutoencoderModule, FinetuneModule
from zoo.core.findings import answer_of


def fitted(folder, module, data, epochs=2, **options):
    comparison = BaselineComparison()
    trainer = quiet_trainer(folder, max_epochs=epochs, callbacks=[comparison], **options)
    trainer.fit(module, data)
    return comparison, trainer


def test_adaptation_is_compared_with_the_same_start_without_the_target(tmp_path):
    def made(**options):
        pl.seed_everything(0, verbose=False)
        data = Domains()
        return AdaptModule(data.input_shape, data.num_classes, class_names=data.class_names, **options), data

    module, data = made(method="coral")
    start = {name: value.clone() for name, value in module.encoder.state_dict().items()}
    comparison, trainer = fitted(tmp_path, module, data)
    torch.manual_seed(module._seed)
    alone = AdaptModule(data.input_shape, data.num_classes, class_names=data.class_names, method="none")
    alone.encoder.load_state_dict(start)
    quiet_trainer(tmp_path, max_epochs=2, limit_val_batches=0).fit(alone, Domains())
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(comparison._baseline.state_dict()[name], value)
    found = trainer.test(module, data, verbose=False)[0]
    (finding,) = comparison.findings(trainer, module)
    assert finding.value == pytest.approx(found["test/score"]) and finding.note == "on digits_m"
    assert finding.references[0].value == pytest.approx(found["test/baseline_score"])
    assert quiet_trainer(tmp_path).test(alone, data, verbose=False)[0]["test/score"] == pytest.approx(
        found["test/baseline_score"]
    )
    answer = answer_of(module.headline, [finding], "images")
    assert answer.question == "Did adaptation pay?" and "not adapted" in answer.verdict.reason
    assert made(method="none")[0].baseline() is None


def test_a_later_test_reads_the_baseline_from_the_runs_folder(tmp_path, caplog):
    def made():
        pl.seed_everything(0, verbose=False)
        data = Digits(labels_per_class=2, labelled_only=True)
        return FinetuneModule(data.input_shape, 10, data.class_names, pretrain_epochs=2), data

    module, data = made()
    first, trainer = fitted(tmp_path, module, data, logger=CSVLogger(tmp_path, "a", "1"))
    run = tmp_path / "a" / "1"
    trainer.save_checkpoint(run / "checkpoints" / "best.ckpt")
    trainer.test(module, data, verbose=False)
    assert (run / "baseline.ckpt").is_file()
    module, data = made()
    later = BaselineComparison()
    again = quiet_trainer(tmp_path, callbacks=[later])
    again.test(module, data, ckpt_path=run / "checkpoints" / "best.ckpt", weights_only=True, verbose=False)
    assert later.findings(again, module) == first.findings(trainer, module) != []
    (run / "baseline.ckpt").write_bytes(b"junk")
    again.test(module, data, ckpt_path=run / "checkpoints" / "best.ckpt", weights_only=True, verbose=False)
    assert later.findings(again, module) == [] and "baseline.ckpt" in caplog.text


def test_a_regression_is_compared_by_its_score(tmp_path):
    pl.seed_everything(0, verbose=False)
    data = Vectors("diabetes")
    module = FinetuneModule(data.input_shape, 1, task="regression", normalisation=data.normalisation, lr=3e-3)
    comparison, trainer = fitted(tmp_path, module, data, epochs=20)
    found = trainer.test(module, data, verbose=False)[0]
    (finding,) = comparison.findings(trainer, module)
    assert finding.value == pytest.approx(found["test/score"], abs=1e-4) and "R squared" in finding.note
    baseline = finding.references[0]
    assert baseline.value == pytest.approx(found["test/baseline_score"]) and baseline.chance > 0
    assert finding.interval[0] < finding.value < finding.interval[1]


def test_modules_without_a_baseline_are_left_alone(tmp_path):
    module = AutoencoderModule((1, 8, 8), latent_dim=4)
    comparison, trainer = fitted(tmp_path, module, Digits(), epochs=1, limit_train_batches=2)
    trainer.test(module, Digits(), verbose=False)
    assert comparison.findings(trainer, module) == []
