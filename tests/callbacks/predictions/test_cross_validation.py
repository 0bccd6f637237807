import copy
import csv

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from conftest import ROOT, quiet_trainer
from lightning.pytorch.loggers import CSVLogger
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import RepeatedStratifiedKFold
from sklearn.preprocessing import StandardScaler

from callbacks.predictions.cross_validation import CrossValidation, _of_classes
from datamodules.folder import Folder
from zoo import AutoencoderModule, FinetuneModule
from zoo.core.findings import NOT_SHOWN, collect
from zoo.functional.intervals import wilson

SHAPE = (1, 4, 4)


def photographs(root, count=60, labelled=20, seed=0, task="classification"):
    """Grey noise, of which the brighter half is of one class; 20 have a label."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        label = i % 2
        pixels = rng.normal(110 + 25 * label, 60, (4, 4)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(root / f"{i:03d}.png")
        rows.append((f"{i:03d}.png", ("dark", "light")[label] if task == "classification" else 3.0 * label + 1))
    with (root / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "label"), *rows[:labelled]])
    options = {"labels": str(root / "labels.csv"), "size": 4, "channels": 1, "flip": False, "crop_scale": 1.0}
    return Folder(str(root), task=task, **options)


def probe():
    """A linear probe on another module's encoder, so that a reference can be fitted by scikit-learn."""
    encoder = AutoencoderModule(SHAPE, network="mlp", latent_dim=8).encoder
    return FinetuneModule(SHAPE, 2, ["dark", "light"], mode="probe", backbone=encoder)


def fit(module, data, folder=None, **options):
    callback = CrossValidation(**options)
    trainer = quiet_trainer(folder, max_epochs=2, callbacks=[callback])
    trainer.fit(module, data)
    return trainer, callback


def test_all_labels_train_and_nothing_is_validated(tmp_path, caplog):
    data = photographs(tmp_path)
    trainer, callback = fit(FinetuneModule(SHAPE, 2), data, repeats=1)
    assert {name: len(split.images) for name, split in data.splits.items()} == {"train": 20}
    assert sum(trainer.num_val_batches) == 0 and callback.result.labels == 20
    assert "the 20 labels are few: all of them train" in caplog.text
    assert "cross-validation of the labels: 1 x 5 folds, 10 fits with those of the baseline, about" in caplog.text
    assert trainer.test(trainer.lightning_module, data, verbose=False) == []


def test_the_score_is_that_of_scikit_learns_loop(tmp_path):
    """A probe is convex: the same folds give the same right answers in another program."""
    data = photographs(tmp_path)
    pl.seed_everything(0, verbose=False)
    module = probe()
    start = module.encoder.eval()
    _, callback = fit(module, data, repeats=3, seed=7)
    images, labels = data.splits["train"]
    with torch.no_grad():
        x = start(images.float() / 255).numpy()
    y, right = labels.numpy(), []
    for train, test in RepeatedStratifiedKFold(n_splits=5, n_repeats=3, random_state=7).split(x, y):
        # Summed losses plus probe_l2 times the squares of two opposite rows, which is w^2 / 2 C of their difference w
        scaler = StandardScaler().fit(x[train])
        model = LogisticRegression(C=1 / module.hparams.probe_l2, tol=1e-8, max_iter=5000)
        model.fit(scaler.transform(x[train]), y[train])
        right.append(int((model.predict(scaler.transform(x[test])) == y[test]).sum()))
    expected = [sum(right[5 * repeat : 5 * repeat + 5]) / 20 for repeat in range(3)]
    assert callback.result.per_repeat == pytest.approx(expected)
    assert callback.result.score == pytest.approx(np.mean(expected))
    assert (callback.result.low, callback.result.high) == pytest.approx(wilson(16 * np.mean(expected), 16))


def test_held_out_labels_are_not_seen(tmp_path):
    """Labels by a coin: what has seen them is right on all, and what has not is right on half of them."""
    data = photographs(tmp_path)
    labels = torch.randint(2, (20,), generator=torch.Generator().manual_seed(3)).tolist()
    with (tmp_path / "labels.csv").open("w") as file:
        file.writelines(["file,label\n", *(f"{i:03d}.png,{'ab'[label]}\n" for i, label in enumerate(labels))])
    module = FinetuneModule(SHAPE, 2, mode="full", lr=1e-2, train_baseline=False)
    callback = CrossValidation(repeats=1)
    trainer = quiet_trainer(max_epochs=80, callbacks=[callback])
    trainer.fit(module, data)
    images, labels = data.splits["train"]
    assert (module.eval().classify(images.float() / 255).argmax(1) == labels).float().mean() > 0.9
    assert callback.result.score < 0.8


