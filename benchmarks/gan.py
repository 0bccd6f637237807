"""Adversarial training: this project compared with handwritten loops, on Fashion-MNIST.

    python benchmarks/gan.py speed --root data
    python benchmarks/gan.py quality --root data --seconds 300 --seeds 10
    python benchmarks/gan.py few --root data --seconds 150 --seeds 3

``speed``: images a second, the same networks and batches of 64. The loop by hand is the tutorials': a ``DataLoader``
of torchvision's data, binary cross-entropy, one pass of the critic over real and one over fake images for its own
step, another for the generator's, two Adams, and the losses read at every step. Ours is ``Trainer.fit`` with the
module's objective "non_saturating" and no penalty, so that both do the same mathematics.

``quality``: samples after equal time, of the module with its defaults (in bf16-mixed) and of PyTorch's DCGAN tutorial
with its layers for 28 x 28 images, its batches of 128, its learning rates and initial weights. Both run at the same
time, with one thread each, under equal load. A small network trained on the labels scores 5,000 samples
against the training images: Frechet distance, classes with more than 1 % of the samples, the KL divergence of shares
of classes from the data's. Real test images in the samples' place give the floor.

``few``: the module trained on 100 images only, ten a class, with DiffAugment and without, both without and with the
R1 penalty; kernel distance of 5,000 samples from all 60,000 images, beside that of the 100 images themselves.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from timing import header
from torch import Tensor, nn
from torch.nn import functional as F

BATCH, SAMPLES = 64, 5000


def networks(latent_dim: int = 64) -> tuple[nn.Module, nn.Module]:
    """The module's own critic and generator."""
    from zoo import GANModule

    torch.manual_seed(0)
    module = GANModule((1, 28, 28), latent_dim=latent_dim)
    return nn.Sequential(module.encoder, module.head), module.generator


def by_hand(root: str, steps: int) -> float:
    """Images a second of the tutorials' loop."""
    from torch.utils.data import DataLoader
    from torchvision.datasets import FashionMNIST
    from torchvision.transforms import ToTensor

    loader = DataLoader(FashionMNIST(root, download=True, transform=ToTensor()), BATCH, shuffle=True, drop_last=True)
    critic, generator = networks()
    optimizers = [torch.optim.Adam(net.parameters(), lr=2e-4, betas=(0.5, 0.999)) for net in (critic, generator)]
    ones, zeros = torch.ones(BATCH), torch.zeros(BATCH)
    start, count = 0.0, -10  # the first steps warm up
    while True:
        for real, _ in loader:
            if count == 0:
                start = time.perf_counter()
            if count == steps:
                return BATCH * steps / (time.perf_counter() - start)
            hand_step(critic, generator, optimizers, real, ones, zeros, torch.randn(BATCH, 64))
            count += 1


def hand_step(
    critic: nn.Module,
    generator: nn.Module,
    optimizers: list[Any],
    real: Tensor,
    ones: Tensor,
    zeros: Tensor,
    noise: Tensor,
) -> tuple[float, float]:
    """As in PyTorch's DCGAN tutorial."""
    bce = F.binary_cross_entropy_with_logits
    optimizers[0].zero_grad()
    real_loss = bce(critic(real), ones)
    real_loss.backward()
    fake = generator(noise)
    fake_loss = bce(critic(fake.detach()), zeros)
    fake_loss.backward()
    optimizers[0].step()
    optimizers[1].zero_grad()
    loss = bce(critic(fake), ones)
    loss.backward()
    optimizers[1].step()
    return (real_loss + fake_loss).item(), loss.item()


