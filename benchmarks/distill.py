"""Knowledge distillation: a student with a teacher, compared with labels alone, on Fashion-MNIST.

    python benchmarks/distill.py teacher --root data --folder distilled
    python benchmarks/distill.py compare --root data --folder distilled --seeds 5
    python benchmarks/distill.py speed --root data --folder distilled

``teacher``: a network of 0.4 million parameters learns all 54,000 labels. ``compare``: a student of 34,000 parameters
has 100 labels a class; alone it trains on those, with a teacher on the unlabelled rest, too. A seed chooses the labels
and the student's start; all that compare share it, so differences are paired. Every method has six settings to choose
from, by validation images on a seed that is not reported, and the weights tested are the last. ``speed``: steps
a second with a teacher whose forward pass has six times the operations of the student's, asked at every step or read
from the disk.
"""

import argparse
import itertools
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from timing import header, stopwatch
from torch import nn

from callbacks.predictions.distillation_comparison import profile_network
from datamodules.images import FashionMNIST
from zoo import DistillModule, FinetuneModule

QUIET = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
LARGE = {"name": "conv", "width": 64, "norm": "batch"}
SMALL = {"name": "conv", "width": 16, "norm": "batch"}
PERIOD = 10
RATES = (2e-3, 5e-3, 1e-2)
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "labels": [{"lr": lr, "epochs": epochs} for lr, epochs in itertools.product(RATES, (1, PERIOD))],
    "KD": [
        {"lr": lr, "kd_weight": 1.0, "dkd_weight": 0.0, "temperature": t}
        for lr, t in itertools.product(RATES, (2.0, 4.0))
    ],
    "DKD": [{"lr": lr, "dkd_beta": 8.0, "temperature": t} for lr, t in itertools.product(RATES, (2.0, 4.0))],
}
T95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 9: 2.262}  # of Student's distribution, by degrees of freedom


def data_for(options: argparse.Namespace, **changes: Any) -> FashionMNIST:
    """Fashion-MNIST, shifted and mirrored, in augmentations that repeat."""
    return FashionMNIST(options.root, **{"shift": 2, "flip": True, "augmentation_period": PERIOD, **changes})


def teacher(options: argparse.Namespace) -> None:
    """Train the teacher, keep its checkpoint."""
    pl.seed_everything(0, verbose=False)
    data, begin = data_for(options, augmentation_period=None), time.perf_counter()
    module = FinetuneModule(data.input_shape, 10, data.class_names, backbone=LARGE, mode="full", lr=2e-3)
    trainer = pl.Trainer(max_epochs=options.epochs, limit_val_batches=0, **QUIET)
    trainer.fit(module, data)
    trainer.save_checkpoint(Path(options.folder) / "teacher.ckpt", weights_only=True)
    score = trainer.test(module, data, verbose=False)[0]["test/score"]
    print(f"teacher: {options.epochs} epochs, {time.perf_counter() - begin:.0f} s, {score:.2%}")


def student(options: argparse.Namespace, method: str, seed: int, setting: dict[str, Any]) -> tuple[Any, Any, Any]:
    """A trained student, its data and its trainer; with a teacher in as many steps as those data have batches."""
    pl.seed_everything(seed, verbose=False)
    data = data_for(options, labels_per_class=100, label_seed=seed, labelled_only=method == "labels")
    shape, names, chosen = (1, 28, 28), FashionMNIST.class_names, {**setting}
    steps = chosen.pop("epochs", PERIOD) * 422
    given: dict[str, Any] = {"backbone": SMALL, "mode": "full", **chosen}
    if method == "labels":
        module = FinetuneModule(shape, 10, names, **given)
    else:
        folder = Path(options.folder)
        given |= {"teacher": str(folder / "teacher.ckpt"), "cache": str(folder / "cache")}
        module = DistillModule(shape, 10, names, **given)
    trainer = pl.Trainer(max_steps=steps, max_epochs=-1, limit_val_batches=0, **QUIET)
    trainer.fit(module, data)
    return module, data, trainer


@torch.no_grad()
def accuracy(module: Any, data: FashionMNIST, part: str) -> float:
    """Accuracy on a part of the data, in percent."""
    images, labels = data.splits[part]
    assert isinstance(images, torch.Tensor) and labels is not None
    said = torch.cat([module.eval()(rows / 255).argmax(1) for rows in images.split(1000)])
    return 100 * float((said == labels).float().mean())


def interval(values: list[float]) -> str:
    """Mean and 95 % confidence interval, as text."""
    half = T95[len(values) - 1] * statistics.stdev(values) / len(values) ** 0.5
    return f"{statistics.mean(values):6.2f} +- {half:.2f}"


def best_setting(options: argparse.Namespace, method: str) -> dict[str, Any]:
    """The setting with the best accuracy on validation images, on seed 100."""
    found = []
    for setting in SETTINGS[method]:
        runs = [student(options, method, seed, setting)[:2] for seed in (100,)]
        found.append(statistics.mean(accuracy(*run, "val") for run in runs))
        print(f"  {method} {setting}: {found[-1]:.2f} (validation)", flush=True)
    return SETTINGS[method][found.index(max(found))]