def test_the_training_is_as_without_it_and_the_result_is_logged(tmp_path):
    states = []
    data = photographs(tmp_path)
    for repeats in (0, 1):
        pl.seed_everything(1, verbose=False)
        module = FinetuneModule(SHAPE, 2)
        callback = CrossValidation(repeats=repeats)
        logger = CSVLogger(tmp_path, "log", str(repeats))
        trainer = quiet_trainer(tmp_path, max_epochs=3, callbacks=[callback], logger=logger)
        trainer.fit(module, data)
        states.append({**module.state_dict(), "rng": torch.get_rng_state()})
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    lines = (tmp_path / "log/1/metrics.csv").read_text().splitlines()
    (row,) = [row for row in csv.DictReader(lines) if row.get("test/cv_score")]
    assert {name: float(row[name]) for name in callback.results} == pytest.approx(callback.results)
    finding = callback.findings(trainer, module)[0]
    assert (finding.title, finding.samples, finding.references[0].value) == ("accuracy, cross-validated", 20, 0.5)


def test_the_baseline_learns_from_the_same_folds_and_the_run_is_answered(tmp_path):
    module, data = FinetuneModule(SHAPE, 2, pretraining="none"), photographs(tmp_path)
    module.baseline = lambda: copy.deepcopy(module)  # what is trained alike ends alike
    trainer, callback = fit(module, data, repeats=2)
    found = callback.result
    assert found.baseline == found.score and found.difference == pytest.approx(1 / 16)
    answer = collect(trainer, module, "images")
    assert answer.verdict.answer == NOT_SHOWN and "from scratch" in answer.verdict.reason
    module.baseline = lambda: FinetuneModule(SHAPE, 2, pretraining="none", lr=1e-30)  # learns nothing
    _, callback = fit(module, data, repeats=1)
    assert callback.results["test/cv_baseline"] != callback.results["test/cv_score"]
    module.hparams.train_baseline = False
    _, callback = fit(module, data, repeats=1)
    assert "test/cv_baseline" not in callback.results


def test_differences_of_accuracies_are_mcnemars_of_as_many_trials_as_a_module_learned_from():
    own = torch.tensor([[0, 0, 0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 0, 1, 1, 1, 1, 0]])
    other = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1, 0, 0], [0, 0, 0, 1, 1, 0, 1, 1, 0, 1]])
    labels = torch.tensor([0] * 5 + [1] * 5)
    found = _of_classes([torch.nn.functional.one_hot(rows).float() for rows in (own, other)], labels, 5)
    assert (found.score, found.baseline) == pytest.approx((0.9, 0.6)) and found.per_repeat == pytest.approx((0.9, 0.9))
    # Samples that one alone has right, in the mean of both divisions: 4 and 1; 8 of 10 labels trained each time.
    assert found.difference == pytest.approx(1.959964 * ((4 + 1) * 0.8) ** 0.5 / 8)


def test_a_checkpoint_keeps_the_result(tmp_path):
    _, callback = fit(FinetuneModule(SHAPE, 2), photographs(tmp_path), repeats=1)
    other = CrossValidation()
    other.load_state_dict(callback.state_dict())
    assert other.result == callback.result and CrossValidation().state_dict() == {}


def test_regression_has_an_interval(tmp_path):
    data = photographs(tmp_path, task="regression")
    module = FinetuneModule(SHAPE, 1, ["value"], task="regression")
    _, callback = fit(module, data, repeats=2)
    found = callback.result
    assert found.labels == 20 and found.low < found.score < found.high <= 1 and found.difference > 0
    assert callback.findings(None, module)[0].title == "score, cross-validated"


