import lightning.pytorch as pl
import pytest
import torch
from conftest import quiet_trainer
from torch.utils.data import DataLoader

from callbacks.run.length import TrainingLength, epochs_for
from callbacks.run.time_left import TimeLeft
from datamodules.images import Digits
from datamodules.tabular import Vectors
from zoo import AutoencoderModule, FinetuneModule, GANModule, PCAModule, SOMModule


@pytest.mark.parametrize(
    "count, epochs",
    [(20, 100), (244, 100), (2560, 100), (5120, 50), (25_600, 10), (1_000_000, 10), (None, 20), (0, 20)],
)
def test_epochs_follow_the_datas_size(count, epochs):
    assert epochs_for(count, 256_000) == epochs


def fit(module, data, stop_at=None, **options):
    """A training that is stopped from outside; the callback."""

    class Stop(pl.Callback):
        def on_train_epoch_end(self, trainer, module):
            trainer.should_stop = trainer.should_stop or trainer.current_epoch + 1 == stop_at

    length = TrainingLength(**options)
    trainer = quiet_trainer(max_epochs=1, callbacks=[length, Stop()])
    trainer.fit(module, data)
    return trainer, length


def test_it_is_set_before_the_training_begins_and_schedules_know():
    class Watch(AutoencoderModule):
        def on_train_start(self):
            told.append((self.trainer.max_epochs, self.trainer.estimated_stepping_batches))

    told = []
    trainer, _ = fit(Watch((1, 8, 8)), Digits(), stop_at=1, samples=1295 * 12)
    assert trainer.max_epochs == 12 and told == [(12, 12 * 11)]


def test_loaders_without_a_datamodule_and_with_no_length():
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter([(torch.rand(1, 8, 8), 0)] * 4)

    class Own(pl.LightningDataModule):
        def train_dataloader(self):
            return DataLoader(Stream(), batch_size=2)

    trainer, length = fit(AutoencoderModule((1, 8, 8)), Own(), stop_at=1)
    assert trainer.max_epochs == 20 and not length.active


def test_what_was_given_stays():
    length = TrainingLength()
    length.given = True
    trainer = quiet_trainer(max_epochs=2, callbacks=[length])
    trainer.fit(AutoencoderModule((1, 8, 8)), Digits())
    assert trainer.max_epochs == 2 and not length.active and length.chosen_options == {}


class Plateau(AutoencoderModule):
    """Its validation loss is best in the first epoch."""

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", float(self.current_epoch))


def test_training_stops_a_fifth_of_the_epochs_after_its_best(capsys):
    trainer, length = fit(Plateau((1, 8, 8)), Digits(), samples=1295 * 40)
    assert trainer.max_epochs == 40 and trainer.current_epoch == 9  # the best is epoch 1, and 8 were no better
    line = "stopped early after epoch 9 of 40: val/loss was best 8 validations ago, 0 "
    assert line in capsys.readouterr().out
    assert length.chosen_options == {"trainer.max_epochs": 40, "length.early_stopping": True}


def test_it_can_be_switched_off():
    trainer, length = fit(Plateau((1, 8, 8)), Digits(), samples=1295 * 10, early_stopping=False)
    assert trainer.current_epoch == 10 and not length.active


@pytest.mark.parametrize(
    "module, data, active",
    [
        (lambda: AutoencoderModule((1, 8, 8)), Digits, True),
        (lambda: GANModule((1, 8, 8)), Digits, False),
        (lambda: PCAModule((1, 8, 8)), Digits, False),
        (lambda: SOMModule((1, 8, 8)), Digits, False),
        (lambda: FinetuneModule((1, 8, 8), 10), Digits, True),  # 143 labels
        (lambda: FinetuneModule((13,), 3, backbone="mlp"), lambda: Vectors("wine"), False),  # 15 labels
    ],
)
def test_only_where_validation_says_when(module, data, active):
    assert fit(module(), data(), stop_at=1)[1].active == active


def test_the_best_checkpoints_metric_is_watched(tmp_path):
    length = TrainingLength()
    best = pl.callbacks.ModelCheckpoint(tmp_path, monitor="val/score", mode="max")
    trainer = quiet_trainer(max_epochs=1, callbacks=[length, best], enable_checkpointing=True)
    trainer.fit(FinetuneModule((1, 8, 8), 10, mode="probe", backbone="mlp"), Digits())
    assert (length.monitor, length.mode) == ("val/score", "max") and 0 < float(length.best_score) <= 1


def test_the_time_left_is_at_most_so_long_only_if_it_may_stop():
    class Now:
        max_epochs, max_steps, current_epoch, global_step, num_training_batches = 3, -1, 0, 2, 10

    left, length = TimeLeft(), TrainingLength()
    trainer = Now()
    trainer.callbacks = [length]
    loop = type("Loop", (), {"current": type("Count", (), {"processed": 2})})
    trainer.fit_loop = type("Fit", (), {"epoch_loop": type("Epoch", (), {"batch_progress": loop})})
    left.start(trainer)
    left.count_batch(), left.count_batch()
    assert not left.text(trainer).startswith("at most")
    length.active = True
    assert left.text(trainer).startswith("at most")


@pytest.mark.long
def test_the_commands_configuration_has_what_was_chosen_and_repeats_it(train, tmp_path):
    options = ("--data=vectors", "--data.source=wine", "--module.network=mlp", "--length.samples=1290")
    options += ("--representation.every_n_epochs=0", "--trainer.limit_test_batches=0")  # these take longest
    first = train("--module=autoencoder", *options)
    assert first.returncode == 0, first.stderr
    config = (tmp_path / "runs/autoencoder-vectors/1/config.yaml").read_text()
    assert "max_epochs: 10\n" in config and "early_stopping: false" in config
    again = train("fit", "--config", "runs/autoencoder-vectors/1/config.yaml")
    assert again.returncode == 0, again.stderr
    told = train("--module=autoencoder", *options, "--trainer.max_steps=3")
    assert told.returncode == 0, told.stderr
    runs = [(tmp_path / f"runs/autoencoder-vectors/{n}/run.json").read_text() for n in (1, 2, 3)]
    assert '"epochs": 10' in runs[0] and '"epochs": 10' in runs[1] and '"steps": 3' in runs[2]
