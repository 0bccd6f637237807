import math
from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
import torch
from conftest import quiet_trainer
from scipy import stats

from callbacks.figures import denormalised
from datamodules.noise import Noise
from zoo.functional.priors import PRIORS, moments
from zoo.modules.autoencoder import AutoencoderModule

SMALL = {"shape": (3, 6, 5), "samples": 50, "batch_size": 16}


def epoch(data, part="train", number=0):
    """All images of an epoch, in the order of the loader."""
    loader = getattr(data, f"{part}_dataloader")()
    loader.sampler.set_epoch(number)
    return torch.cat([data.on_after_batch_transfer(batch, 0)["input"] for batch in loader])


def as_set(images):
    return {tuple(image.flatten().tolist()) for image in images}


def test_default_images():
    data = Noise()
    batch = data.on_after_batch_transfer(next(iter(data.val_dataloader())), 0)
    assert list(batch) == ["input", "index"] and batch["input"].dtype == torch.float32
    assert batch["input"].shape == (128, 3, 100, 100) and data.input_shape == (3, 100, 100)
    assert data.num_classes is None and data.normalisation is None
    assert stats.kstest(batch["input"].flatten()[:100_000], "uniform").pvalue > 1e-3
    assert [len(getattr(data, f"{p}_dataloader")().sampler) for p in ("train", "val", "test")] == [5000, 500, 500]


@pytest.mark.parametrize("kind", PRIORS)
def test_every_kind_has_its_moments_unclipped(kind):
    data = Noise(kind, shape=(4, 16, 16), samples=100)
    x = epoch(data)
    (low, high), mean, variance = moments(kind, **({"classes": 4} if kind == "one_hot" else {}))
    assert x.shape == (100, 4, 16, 16) and x.min() >= low and x.max() <= high
    assert abs(x.mean() - mean) < 5 * math.sqrt(variance / x.numel())
    assert abs(x.var() / variance - 1) < (0.3 if kind == "log_normal" else 0.03)  # whose fourth moment is huge


def test_options_reach_the_kind():
    x = epoch(Noise("normal", {"mean": 7, "std": 0.1}, (1, 20, 20), samples=50))
    assert stats.kstest(x.flatten(), stats.norm(7, 0.1).cdf).pvalue > 1e-3


def test_an_image_depends_on_seed_part_and_number_alone():
    """Not on the batch size, the order, the epoch, the other processes or how many images there are."""
    reference = as_set(epoch(Noise(**SMALL)))
    assert len(reference) == 50
    assert as_set(epoch(Noise(**{**SMALL, "batch_size": 7}))) == reference
    assert as_set(epoch(Noise(**SMALL), number=1)) == reference
    assert as_set(epoch(Noise(**{**SMALL, "samples": 70}))) > reference
    assert torch.equal(epoch(Noise(**SMALL), "val"), epoch(Noise(**{**SMALL, "samples": 100}), "val")[:5])
    assert not as_set(epoch(Noise(**SMALL, seed=1))) & reference


def test_ranks_part_the_images():
    shares = []
    for rank in (0, 1):
        data = Noise(**SMALL)
        data.trainer = SimpleNamespace(global_rank=rank, world_size=2)
        shares.append(as_set(epoch(data)))
    assert not shares[0] & shares[1] and shares[0] | shares[1] == as_set(epoch(Noise(**SMALL)))


def test_images_of_parts_seeds_and_neighbours_are_unrelated():
    first = Noise("normal", samples=100, shape=(3, 30, 30))
    x = epoch(first, "val").flatten()
    others = (
        epoch(first, "test"),
        epoch(first)[:10],
        epoch(Noise("normal", samples=100, shape=(3, 30, 30), seed=1), "val"),
    )
    for other in (*(images.flatten() for images in others), x.roll(1), x.roll(900), x.roll(2700)):
        assert abs(torch.corrcoef(torch.stack([x, other]))[0, 1]) < 5 / len(x) ** 0.5


def test_training_images_come_in_another_order_every_epoch():
    data = Noise(**SMALL)
    assert torch.equal(epoch(data), epoch(data)) and not torch.equal(epoch(data), epoch(data, number=1))
    assert torch.equal(epoch(data, "val"), epoch(data, "val", 1))


