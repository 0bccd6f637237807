import json
from pathlib import Path

import pytest
import torch
from conftest import quiet_trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from callbacks.run.report import RunReport
from callbacks.samples.draw import draw_samples, samples_images
from callbacks.samples.evaluation import Generation
from callbacks.samples.feature_extractor_store import load_extractor
from datamodules.images import Digits
from zoo import AutoencoderModule, VQVAEModule

SHAPE = (1, 8, 8)
METRICS = {"fid", "kid", "precision", "recall", "diversity", "modes", "class_kl", "memorised"}
FLOORS = {"fid_real", "kid_real", "precision_real", "recall_real", "class_kl_real"}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """So that one extractor serves all tests."""
    return str(tmp_path_factory.mktemp("extractors"))


@pytest.fixture
def few_steps(monkeypatch):
    """For tests that train an extractor of their own, good enough to judge digits."""
    monkeypatch.setattr("callbacks.samples.feature_extractor._STEPS", 60)


class Gives(AutoencoderModule):
    """Samples are given images (N, C, H, W), from the first on."""

    def __init__(self, images, **options):
        super().__init__(SHAPE, **options)
        self.images = images

    def sample(self, n):
        return self.images[torch.randint(len(self.images), (n,))] if n > 2 else self.images[:n]


def digits(part):
    data = Digits()
    data.setup()
    return data.splits[part].images.float() / 255


def judge(folder, module, cache, data=None, callback=None):
    """Scores of one test, without training."""
    callback = callback or Generation(cache=cache)
    trainer = quiet_trainer(folder, callbacks=[callback])
    return trainer.test(module, data or Digits(), verbose=False)[0]


def test_measured_while_training_and_testing(tmp_path, cache):
    callback = Generation(every_n_epochs=2, cache=cache)
    trainer = quiet_trainer(tmp_path, max_epochs=5, limit_train_batches=1, callbacks=[callback])
    trainer.fit(AutoencoderModule(SHAPE), data := Digits())
    assert {f"val/{name}" for name in METRICS | FLOORS} <= set(trainer.callback_metrics)
    trainer.test(trainer.lightning_module, data, verbose=False)
    found = trainer.callback_metrics
    assert {f"test/{name}" for name in METRICS | FLOORS} <= set(found)
    assert found["test/fid"] > 10 * found["test/fid_real"] and found["test/class_kl_real"] < 0.05
    for name in ("real_and_fake", "nearest_training"):
        assert (tmp_path / f"{name}.png").stat().st_size > 5000
    assert "and 359 held-out images, against 1,295 training images" in callback.facts["scored"]
    (file,) = Path(cache).iterdir()
    assert load_extractor(file).checksum() in callback.facts["feature_extractor"]


def test_copies_of_training_images_are_found(tmp_path, cache):
    found = judge(tmp_path, Gives(digits("train")), cache)
    assert found["test/memorised"] == 1 and found["test/modes"] == 10 and found["test/precision"] > 0.8


def test_held_out_images_as_samples_reach_what_they_reach(tmp_path, cache):
    class All(Gives):
        start = 0

        def sample(self, n):
            self.start += n * (n > 2)
            return self.images[self.start - n : self.start] if n > 2 else self.images[:n]

    found = judge(tmp_path, All(digits("test")), cache)
    for name in ("fid", "kid", "precision", "recall", "class_kl"):
        assert found[f"test/{name}"] == pytest.approx(found[f"test/{name}_real"], abs=1e-4), name
    assert found["test/memorised"] == pytest.approx(0.05, abs=0.005)


def test_one_image_only_is_a_collapse_and_is_said_once(tmp_path, cache, caplog):
    trainer = quiet_trainer(
        tmp_path,
        max_epochs=4,
        limit_train_batches=1,
        callbacks=[Generation(every_n_epochs=1, cache=cache, collapse_after=0)],
    )
    trainer.fit(Gives(digits("train")[:1]), Digits())
    found = trainer.callback_metrics
    assert found["val/modes"] == 1 and found["val/diversity"] == 0 and found["val/recall"] < 0.02
    assert [r.message for r in caplog.records if "mode collapse" in r.message] == [
        "mode collapse: few classes (10% of the data's, by effective number); "
        f"hardly any variety (0.0% of the data's variance); {found['val/recall']:.1%} of the data is covered (recall)"
    ]


