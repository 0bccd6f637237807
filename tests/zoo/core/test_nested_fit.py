import copy

import lightning.pytorch as pl
import pytest
import torch
from conftest import quiet_trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from datamodules.domains import Domains
from datamodules.images import Digits
from zoo import FinetuneModule
from zoo.core.nested_fit import fit_nested


def made(seed):
    pl.seed_everything(seed, verbose=False)
    return FinetuneModule((1, 8, 8), 10, mode="full", backbone={"name": "conv", "width": 16})


def digits():
    return Digits(labels_per_class=20, labelled_only=True, batch_size=50)


class Aside(pl.Callback):
    """Trains another module before the first step."""

    def __init__(self, other, **options):
        self.other, self.options = other, options

    def on_train_start(self, trainer, module):
        before = torch.random.get_rng_state()
        fit_nested(trainer, self.other, 2, **self.options)
        assert torch.equal(torch.random.get_rng_state(), before)


def same(first, second):
    return all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())


def test_it_is_a_training_like_any_other_and_the_one_around_it_notices_nothing(tmp_path):
    plain, alone = made(1), made(2)
    quiet_trainer(tmp_path, max_epochs=3).fit(plain, digits())
    quiet_trainer(tmp_path, max_epochs=2, limit_val_batches=0).fit(alone, digits())
    other, around = made(2), made(1)
    keep = tmp_path / "other.ckpt"
    quiet_trainer(tmp_path, max_epochs=3, callbacks=[Aside(other, save_to=keep)]).fit(around, digits())
    assert same(around, plain) and same(other, alone) and not other.training
    assert same(FinetuneModule.load_from_checkpoint(keep), alone)
    assert not torch.load(keep, weights_only=True).get("optimizer_states")


def test_steps_end_it_too(tmp_path):
    other, around = made(2), made(1)
    quiet_trainer(tmp_path, max_epochs=1, callbacks=[Aside(other, steps=3)]).fit(around, digits())
    alone = made(2)
    quiet_trainer(tmp_path, max_epochs=2, max_steps=3, limit_val_batches=0).fit(alone, digits())
    assert same(other, alone)


def test_any_loader_does(tmp_path):
    data = digits()
    data.setup()
    images, labels = data.splits["train"]
    pairs = torch.utils.data.TensorDataset(images / 255, labels)
    other, around = made(2), made(1)
    before = [p.clone() for p in other.parameters()]
    loader = torch.utils.data.DataLoader(pairs, batch_size=50)
    quiet_trainer(tmp_path, max_epochs=1, callbacks=[Aside(other)]).fit(around, loader)
    assert not any(torch.equal(p, q) for p, q in zip(other.parameters(), before, strict=True))


def test_where_the_run_around_it_keeps_its_best_weights_it_does_too(tmp_path):
    def best_of(folder):
        return ModelCheckpoint(folder, monitor="val/score", mode="max", save_weights_only=True)

    alone, best = made(2), best_of(tmp_path / "alone")
    quiet_trainer(tmp_path, max_epochs=12, enable_checkpointing=True, callbacks=[best]).fit(alone, digits())
    other = made(2)
    aside, own = AtTheEnd(other), best_of(tmp_path / "own")
    quiet_trainer(tmp_path, max_epochs=1, enable_checkpointing=True, callbacks=[own, aside]).fit(made(1), digits())
    kept = FinetuneModule.load_from_checkpoint(best.best_model_path)
    assert same(other, kept) and not same(other, alone), "the last epoch was the best: nothing was chosen"


class AtTheEnd(pl.Callback):
    """Trains another module, at a high rate, when the training is over."""

    def __init__(self, other):
        self.other = other

    def on_train_end(self, trainer, module):
        fit_nested(trainer, self.other, 12)


PREPARES = """
from conftest import quiet_trainer
from datamodules.images import Digits
from zoo.core.nested_fit import fit_nested, predict_nested
from test_nested_fit import Aside, digits, made


class Prepares(Digits):
    def prepare_data(self):
        pass


class AsideAndPredict(Aside):
    def on_train_start(self, trainer, module):
        super().on_train_start(trainer, module)
        if trainer.is_global_zero:
            assert predict_nested(trainer, self.other, trainer.datamodule).shape == (359, 10)


if __name__ == "__main__":
    options = dict(devices=2, strategy="ddp", max_epochs=1, callbacks=[AsideAndPredict(made(2))])
    data = Prepares(labels_per_class=20, labelled_only=True, batch_size=50)
    quiet_trainer({folder!r}, **options).fit(made(1), data)
"""


def test_data_are_prepared_once_and_a_copy_knows_its_own_trainer():
    """A datamodule's own ``prepare_data``, for which Lightning lets all processes wait, is not called again."""

    class Prepares(Digits):
        calls = 0

        def prepare_data(self):
            type(self).calls += 1

    trainer = quiet_trainer(max_epochs=1, callbacks=[Aside(made(2))])
    trainer.fit(made(1), data := Prepares(labels_per_class=20, labelled_only=True, batch_size=50))
    assert Prepares.calls == 1 and data.trainer is trainer
    domains = Domains()
    other = copy.copy(domains)
    assert type(other) is Domains and other.source is not domains.source and other.target is not domains.target


@pytest.mark.long
def test_two_processes_of_which_one_trains_aside_do_not_wait_for_each_other(two_processes):
    two_processes(PREPARES)