@pytest.mark.parametrize("kind", PRIORS)
def test_normalisation_shows_bounded_noise_whole(kind):
    data = Noise(kind, shape=(3, 20, 20), samples=100)
    x, norm = epoch(data), data.normalisation
    trainer = SimpleNamespace(datamodule=data)
    if norm is None:
        assert torch.equal(denormalised(x, trainer), x)
        return
    mean, std = (torch.tensor(norm[key]).view(-1, 1, 1) for key in ("mean", "std"))
    assert len(norm["mean"]) == 3
    shown = denormalised(x, trainer)
    clipped = ((shown - mean) / std - x).abs() > 1e-4 * x.abs().clamp_min(1)
    assert clipped.float().mean() < (0.02 if kind == "log_normal" else 1e-3 if kind == "normal" else 1e-9)
    assert shown.min() < 0.2 and shown.max() > 0.8


def test_fingerprint_is_of_what_determines_the_images():
    same = Noise(**SMALL).fingerprint
    assert Noise(**{**SMALL, "batch_size": 5}).fingerprint == same
    others = [Noise(**SMALL, seed=1), Noise("normal", **SMALL), Noise("normal", {"std": 2.0}, **SMALL)]
    assert len({same, *(other.fingerprint for other in others)}) == 4


def test_can_be_printed():
    """Lightning's own way fails on loaders that are no DataLoader; linking options prints the datamodule."""
    assert str(Noise("normal", **SMALL)) == "50 images (3, 6, 5) of noise 'normal' {}, seed 0"


class SaveAfterTwo(pl.Callback):
    """A checkpoint in the middle of the first epoch."""

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == 2:
            trainer.save_checkpoint(f"{trainer.default_root_dir}/two.ckpt")


def test_a_run_resumed_in_the_middle_of_an_epoch_is_the_unbroken_one(tmp_path):
    weights = []
    for resume in (None, tmp_path / "two.ckpt"):
        pl.seed_everything(0, verbose=False)
        module = AutoencoderModule(input_shape=(1, 8, 8), network="mlp", latent_dim=2)
        data = Noise("normal", shape=(1, 8, 8), samples=64, batch_size=16)
        trainer = quiet_trainer(tmp_path, max_epochs=2, callbacks=[SaveAfterTwo()])
        trainer.fit(module, data, ckpt_path=resume, weights_only=True)
        assert trainer.global_step == 8
        weights.append(module.state_dict())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


@pytest.mark.parametrize(
    "options, says",
    [
        ({"kind": "uniform"}, "unknown prior 'uniform' \\(did you mean 'uniform_"),
        ({"kind": "normal", "options": {"scale": 2}}, "'normal' has no option 'scale'; there are: mean, std"),
        ({"kind": "one_hot", "options": {"classes": 4}}, "one_hot' has 4 classes; dimension 1 .* has 3"),
        ({"kind": "one_hot", "shape": (1, 8, 8)}, "two classes or more"),
        ({"shape": (8, 8)}, "shape must be \\(channels, height, width\\).*got \\(8, 8\\)"),
        ({"shape": (3, 0, 8)}, "each 1 or more; got \\(3, 0, 8\\)"),
        ({"samples": 0}, "samples must be 1 or more; got 0"),
        ({"batch_size": 0}, "batch_size must be 1 or more; got 0"),
    ],
)
def test_mistakes_are_named_at_once(options, says):
    with pytest.raises(ValueError, match=says):
        Noise(**options)


def test_from_the_command_line(train, tmp_path):
    noise = ("--data", "noise", "--data.kind=log_normal", "--data.options.std=0.5", "--data.shape=[3,12,12]")
    short = ("--data.samples=40", "--trainer.max_epochs=1", "--trainer.limit_val_batches=0")  # the test draws as well
    done = train("--module", "autoencoder", *noise, *short)
    assert done.returncode == 0 and "autoencoder on noise" in done.stdout, done.stderr
    run = tmp_path / "runs/autoencoder-noise/1"
    assert (run / "samples.png").is_file() and (run / "reconstructions.png").is_file()
    again = train("fit", "--config", run / "config.yaml")
    assert again.returncode == 0, again.stderr
    first, second = ((run.parent / n / "metrics.csv").read_text() for n in "12")
    assert first == second
    wrong = train("--module", "autoencoder", "--data", "noise", "--data.kind=log_normal", "--data.options.sdt=0.5")
    assert wrong.returncode == 1 and wrong.stderr.startswith("error: prior 'log_normal' has no option 'sdt'")