@pytest.mark.parametrize("length, told_after", [({"max_epochs": 6}, 3), ({"max_epochs": -1, "max_steps": 4}, 2)])
def test_a_collapse_from_the_beginning_is_told_at_half_time(length, told_after, tmp_path, cache, caplog):
    class Watch(Gives):
        def on_train_epoch_end(self):
            told.append("mode collapse" in caplog.text)

    told = []
    callbacks = [Generation(every_n_epochs=1, cache=cache, collapse_after=0)]
    trainer = quiet_trainer(tmp_path, limit_train_batches=1, callbacks=callbacks, **length)
    trainer.fit(Watch(digits("train")[:1]), Digits())
    assert told.index(True) == told_after - 1 and len(told) > told_after


@pytest.mark.parametrize("collapse_after, told_after", [(5, 5), (500, None)])
def test_no_collapse_is_reported_before_there_were_steps_enough(collapse_after, told_after, tmp_path, cache, caplog):
    class Watch(Gives):
        def on_train_epoch_end(self):
            told.append("mode collapse" in caplog.text)

    told = []
    callbacks = [Generation(every_n_epochs=1, cache=cache, collapse_after=collapse_after)]
    trainer = quiet_trainer(tmp_path, limit_train_batches=1, callbacks=callbacks, max_epochs=7)
    trainer.fit(module := Watch(digits("train")[:1]), Digits())
    trainer.test(module, Digits(), verbose=False)
    assert told == [told_after is not None and step >= told_after for step in range(1, 8)]
    assert ("mode collapse" in caplog.text) == (told_after is not None)


def test_a_collapse_that_is_over_is_withdrawn(tmp_path, cache, caplog):
    class Recovers(Gives):
        def on_train_epoch_start(self):
            self.images = digits("train")[:1] if self.current_epoch in (1, 2) else digits("train")

    callbacks = [Generation(every_n_epochs=1, cache=cache, collapse_after=0)]
    trainer = quiet_trainer(tmp_path, limit_train_batches=1, callbacks=callbacks, max_epochs=5)
    trainer.fit(Recovers(digits("train")), Digits())
    first, second = (r.message for r in caplog.records if "collapse" in r.message)
    assert first.startswith("mode collapse: few classes") and second.startswith("the mode collapse is over")


class RandomLabels(Digits):
    """Labels that are not in the images, so that no network can see them."""

    def read(self):
        generator = torch.Generator().manual_seed(0)
        splits = super().read()
        return {
            name: split._replace(labels=torch.randint(2, split.labels.shape, generator=generator))
            for name, split in splits.items()
        }


def test_a_blind_extractor_judges_nothing_and_it_is_said_once(few_steps, tmp_path, caplog):
    callback = Generation(every_n_epochs=1, cache=str(tmp_path / "cache"))
    trainer = quiet_trainer(tmp_path, limit_train_batches=1, callbacks=[callback])
    data = RandomLabels()
    trainer.fit(AutoencoderModule(SHAPE), data)
    trainer.test(trainer.lightning_module, data, verbose=False)
    found = {name for name in trainer.callback_metrics if name.startswith("test/")}
    assert {"test/diversity", "test/memorised"} <= found
    names = (METRICS | FLOORS) - {"diversity", "memorised"}
    assert not {f"{stage}/{name}" for name in names for stage in ("val", "test")} & set(trainer.callback_metrics)
    assert caplog.text.count("not clearly better than chance") == 1
    assert "accuracy" in callback.facts["feature_extractor"]


def test_samples_that_are_no_numbers_are_said_and_not_measured(tmp_path, cache, caplog):
    found = judge(tmp_path, Gives(torch.full((2, *SHAPE), torch.nan)), cache)
    assert "samples: 2 of 2 are NaN or infinite" in caplog.text
    assert not any(name in found for name in ("test/diversity", "test/fid", "test/memorised"))


