"""The gain of pretraining: encoders of this zoo compared with the same networks from scratch, with few labels.

    python benchmarks/finetune.py pretrain --root data --encoders encoders
    python benchmarks/finetune.py labels --root data --encoders encoders --seeds 5
    python benchmarks/finetune.py shift --root data --encoders encoders --seeds 5

``pretrain``: each technique has the whole training set without labels, and ten minutes. ``labels``: 10, 50 and 100
labels a class. A seed chooses the labels, the head's start and the order; all that compare share it, so differences
are paired. Every run has the same number of steps and the same augmentation, and its rate is the best of three by
validation images, on two seeds that are not reported; the weights tested are the last. ``shift``: everything
fine-tuned with and without a probe before it, tested on images as they are, turned by 15 to 45 degrees, noisy, and
turned and noisy. What ``dae_view`` is fine-tuned from are its codes: in them, unlike in the maps that they are made of,
a rotated image is the image.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Timer
from timing import header
from torch import Tensor

from datamodules.images import FashionMNIST
from zoo import AutoencoderModule, FinetuneModule, GANModule, save_encoder

QUIET = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
STEPS = 600
BUDGETS = (10, 50, 100)
RATES = (3e-4, 1e-3, 3e-3)
T95 = {2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 9: 2.262}  # of Student's distribution, by degrees of freedom


def techniques() -> dict[str, tuple[Any, dict[str, Any], dict[str, Any]]]:
    """Module, its options, the data's options."""
    dae = {
        "variant": "denoising",
        "corruption": "crop",
        "corruption_level": 0.5,
        "latent_dim": 32,
        "schedule": "cosine",
    }
    return {
        "dae": (AutoencoderModule, dae, {"normalise": "sample", "flip": True}),
        "dae_view": (AutoencoderModule, {**dae, "corruption": "view"}, {"normalise": "sample", "flip": True}),
        "vae": (AutoencoderModule, {"latent_dim": 32, "schedule": "cosine"}, {}),
        "gan": (GANModule, {"channels_last": True}, {"batch_size": 64}),
    }


def pretrain(options: argparse.Namespace) -> None:
    """All techniques, one after the other; exports their encoders."""
    for name, (cls, model, data_options) in techniques().items():
        if options.only and name not in options.only:
            continue
        pl.seed_everything(0, verbose=False)
        data = FashionMNIST(options.root, val_fraction=0.02, **data_options)
        module = cls(data.input_shape, normalisation=data.normalisation, **model)
        # A schedule needs an end: epochs that fit into the time are measured on a few batches first.
        epochs = _epochs_within(options.minutes * 60, cls, model, data) if model.get("schedule") else -1
        timer = Timer(duration={"seconds": options.minutes * 60}, verbose=False)
        trainer = pl.Trainer(
            max_epochs=epochs, precision=options.precision, callbacks=[timer], limit_val_batches=0, **QUIET
        )
        trainer.fit(module, data)
        save_encoder(module.encoder, Path(options.encoders) / name)
        print(
            f"{name}: {trainer.current_epoch} epochs, {trainer.global_step} steps, {timer.time_elapsed('train'):.0f} s"
        )


def _epochs_within(seconds: float, cls: Any, model: dict[str, Any], data: FashionMNIST) -> int:
    timer = Timer(verbose=False)
    module = cls(data.input_shape, normalisation=data.normalisation, **model)
    pl.Trainer(max_steps=60, max_epochs=1, callbacks=[timer], limit_val_batches=0, **QUIET).fit(module, data)
    steps = 60 / timer.time_elapsed("train") * seconds * 0.95
    return max(1, int(steps / len(data.train_dataloader())))


def data_for(options: argparse.Namespace, encoder: str, labels: int, seed: int) -> FashionMNIST:
    """Data with the encoder's normalisation."""
    normalise = "sample" if encoder.startswith("dae") else "unit"
    return FashionMNIST(
        options.root,
        batch_size=64,
        normalise=normalise,
        shift=2,
        flip=True,
        labels_per_class=labels,
        labelled_only=True,
        label_seed=seed,
        seed=seed,
    )


def tuned(options: argparse.Namespace, encoder: str, start: str, mode: str, rate: float, labels: int, seed: int) -> Any:
    """A fine-tuned module and its data; ``start`` is "pretrained" or "scratch"."""
    pl.seed_everything(seed, verbose=False)
    data = data_for(options, encoder, labels, seed)
    network: Any = str(Path(options.encoders) / encoder)
    if start == "scratch":
        from zoo import load_encoder

        network = load_encoder(network).spec
    module = FinetuneModule(
        data.input_shape,
        10,
        backbone=network,
        drop_head=encoder != "dae_view",
        mode=mode,
        lr=rate,
        normalisation=data.normalisation,
        probe_l2=0.1 * labels,
    )
    trainer = pl.Trainer(max_steps=STEPS, max_epochs=-1, limit_val_batches=0, **QUIET)
    trainer.fit(module, data)
    return module, data


@torch.no_grad()
def accuracy(module: FinetuneModule, data: FashionMNIST, change: Any = None) -> float:
    """Accuracy on the test set, in percent."""
    images, labels = data.splits["test"]
    right = 0
    for x, y in zip(images.split(1000), labels.split(1000), strict=True):
        x = x.float() / 255
        x = change(x) if change else x
        x = normalised(x, data)
        right += int((module.eval()(x).argmax(1) == y).sum())
    return 100 * right / len(images)


