"""A linear probe fitted once on cached features, compared with 100 epochs of SGD through the frozen encoder.

    python benchmarks/representation.py --root data

The encoder is the convolutional one of the autoencoder, trained for one epoch on Fashion-MNIST. SGD is the usual
protocol: momentum 0.9, batches of 256, a cosine schedule, the best of three rates; its time is that of one rate, the
encoder run for each batch, without the test (the frozen features of the other rates are cached: the same values). The
probe's time includes encoding both sets; ``FinetuneModule``'s is all of ``Trainer.fit``, as SGD's without the test.
"""

import argparse
from collections.abc import Callable

import lightning.pytorch as pl
import torch
from timing import header, stopwatch
from torch import Tensor, nn
from torch.nn import functional as F

from datamodules.images import FashionMNIST
from datamodules.loader import ShardedSampler, TensorLoader
from zoo import AutoencoderModule, FinetuneModule
from zoo.functional.features import probe_correct

RATES = (0.01, 0.1, 1.0)
DIM = 32


def pictures(data: FashionMNIST, split: str) -> tuple[Tensor, Tensor]:
    """Images (N, 1, 28, 28) in [0, 1] and labels."""
    images, labels = data.splits[split]
    assert isinstance(images, Tensor) and labels is not None
    return images.float() / 255, labels


def sgd_probe(encode: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, rate: float, epochs: int) -> nn.Module:
    """A linear layer on normalised features; the encoder is run again for each batch."""
    layer = nn.Sequential(nn.BatchNorm1d(DIM, affine=False), nn.Linear(DIM, 10))
    solver = torch.optim.SGD(layer.parameters(), lr=rate, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(solver, epochs)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(256):
            with torch.no_grad():
                features = encode(x[rows])
            loss = F.cross_entropy(layer(features), y[rows])
            solver.zero_grad()
            loss.backward()
            solver.step()
        schedule.step()
    return layer.eval()


@torch.no_grad()
def encoded(module: AutoencoderModule, x: Tensor) -> Tensor:
    """Features of all samples."""
    return torch.cat([module.encode(rows) for rows in x.split(256)])


def finetuned(encoder: nn.Module, x: Tensor, y: Tensor) -> FinetuneModule:
    """The same by ``FinetuneModule``, from its making to the end of the fit."""
    module = FinetuneModule(tuple(x.shape[1:]), 10, backbone=encoder, mode="probe", drop_head=False)
    loader = TensorLoader({"input": x, "label": y}, 256, ShardedSampler(x, shuffle=True))
    quiet = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    pl.Trainer(max_epochs=1, accelerator="cpu", **dict.fromkeys(quiet, False)).fit(module, loader)
    return module.eval()


def main() -> None:
    """Print seconds and accuracies."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", default="data")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--samples", type=int, default=10_000, help="number of training samples")
    options = parser.parse_args()
    pl.seed_everything(0, verbose=False)
    data = FashionMNIST(options.root)
    data.prepare_data()
    data.setup()
    module = AutoencoderModule(data.input_shape, variant="plain", latent_dim=DIM)
    pl.Trainer(max_epochs=1, logger=False, enable_checkpointing=False, accelerator="cpu").fit(module, data)
    module.eval()
    x, y = pictures(data, "train")
    x, y = x[: options.samples], y[: options.samples]
    test, truth = pictures(data, "test")

    features, test_features = encoded(module, x), encoded(module, test)
    layers = [sgd_probe(nn.Identity(), features, y, rate, options.epochs) for rate in RATES]
    accuracies = [(layer(test_features).argmax(1) == truth).float().mean().item() for layer in layers]
    slow: list[float] = []
    with stopwatch(slow):
        sgd_probe(module.encode, x, y, RATES[1], options.epochs)
    fast: list[float] = []
    for _ in range(3):
        with stopwatch(fast):
            accuracy = probe_correct(encoded(module, x), y, encoded(module, test), truth).float().mean().item()
    whole: list[float] = []
    for _ in range(3):
        with stopwatch(whole):
            tuned = finetuned(module.encoder, x, y)
    with torch.no_grad():
        right = float((torch.cat([tuned(rows) for rows in test.split(256)]).argmax(1) == truth).float().mean())
    seconds, best = slow[0], max(accuracies)
    print(header(), f"{options.samples} training and {len(test)} test samples")
    print(f"{options.epochs} epochs of SGD   {seconds:8.2f} s   {best:.2%} (rates {RATES}: {accuracies})")
    print(
        f"L-BFGS, once        {sorted(fast)[1]:8.2f} s   {accuracy:.2%}   {seconds / sorted(fast)[1]:.0f} times faster"
    )
    print(
        f"FinetuneModule      {sorted(whole)[1]:8.2f} s   {right:.2%}   {seconds / sorted(whole)[1]:.0f} times faster"
    )


if __name__ == "__main__":
    main()
