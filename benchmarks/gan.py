"""Adversarial training: this project beside the loops that people write, on Fashion-MNIST.

    python benchmarks/gan.py speed --root data

``speed``: images a second, the same networks and batches of 64. The loop by hand is the tutorials': a ``DataLoader``
of torchvision's data, binary cross-entropy, one pass of the critic over real and one over fake pictures for its own
step, another for the generator's, two Adams, and the losses read at every step. Ours is ``Trainer.fit`` with the
module's objective "non_saturating" and no penalty, so that both do the same mathematics.
"""

import argparse
import statistics
import sys
import time
from typing import Any

import torch
from timing import header
from torch import Tensor, nn
from torch.nn import functional as F

BATCH = 64


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
            hand_step(critic, generator, optimizers, real, ones, zeros)
            count += 1


def hand_step(
    critic: nn.Module, generator: nn.Module, optimizers: list[Any], real: Tensor, ones: Tensor, zeros: Tensor
) -> tuple[float, float]:
    """As in PyTorch's DCGAN tutorial."""
    bce = F.binary_cross_entropy_with_logits
    optimizers[0].zero_grad()
    real_loss = bce(critic(real), ones)
    real_loss.backward()
    fake = generator(torch.randn(BATCH, 64))
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


def speed(options: argparse.Namespace) -> None:
    """All take turns; medians."""
    candidates = {
        "by hand": lambda: by_hand(options.root, options.steps),
        "ours": lambda: ours(options.root, options.steps, "32-true"),
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
    """Which part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["speed"])
    parser.add_argument("--root", default="data")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    speed(options)


if __name__ == "__main__":
    main()