def normalised(x: Tensor, data: FashionMNIST) -> Tensor:
    """Images normalised as the data do it."""
    return data.on_after_batch_transfer({"input": x * 255, "seed": 0}, 0)["input"]


def interval(values: list[float]) -> str:
    """Mean and half of the 95 % confidence interval, as text."""
    half = T95[len(values) - 1] * statistics.stdev(values) / len(values) ** 0.5 if len(values) > 2 else float("nan")
    return f"{statistics.mean(values):6.2f} +- {half:4.2f}"


def best_rate(options: argparse.Namespace, encoder: str, start: str, mode: str, labels: int) -> float:
    """Of three, on two seeds that are not reported."""
    if mode == "probe":
        return RATES[0]
    scores = {}
    for rate in RATES:
        runs = [tuned(options, encoder, start, mode, rate, labels, seed) for seed in (100, 101)]
        scores[rate] = statistics.mean(accuracy_on_rest(*run) for run in runs)
    return max(scores, key=lambda rate: scores[rate])


@torch.no_grad()
def accuracy_on_rest(module: FinetuneModule, data: FashionMNIST) -> float:
    """Accuracy on 5,000 of the validation images, by which the learning rate is chosen, once for all seeds."""
    images, labels = (part[:5000] for part in data.splits["val"])
    x = normalised(images.float() / 255, data)
    return float((torch.cat([module.eval()(rows) for rows in x.split(1000)]).argmax(1) == labels).float().mean())


def labels(options: argparse.Namespace) -> None:
    """Budgets, starts and modes; differences are paired by seed."""
    print(header(), " ".join(sys.argv[1:]))
    for encoder in options.only or techniques():
        for budget in options.budgets:
            found: dict[str, list[float]] = {}
            for start, mode in (
                ("scratch", "full"),
                ("pretrained", "probe"),
                ("pretrained", "full"),
                ("pretrained", "lp_ft"),
            ):
                rate = best_rate(options, encoder, start, mode, budget)
                begin = time.perf_counter()
                runs = [tuned(options, encoder, start, mode, rate, budget, seed) for seed in range(options.seeds)]
                name = f"{start} {mode}"
                found[name] = [accuracy(*run) for run in runs]
                gain = [a - b for a, b in zip(found[name], found["scratch full"], strict=True)]
                seconds = (time.perf_counter() - begin) / options.seeds
                print(
                    f"{encoder:4s} {budget:4d} labels a class  {name:18s} rate {rate:g}  {interval(found[name])}  "
                    f"gain {interval(gain)}  {seconds:4.1f} s",
                    flush=True,
                )


def turned(x: Tensor) -> Tensor:
    """Rotate images by 15 to 45 degrees to either side, each by its own angle."""
    generator = torch.Generator().manual_seed(0)
    angle = torch.deg2rad(15 + 30 * torch.rand(len(x), generator=generator))
    angle = angle * torch.where(torch.rand(len(x), generator=generator) < 0.5, -1.0, 1.0)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros(len(x))
    matrix = torch.stack([torch.stack([cos, -sin, zero], 1), torch.stack([sin, cos, zero], 1)], 1)
    grid = torch.nn.functional.affine_grid(matrix, list(x.shape), align_corners=False)
    return torch.nn.functional.grid_sample(x, grid, align_corners=False)


def noisy(x: Tensor) -> Tensor:
    """Add Gaussian noise of standard deviation 0.2."""
    return (x + 0.2 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)


def shift(options: argparse.Namespace) -> None:
    """Compare LP-FT with full fine-tuning on images out of the training distribution."""
    print(header(), " ".join(sys.argv[1:]))
    tests = {"plain": None, "turned": turned, "noisy": noisy, "both": lambda x: noisy(turned(x))}
    for encoder in options.only or techniques():
        for budget in options.budgets:
            found: dict[str, dict[str, list[float]]] = {}
            for mode in ("probe", "full", "lp_ft"):
                rate = best_rate(options, encoder, "pretrained", mode, budget)
                runs = [
                    tuned(options, encoder, "pretrained", mode, rate, budget, seed) for seed in range(options.seeds)
                ]
                found[mode] = {name: [accuracy(*run, change) for run in runs] for name, change in tests.items()}
                print(f"{encoder} {budget:4d} labels a class  {mode} rate {rate:g}", flush=True)
            for name in tests:
                gain = [a - b for a, b in zip(found["lp_ft"][name], found["full"][name], strict=True)]
                means = "  ".join(f"{mode} {interval(found[mode][name])}" for mode in found)
                print(f"{encoder} {budget:4d} labels a class  {name:7s} {means}  gain {interval(gain)}", flush=True)


def main() -> None:
    """Run the part that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["pretrain", "labels", "shift"])
    parser.add_argument("--root", default="data")
    parser.add_argument("--encoders", default="encoders")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--precision", default="bf16-mixed")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="*", help="techniques to run, all by default")
    parser.add_argument("--budgets", nargs="*", type=int, default=BUDGETS, help="labels per class")
    options = parser.parse_args()
    {"pretrain": pretrain, "labels": labels, "shift": shift}[options.part](options)


if __name__ == "__main__":
    main()