def compare(options: argparse.Namespace) -> None:
    """Print accuracies by method, and the share of the gap that each closes."""
    print(header(), " ".join(sys.argv[1:]))
    found: dict[str, list[float]] = {}
    for method in SETTINGS:
        setting, begin = best_setting(options, method), time.perf_counter()
        runs = [student(options, method, seed, setting) for seed in range(options.seeds)]
        found[method] = [accuracy(module, data, "test") for module, data, _ in runs]
        seconds = (time.perf_counter() - begin) / options.seeds
        print(f"{method:6s} {setting}  {interval(found[method])}  {seconds:.0f} s", flush=True)
    module, data, _ = runs[-1]
    images, labels = data.splits["test"]
    with torch.no_grad():
        said = torch.cat([module.teacher(rows / 255)["logits"].argmax(1) for rows in images.split(1000)])
    top = 100 * float((said == labels).float().mean())
    for method in ("KD", "DKD"):
        share = [100 * (a - b) / (top - b) for a, b in zip(found[method], found["labels"], strict=True)]
        gain = [a - b for a, b in zip(found[method], found["labels"], strict=True)]
        print(f"{method}: gain {interval(gain)}, closes {interval(share)} % of the gap to {top:.2f}")
    print(f"DKD - KD: {interval([a - b for a, b in zip(found['DKD'], found['KD'], strict=True)])}")
    for name, score, network in (
        ("teacher", top, module.teacher),
        ("student, labels alone", statistics.mean(found["labels"]), nn.Sequential(module.encoder, module.head)),
        ("student, DKD", statistics.mean(found["DKD"]), nn.Sequential(module.encoder, module.head)),
    ):
        print(profile_network(name, score, network, (1, 28, 28), rounds=300))


class Curve(pl.Callback):
    """Loss of every step, and seconds per epoch."""

    def __init__(self) -> None:
        self.losses: list[torch.Tensor] = []
        self.seconds: list[float] = []

    def on_train_epoch_start(self, *_: Any) -> None:
        self._begin = time.perf_counter()

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *_: Any) -> None:
        self.losses.append(outputs["loss"].detach())

    def on_train_epoch_end(self, *_: Any) -> None:
        self.seconds.append(time.perf_counter() - self._begin)


def speed(options: argparse.Namespace) -> None:
    """Time epochs of 10,000 images without augmentation, online and from the disk, in turns."""
    print(header(), " ".join(sys.argv[1:]))
    wide = {"name": "conv", "width": options.width}
    large = FinetuneModule((1, 28, 28), 10, FashionMNIST.class_names, backbone=wide, mode="full")
    small = {"name": "conv", "width": options.student_width}
    path, cache = Path(options.folder) / "wide.ckpt", Path(options.folder) / f"wide-{time.time():.0f}"
    trainer = pl.Trainer(max_steps=1, limit_val_batches=0, **QUIET)
    trainer.fit(large, FashionMNIST(options.root, labels_per_class=100, labelled_only=True))
    trainer.save_checkpoint(path, weights_only=True)
    curves: dict[str, list[Curve]] = {"online": [], "disk": []}
    for turn in range(options.rounds + 1):  # the first fills the cache
        for name, given in (("online", {}), ("disk", {"cache": str(cache)})):
            pl.seed_everything(turn, verbose=False)
            data = FashionMNIST(options.root, labels_per_class=1000, labelled_only=True)
            module = DistillModule(
                (1, 28, 28),
                10,
                FashionMNIST.class_names,
                backbone=small,
                teacher=str(path),
                train_baseline=False,
                **given,
            )
            curve = Curve()
            pl.Trainer(max_epochs=2, limit_val_batches=0, callbacks=[curve], **QUIET).fit(module, data)
            curves[name].append(curve)
    forward: dict[str, list[float]] = {"teacher": [], "student": []}
    x = torch.rand(128, 1, 28, 28)
    module.train()
    for _ in range(60):
        for name, network in (("teacher", module.teacher), ("student", module)):
            with stopwatch(forward[name]), torch.set_grad_enabled(name == "student"):  # as in a step
                network(x)
    ratio = statistics.median(forward["teacher"][9:]) / statistics.median(forward["student"][9:])
    medians = {n: statistics.median(s for c in found[1:] for s in c.seconds) for n, found in curves.items()}
    pairs = zip(curves["online"], curves["disk"], strict=True)
    same = all(torch.equal(torch.stack(a.losses), torch.stack(b.losses)) for a, b in pairs)
    share = statistics.median(forward["teacher"][9:]) / (medians["disk"] / 79)  # batches of an epoch
    print(f"forward passes {ratio:.2f} to 1, the teacher's {share:.2f} to 1 step of the student")
    print(f"an epoch online {medians['online']:.2f} s, from the disk {medians['disk']:.2f} s: "
          f"{medians['online'] / medians['disk']:.2f} times as fast; "
          f"losses {'the same bit for bit' if same else 'differ'}")  # fmt: skip


def main() -> None:
    """Run the part that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["teacher", "compare", "speed"])
    parser.add_argument("--root", default="data")
    parser.add_argument("--folder", default="distilled")
    parser.add_argument("--epochs", type=int, default=15, help="epochs of the teacher")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--width", type=int, default=80, help="width of the teacher whose speed is measured")
    parser.add_argument("--student-width", type=int, default=32)
    options = parser.parse_args()
    {"teacher": teacher, "compare": compare, "speed": speed}[options.part](options)


if __name__ == "__main__":
    main()
