"""One set of weights is a run's result: best and last checkpoint, table and exports agree, whatever callbacks do."""

import csv

import pytest
import torch
from safetensors.torch import load_file

CALLBACKS = """
import lightning.pytorch as pl
import torch
class Halve(pl.Callback):
    def on_train_end(self, trainer, pl_module):
        with torch.no_grad():
            for parameter in pl_module.parameters():
                parameter.mul_(0.5)
"""
DATA = (
    *("--module=autoencoder", "--module.network=mlp", "--data=vectors", "--data.source=iris"),
    *("--data.seed=1", "--data.batch_size=16"),
)
UNTESTED = ("--trainer.limit_test_batches=0",)
QUICK = ("--trainer.max_epochs=2", "--trainer.limit_train_batches=5")


def run_of(train, tmp_path, *options):
    """Best and last weights, the exported encoder, and the test's last row in metrics.csv of a run with options."""
    done = train(*DATA, *QUICK, *options)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs/autoencoder-vectors/1"
    best, last = (torch.load(folder / f"checkpoints/{name}.ckpt", weights_only=True) for name in ("best", "last"))
    rows = list(csv.DictReader((folder / "metrics.csv").open()))
    loss = next((float(row["test/loss"]) for row in rows[::-1] if row.get("test/loss")), None)
    return done, best["state_dict"], last["state_dict"], load_file(folder / "encoder/encoder.safetensors"), loss


def agree(state, encoder):
    return all(torch.equal(value, state[f"encoder.{name}"]) for name, value in encoder.items())


@pytest.mark.parametrize(
    "options, changed",
    [
        pytest.param(("--trainer.callbacks=EMAWeightAveraging", "--trainer.callbacks.decay=0.9"), False, id="EMA"),
        pytest.param(("--trainer.callbacks=StochasticWeightAveraging", "--trainer.callbacks.swa_lrs=0.01",
                      "--trainer.callbacks.swa_epoch_start=1"), True, id="SWA", marks=pytest.mark.long),
        pytest.param(("--trainer.callbacks=mine.Halve",), True, id="on_train_end"),
    ],
)  # fmt: skip
def test_all_parts_of_a_run_have_the_same_weights(train, tmp_path, options, changed):
    (tmp_path / "mine.py").write_text(CALLBACKS)
    done, best, last, encoder, loss = run_of(train, tmp_path, *options)
    assert agree(best, encoder)
    assert ("these are the result: val/loss" in done.stdout) == changed
    if changed:
        assert all(torch.equal(value, last[name]) for name, value in best.items())
    again = train("test", *DATA, "--ckpt_path", "runs/autoencoder-vectors/1/checkpoints/best.ckpt")
    assert again.returncode == 0, again.stderr
    rows = list(csv.DictReader((tmp_path / "runs/autoencoder-vectors/test/1/metrics.csv").open()))
    assert float(rows[-1]["test/loss"]) == pytest.approx(loss, rel=1e-6)


def test_what_the_end_of_training_did_is_the_result(train, tmp_path):
    (tmp_path / "mine.py").write_text(CALLBACKS)
    _, plain, _, _, _ = run_of(train, tmp_path, *UNTESTED)
    (tmp_path / "runs").rename(tmp_path / "plain")
    _, halved, _, encoder, _ = run_of(train, tmp_path, *UNTESTED, "--trainer.callbacks=mine.Halve")
    assert all(torch.equal(halved[f"encoder.{name}"], encoder[name]) for name in encoder)
    name = next(name for name in plain if name.endswith("weight"))
    assert torch.equal(halved[name], plain[name] * 0.5)  # both runs' best is their last epoch


def test_without_a_validation_the_best_is_the_last(train, tmp_path):
    done, best, last, encoder, _ = run_of(train, tmp_path, "--trainer.check_val_every_n_epoch=50", *UNTESTED)
    assert agree(best, encoder) and all(torch.equal(value, last[name]) for name, value in best.items())
    assert "nothing was validated (--trainer.check_val_every_n_epoch?): the best checkpoint is the last" in done.stderr


def test_a_try_writes_nothing(train, tmp_path):
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder/encoder.json").write_text("mine")
    done = train("--module", "distill", "--module.teacher_epochs=1", "--trainer.fast_dev_run=true")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["encoder"]
    assert [path.name for path in (tmp_path / "encoder").iterdir()] == ["encoder.json"]
    assert (tmp_path / "encoder/encoder.json").read_text() == "mine"