def test_a_test_part_stays(tmp_path):
    (tmp_path / "test").mkdir(), (tmp_path / "train").mkdir()
    photographs(tmp_path / "test", 30, 30, seed=1)
    data = photographs(tmp_path / "train")
    data = Folder(
        str(tmp_path / "train"), size=4, channels=1, labels=str(tmp_path / "train/labels.csv"),
        test_root=str(tmp_path / "test"), test_labels=str(tmp_path / "test/labels.csv"),
    )  # fmt: skip
    trainer, _ = fit(FinetuneModule(SHAPE, 2), data, repeats=1)
    assert {name: len(split.images) for name, split in data.splits.items()} == {"train": 20, "test": 30}
    assert "test/score" in trainer.test(trainer.lightning_module, data, verbose=False)[0]


def test_a_validation_part_becomes_the_test_and_chooses_nothing(tmp_path):
    rng = np.random.default_rng(0)
    for part, count in (("train", 8), ("val", 6)):
        for name in ("a", "b"):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 255, (4, 4), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / part / name / f"{i}.png")
    data = Folder(str(tmp_path), size=4, channels=1)
    _, callback = fit(FinetuneModule(SHAPE, 2), data, repeats=1)
    assert {name: len(split.images) for name, split in data.splits.items()} == {"train": 16, "test": 12}
    assert not data.test_is_validation and callback.result.labels == 16
    plain = Folder(str(tmp_path), size=4, channels=1, few_labels=0)
    quiet_trainer(max_epochs=1).fit(FinetuneModule(SHAPE, 2), plain)
    assert plain.test_is_validation and {*plain.splits} == {"train", "val", "test"}


def test_pretraining_divides_as_ever_and_the_same_data_then_give_all_labels(tmp_path):
    data = photographs(tmp_path)
    quiet_trainer(max_epochs=1).fit(AutoencoderModule(SHAPE), data)
    sizes = {name: len(split.images) for name, split in data.splits.items()}
    assert sizes == {"train": 48, "val": 6, "test": 6} and not data.all_labels_train
    fit(FinetuneModule(SHAPE, 2), data, repeats=0)
    assert {name: len(split.images) for name, split in data.splits.items()} == {"train": 20}
    quiet_trainer(max_epochs=1).fit(AutoencoderModule(SHAPE), data)
    assert {name: len(split.images) for name, split in data.splits.items()} == sizes


@pytest.mark.parametrize("labelled, few", [(50, True), (52, False)])
def test_fifty_labels_are_few(labelled, few, tmp_path):
    data = photographs(tmp_path, labelled=labelled)
    fit(FinetuneModule(SHAPE, 2), data, repeats=0)
    assert data.all_labels_train == few and ("val" in data.splits) != few


def test_a_resumed_training_is_not_cross_validated(tmp_path, caplog):
    data, module = photographs(tmp_path), FinetuneModule(SHAPE, 2)
    trainer, _ = fit(module, data, repeats=0)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    callback = CrossValidation(repeats=1)
    quiet_trainer(max_epochs=3, callbacks=[callback]).fit(module, data, ckpt_path=tmp_path / "a.ckpt")
    assert callback.result is None and "training was resumed" in caplog.text


def test_it_takes_no_longer_than_allowed(tmp_path, caplog):
    _, callback = fit(FinetuneModule(SHAPE, 2), photographs(tmp_path), max_minutes=1e-9)
    assert len(callback.result.per_repeat) == 1
    assert "1 x 5 folds (not 5: --cross_validation.max_minutes)" in caplog.text.replace("`cross", "--cross").replace(
        "`)", ")"
    )


def test_a_plan_that_takes_longer_ends_after_a_division(tmp_path, monkeypatch):
    monkeypatch.setattr(CrossValidation, "_affordable", lambda self, *_: self.repeats)
    _, callback = fit(FinetuneModule(SHAPE, 2), photographs(tmp_path), repeats=3, max_minutes=1e-9)
    assert len(callback.result.per_repeat) == 1 and callback.result.labels == 20
    assert 0 <= callback.result.baseline <= 1


def test_the_interval_holds_the_truth(monkeypatch):
    """Of a linear classifier on Gaussians, whose true accuracy is known: in at least nine of ten cases."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from cross_validation import coverage

    for distance in (0.7, 1.5, 3.0):
        found = coverage(20, distance, 20, trials=150)
        assert found["wilson"] > 0.9 and abs(found["estimate"] - found["truth"]) < 0.04


@pytest.mark.parametrize("options", [{"folds": 1}, {"repeats": -1}, {"max_minutes": 0}])
def test_wrong_options(options):
    with pytest.raises(ValueError, match=r"or more|more than"):
        CrossValidation(**options)