def test_scores_do_not_depend_on_the_datas_normalisation(tmp_path, cache):
    data = Digits(normalise="standard")
    mean, std = data.mean[0], data.std[0]
    plain = judge(tmp_path, Gives(digits("train")[:200]), cache)
    scaled = judge(tmp_path, Gives((digits("train")[:200] - mean) / std), cache, data)
    for name in METRICS:
        assert scaled[f"test/{name}"] == pytest.approx(plain[f"test/{name}"], abs=1e-6)


def test_measuring_does_not_change_the_training(tmp_path, cache):
    states = []
    for callbacks in ([], [Generation(every_n_epochs=1, cache=cache)]):
        torch.manual_seed(0)
        module = AutoencoderModule(SHAPE)
        quiet_trainer(tmp_path, max_epochs=2, callbacks=callbacks).fit(module, Digits())
        states.append((module.state_dict(), torch.get_rng_state()))
    assert all(torch.equal(value, states[1][0][name]) for name, value in states[0][0].items())
    assert torch.equal(states[0][1], states[1][1])


def test_a_loader_that_shuffles_by_torchs_generator_is_not_disturbed(few_steps, tmp_path, cache):
    data = Digits()
    data.setup()
    loaders = [
        DataLoader(TensorDataset(x.float() / 255, y), batch_size=100, shuffle=shuffle)
        for (x, y), shuffle in ((data.splits["train"], True), (data.splits["val"], False))
    ]
    states = []
    for callbacks in ([], [Generation(every_n_epochs=1, cache=cache)]):
        torch.manual_seed(0)
        module = AutoencoderModule(SHAPE)
        trainer = quiet_trainer(tmp_path, max_epochs=2, callbacks=callbacks)
        trainer.fit(module, *loaders)
        states.append(module.state_dict())
    assert "val/fid" in trainer.callback_metrics
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_images_without_labels_are_scored_by_an_untrained_network_which_is_said(tmp_path, caplog):
    loader = DataLoader(TensorDataset(torch.rand(100, *SHAPE)), batch_size=50)
    callback = Generation()
    trainer = quiet_trainer(tmp_path, callbacks=[callback])
    trainer.fit(AutoencoderModule(SHAPE), loader, loader)
    found = {name.partition("/")[2] for name in trainer.callback_metrics}
    assert {"fid", "kid", "precision", "recall", "memorised", "fid_real"} <= found and not {"modes", "class_kl"} & found
    assert "samples are scored by a small untrained network" in caplog.text
    assert "untrained" in callback.facts["feature_extractor"]


def test_a_damaged_extractor_is_trained_anew(few_steps, tmp_path, caplog):
    cache = tmp_path / "cache"
    judge(tmp_path, AutoencoderModule(SHAPE), str(cache))
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    content = bytearray(whole)
    content[-1] ^= 1
    file.write_bytes(content)
    module = AutoencoderModule(SHAPE)
    trainer = quiet_trainer(tmp_path, callbacks=[Generation(cache=str(cache))])
    trainer.fit(module, Digits())
    assert "do not match their checksum: it is trained anew" in caplog.text
    load_extractor(file)


@pytest.mark.parametrize("sample", ["none", "refused", "vectors"])
def test_modules_without_samples_of_images_are_left_alone(sample, tmp_path, caplog):
    class Other(AutoencoderModule):
        def sample(self, n):
            return torch.rand(n, 7)

    plain = AutoencoderModule(SHAPE, variant="plain")
    module = {"none": VQVAEModule(SHAPE), "refused": plain, "vectors": Other(SHAPE)}[sample]
    assert hasattr(module, "sample") == (sample != "none")
    trainer = quiet_trainer(tmp_path, callbacks=[Generation(cache=str(tmp_path / "cache"))])
    trainer.fit(module, Digits())
    assert not {name for name in trainer.callback_metrics if "fid" in name} and not list(tmp_path.glob("*.png"))
    assert not (tmp_path / "cache").exists() and "scored" not in caplog.text


def test_too_few_held_out_images_are_said(tmp_path, cache, caplog):
    trainer = quiet_trainer(tmp_path, limit_val_batches=1, callbacks=[Generation(cache=cache)])
    trainer.fit(AutoencoderModule(SHAPE), Digits(batch_size=10))
    assert "val/fid" not in trainer.callback_metrics
    assert "samples are not scored: there are 10 held-out images, 16 are needed" in caplog.text