def ours(root: str, steps: int, precision: str, **options: Any) -> float:
    """Images a second of ``Trainer.fit``, after ten steps."""
    import lightning.pytorch as pl

    from datamodules.images import FashionMNIST
    from zoo import GANModule

    class Stopwatch(pl.Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, module: Any, batch: Any, batch_idx: int) -> None:
            if trainer.global_step == 10:
                self.start = time.perf_counter()

        def on_train_end(self, *_: Any) -> None:
            self.seconds = time.perf_counter() - self.start

    pl.seed_everything(0, verbose=False)
    watch = Stopwatch()
    trainer = pl.Trainer(
        max_steps=steps + 10,
        precision=precision,  # type: ignore[arg-type]
        callbacks=[watch],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    module = GANModule((1, 28, 28), r1=0.0, lr=2e-4, **options)
    trainer.fit(module, FashionMNIST(root=root, batch_size=BATCH))
    return BATCH * steps / watch.seconds


def tutorial_networks() -> tuple[nn.Module, nn.Module]:
    """The tutorial's critic and generator, without the stage that 28 x 28 images do not need."""

    def begin(layer: nn.Module) -> None:
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, 0.02)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.02)
            nn.init.zeros_(layer.bias)

    critic = nn.Sequential(
        *(nn.Conv2d(1, 64, 4, 2, 1, bias=False), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(64, 128, 4, 2, 1, bias=False), nn.BatchNorm2d(128), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(128, 1, 7, 1, 0, bias=False), nn.Flatten(0)),
    )
    generator = nn.Sequential(
        *(nn.ConvTranspose2d(100, 128, 7, 1, 0, bias=False), nn.BatchNorm2d(128), nn.ReLU()),
        *(nn.ConvTranspose2d(128, 64, 4, 2, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()),
        *(nn.ConvTranspose2d(64, 1, 4, 2, 1, bias=False), nn.Tanh()),
    )
    return critic.apply(begin), generator.apply(begin)


def tutorial(root: str, seconds: float, seed: int) -> tuple[int, Tensor]:
    """Steps, and 5,000 samples in [0, 1]."""
    from torch.utils.data import DataLoader
    from torchvision.datasets import FashionMNIST
    from torchvision.transforms import Compose, Normalize, ToTensor

    torch.manual_seed(seed)
    data = FashionMNIST(root, download=True, transform=Compose([ToTensor(), Normalize(0.5, 0.5)]))
    loader = DataLoader(data, 128, shuffle=True)
    critic, generator = tutorial_networks()
    optimizers = [torch.optim.Adam(net.parameters(), lr=2e-4, betas=(0.5, 0.999)) for net in (critic, generator)]
    start, steps = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        for real, _ in loader:
            noise = torch.randn(len(real), 100, 1, 1)
            hand_step(critic, generator, optimizers, real, torch.ones(len(real)), torch.zeros(len(real)), noise)
            steps += 1
            if time.perf_counter() - start >= seconds:
                break
    with torch.no_grad():  # as the tutorial draws them: with the batch's statistics
        samples = [(generator(torch.randn(500, 100, 1, 1)) + 1) / 2 for _ in range(SAMPLES // 500)]
    return steps, torch.cat(samples)


def module_samples(
    root: str, seconds: float, seed: int, labels_per_class: int | None = None, **options: Any
) -> tuple[int, Tensor]:
    """The same of ours, trained on all images or on so many of each class."""
    import lightning.pytorch as pl
    from lightning.pytorch.callbacks import Timer

    from datamodules.images import FashionMNIST
    from zoo import GANModule

    pl.seed_everything(seed, verbose=False)
    few: dict[str, Any] = {"labels_per_class": labels_per_class, "labelled_only": labels_per_class is not None}
    data = FashionMNIST(root=root, batch_size=BATCH, label_seed=seed, **few)
    module = GANModule(data.input_shape, channels_last=True, **options)
    quiet = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    trainer = pl.Trainer(
        max_epochs=-1,
        precision="bf16-mixed",
        limit_val_batches=0,
        callbacks=[Timer(duration={"seconds": seconds}, verbose=False)],
        **dict.fromkeys(quiet, False),  # type: ignore[arg-type]
    )
    trainer.fit(module, data)
    module.eval()
    return trainer.global_step, torch.cat([module.sample(500) for _ in range(SAMPLES // 500)])


POLICY = ["colour", "translation", "cutout"]
MAKE: dict[str, Any] = {
    "ours": module_samples,
    "tutorial": tutorial,
    "real": lambda *_: (0, None),
    "plain": lambda *where: module_samples(*where, 10, r1=0.0),
    "augmented": lambda *where: module_samples(*where, 10, r1=0.0, augment=POLICY),
    "r1": lambda *where: module_samples(*where, 10),
    "r1 augmented": lambda *where: module_samples(*where, 10, augment=POLICY),
    "pictures": lambda root, _, seed: (0, hundred(root, seed)),
}


def hundred(root: str, seed: int) -> Tensor:
    """The 100 training images of ``few``, ten per class, (100, 1, 28, 28) in [0, 1]."""
    from datamodules.images import FashionMNIST

    data = FashionMNIST(root=root, labels_per_class=10, labelled_only=True, label_seed=seed)
    data.setup()
    return data.splits["train"].images / 255


def child(options: argparse.Namespace) -> None:
    """One training; prints its scores."""
    from callbacks.samples.feature_extractor import train_extractor
    from callbacks.samples.metrics import class_kl, class_shares, fid, kid
    from datamodules.images import FashionMNIST

    torch.set_num_threads(1)
    steps, samples = MAKE[options.child](options.root, options.seconds, options.seed)
    data = FashionMNIST(root=options.root)
    data.setup()
    train, labels = data.splits["train"].images, data.splits["train"].labels
    scorer = train_extractor(train, labels)
    pictures = data.splits["test"].images[:SAMPLES] if samples is None else (samples * 255).round().to(torch.uint8)
    if samples is not None:
        from torchvision.utils import save_image

        save_image(samples[:96], f"{options.pictures}/{options.child}-{options.seed}.png", nrow=16)
    with torch.no_grad():
        real, found = scorer(train), scorer(pictures)
        shares, of_data = (class_shares(scorer.classify(f), 10) for f in (found, real))
    kernel = kid(real, found, min(1000, len(found)))
    print("numbers", steps, fid(real, found), int((shares > 0.01).sum()), class_kl(shares, of_data, len(train)), kernel)


def start(name: str, seed: int, options: argparse.Namespace) -> subprocess.Popen[str]:
    """A training in a process of its own, with one thread."""
    command = [sys.executable, __file__, "quality", "--child", name, "--seed", str(seed), "--root", options.root]
    command += ["--seconds", str(options.seconds), "--pictures", options.pictures]
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def end(name: str, process: subprocess.Popen[str]) -> list[float]:
    """Results of a child process, in the order in which ``child`` prints them."""
    out, err = process.communicate()
    line = next((line for line in out.splitlines() if line.startswith("numbers ")), None)
    if line is None:
        sys.exit(f"{name}: {err.strip()[-500:]}")
    print(name, line, file=sys.stderr, flush=True)
    return [float(part) for part in line.split()[1:]]


def side_by_side(names: list[str], options: argparse.Namespace) -> dict[str, list[list[float]]]:
    """Run all at once, seed by seed."""
    Path(options.pictures).mkdir(parents=True, exist_ok=True)
    print(header(), " ".join(sys.argv[1:]))
    found: dict[str, list[list[float]]] = {name: [] for name in names}
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        running = {name: start(name, seed, options) for name in names}
        for name, process in running.items():
            found[name].append(end(f"{name} {seed}", process))
    return found


def quality(options: argparse.Namespace) -> None:
    """Compare our GAN with the tutorial's."""
    Path(options.pictures).mkdir(parents=True, exist_ok=True)
    print("floor, real test images:", end("real", start("real", 0, options))[1])
    found = side_by_side(["ours", "tutorial"], options)
    print(f"{'':10s} {'steps':>7s} {'median':>8s} {'best':>8s} {'worst':>8s} {'modes':>6s} {'worst KL':>9s}")
    for name, rows in found.items():
        steps, distance, modes, kl, _ = zip(*rows, strict=True)
        shown = f"{statistics.median(distance):8.3f} {min(distance):8.3f} {max(distance):8.3f}"
        print(f"{name:10s} {statistics.median(steps):7.0f} {shown} {min(modes):6.0f} {max(kl):9.4f}")


def few(options: argparse.Namespace) -> None:
    """Compare training with DiffAugment and without."""
    found = side_by_side(["plain", "augmented"], options)
    found |= {} if options.no_r1 else side_by_side(["r1", "r1 augmented"], options)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    found["pictures"] = [end(f"pictures {seed}", start("pictures", seed, options)) for seed in seeds]
    print(f"{'':12s} {'steps':>7s} {'KID':>24s} {'FID':>9s} {'modes':>6s}")
    for name, rows in found.items():
        steps, distance, modes, _, kernel = zip(*rows, strict=True)
        each = " ".join(f"{value:7.3f}" for value in kernel)
        shown = f"{each:>24s} {statistics.median(distance):9.3f} {min(modes):6.0f}"
        print(f"{name:12s} {statistics.median(steps):7.0f} {shown}")


def speed(options: argparse.Namespace) -> None:
    """Time all loops in turns and print medians."""
    candidates = {
        "by hand": lambda: by_hand(options.root, options.steps),
        "ours": lambda: ours(options.root, options.steps, "32-true"),
        "ours, channels last": lambda: ours(options.root, options.steps, "32-true", channels_last=True),
        "ours, compiled": lambda: ours(options.root, options.steps, "32-true", compiled=True),
        "ours, bf16-mixed": lambda: ours(options.root, options.steps, "bf16-mixed"),
        "ours, bf16-mixed, channels last": lambda: ours(options.root, options.steps, "bf16-mixed", channels_last=True),
    }
    found: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(options.rounds):
        for name, run in candidates.items():
            found[name].append(run())
    print(header(), " ".join(sys.argv[1:]))
    base = statistics.median(found["by hand"])
    for name, values in found.items():
        print(f"{name:32s} {statistics.median(values):8.0f} images/s {statistics.median(values) / base:6.2f}")


def main() -> None:
    """Run the part that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["speed", "quality", "few"])
    parser.add_argument("--root", default="data")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--no-r1", action="store_true", help="run ``few`` only without the penalty")
    parser.add_argument("--pictures", default=".", help="folder for samples")
    for hidden in ("--child", "--seed"):
        parser.add_argument(hidden, type=int if hidden == "--seed" else str, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options)
    else:
        {"speed": speed, "quality": quality, "few": few}[options.part](options)


if __name__ == "__main__":
    main()
