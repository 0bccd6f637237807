import errno
import pickle
from pathlib import Path

import pytest
import torch
from conftest import quiet_trainer

from datamodules.images import Digits
from zoo import AutoencoderModule
from zoo.core.checkpoint import AtomicCheckpointIO, read_checkpoint


class Trap:
    """Unpickles to a call that leaves a file behind."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return open, (self.marker, "w")


def test_a_trap_is_refused_and_not_sprung(tmp_path):
    trap = {"state_dict": {}, "x": Trap(tmp_path / "sprung")}
    torch.save(trap, tmp_path / "a.ckpt")
    (tmp_path / "b.ckpt").write_bytes(pickle.dumps(trap))
    for name in ("a.ckpt", "b.ckpt"):
        with pytest.raises(ValueError, match=name):
            read_checkpoint(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


def test_missing_truncated_empty_and_foreign_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="none"):
        read_checkpoint(tmp_path / "none.ckpt")
    torch.save({"state_dict": {"w": torch.zeros(1000)}}, tmp_path / "a.ckpt")
    whole = (tmp_path / "a.ckpt").read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"hello"):
        (tmp_path / "bad.ckpt").write_bytes(content)
        with pytest.raises(ValueError, match="bad"):
            read_checkpoint(tmp_path / "bad.ckpt")
    torch.save({"weights": 3}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="state_dict"):
        read_checkpoint(tmp_path / "other.ckpt")


@pytest.mark.parametrize(
    "failure",
    [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("PytorchStreamWriter failed writing file")],
)
def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path, monkeypatch, failure):
    path, io = tmp_path / "last.ckpt", AtomicCheckpointIO()
    io.save_checkpoint({"state_dict": {"w": torch.ones(3)}}, path)

    def full(checkpoint, beside):
        Path(beside).write_bytes(b"half of")
        raise failure

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match=r"last\.ckpt.*untouched"):
        io.save_checkpoint({"state_dict": {"w": torch.zeros(3)}}, path)
    assert io.load_checkpoint(path)["state_dict"]["w"].tolist() == [1, 1, 1]
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


class Fixed(AutoencoderModule):
    """A user's, who decides one option and passes the others on."""

    def __init__(self, weight: float = 0.5, **options):
        super().__init__(variant="denoising", **options)
        self.save_hyperparameters({"weight": weight})


class Closed(AutoencoderModule):
    """One with no option but its own."""

    def __init__(self, weight: float = 0.5):
        super().__init__(input_shape=(1, 8, 8), latent_dim=3)
        self.save_hyperparameters({"weight": weight})


@pytest.mark.parametrize("made", [
    lambda: Fixed(weight=0.1, input_shape=(1, 8, 8), latent_dim=3), lambda: Closed(0.1),
    lambda: Fixed(0.1, input_shape=(1, 8, 8), corruption="gaussian"),
])  # fmt: skip
def test_options_that_a_subclass_fixes_are_not_given_to_it_when_it_is_loaded(made, tmp_path):
    trainer = quiet_trainer(tmp_path, limit_train_batches=1)
    trainer.fit(module := made(), Digits())
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    saved = read_checkpoint(tmp_path / "x.ckpt")["hyper_parameters"]
    assert saved["weight"] == 0.1 and ("variant" not in saved or "input_shape" not in saved)
    loaded = type(module).load_from_checkpoint(tmp_path / "x.ckpt")
    assert dict(loaded.hparams) == dict(module.hparams)
    assert loaded.hparams.variant == module.hparams.variant


def test_options_that_were_given_are_kept_though_they_are_the_parents(tmp_path):
    module = Fixed(input_shape=(1, 8, 8), latent_dim=3, corruption_level=0.3)
    trainer = quiet_trainer(tmp_path, limit_train_batches=1)
    trainer.fit(module, Digits())
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    saved = read_checkpoint(tmp_path / "x.ckpt")["hyper_parameters"]
    assert saved["latent_dim"] == 3 and saved["corruption_level"] == 0.3 and saved["lr"] == module.hparams.lr