def test_checkpoints_by_fid(tmp_path, cache):
    best = ModelCheckpoint(tmp_path, monitor="val/fid", mode="min")
    callbacks = [Generation(every_n_epochs=1, cache=cache), best]
    trainer = quiet_trainer(tmp_path, max_epochs=3, callbacks=callbacks, enable_checkpointing=True)
    trainer.fit(AutoencoderModule(SHAPE), Digits())
    assert best.best_model_score > 0 and best.best_model_path


def test_the_report_names_the_extractor(tmp_path, cache):
    callbacks = [Generation(cache=cache), RunReport(interval=0)]
    trainer = quiet_trainer(tmp_path, limit_train_batches=1, callbacks=callbacks, logger=CSVLogger(tmp_path, "a", "1"))
    trainer.fit(AutoencoderModule(SHAPE), Digits())
    facts = json.loads((tmp_path / "a/1/run.json").read_text())
    text = (tmp_path / "a/1/report.html").read_text()
    assert "sha256" in facts["feature_extractor"] and facts["feature_extractor"] in text and facts["scored"] in text


class Conditional(nn.Module):
    """Its images are the class that was asked for, as a grey."""

    conditional, device = True, torch.device("cpu")

    def sample(self, n, labels=None):
        self.asked = labels
        return (labels.float() / 10).view(-1, 1, 1, 1).expand(n, 1, 4, 4)


def test_conditional_modules_are_asked_for_the_datas_classes():
    module, trainer = Conditional(), quiet_trainer()
    labels = torch.tensor([2] * 30 + [7] * 10 + [-1] * 50)
    drawn = draw_samples(trainer, module, 1000, labels)
    greys, counts = drawn[:, 0, 0, 0].unique(return_counts=True)
    assert greys.tolist() == [51, 178] and counts[0].item() == pytest.approx(750, abs=50)
    assert torch.equal(drawn, draw_samples(trainer, module, 1000, labels))


def test_samples_are_the_same_every_time_and_for_any_number_of_processes():
    class Rank:
        def __init__(self, rank, size):
            self.global_rank, self.world_size = rank, size

    module = AutoencoderModule(SHAPE).eval()
    whole = draw_samples(Rank(0, 1), module, 1100)
    assert len(whole) == 1100 and torch.equal(whole, draw_samples(Rank(0, 1), module, 1100))
    parts = [draw_samples(Rank(rank, 3), module, 1100) for rank in range(3)]
    assert sorted(map(bytes, whole.flatten(1).numpy())) == sorted(map(bytes, torch.cat(parts).flatten(1).numpy()))
    assert len(draw_samples(Rank(2, 3), module, 300)) == 0
    assert samples_images(module) and not samples_images(AutoencoderModule(SHAPE, variant="plain"))


DDP_SCRIPT = """
from conftest import quiet_trainer
from callbacks.samples.evaluation import Generation
from datamodules.images import Digits
from zoo import AutoencoderModule
torch.manual_seed(0)
module = AutoencoderModule((1, 8, 8))
trainer = quiet_trainer({folder!r}, devices=2, strategy="ddp", callbacks=[Generation(cache={cache!r})])
found = trainer.test(module, Digits(), verbose=False)[0]
if trainer.is_global_zero:
    torch.save(found, {folder!r} + "/two.pt")
"""


@pytest.mark.long
def test_two_processes_score_as_one_does(two_processes, tmp_path, cache):
    two_processes(DDP_SCRIPT, cache=cache)
    two = torch.load(tmp_path / "two.pt", weights_only=True)
    torch.manual_seed(0)
    module = AutoencoderModule(SHAPE)
    one = quiet_trainer(tmp_path, callbacks=[Generation(cache=cache)]).test(module, Digits(), verbose=False)[0]
    for name in ("fid", "diversity", "modes", "class_kl", "memorised"):
        assert two[f"test/{name}"] == pytest.approx(one[f"test/{name}"], rel=0.05, abs=0.01), name


@pytest.mark.parametrize("options", [{"samples": 15}, {"train_samples": 1}, {"every_n_epochs": -1}])
def test_wrong_options(options):
    with pytest.raises(ValueError, match="or more; got"):
        Generation(**options)
