"""Training a VAE 784-400-40 on binarised MNIST, end to end: this project, a handwritten loop and pythae.

    pip install --no-deps pythae && pip install pydantic imageio tqdm
    python benchmarks/vae.py --root data

Each is a process of its own, from starting Python to the test of the trained network, and they take turns. All have
the same layers, batches of 100, Adam with a rate of 1e-3, and pixels that are 1 above one half and 0 elsewhere. The
loop by hand is the one people write: torchvision's MNIST, a ``DataLoader``, ``torch.optim.Adam``. pythae has its
trainer with a validation set, as its examples do. Ours is the command line as it comes, with the validation, the
checkpoints, the figures and the evaluation of the representation.
"""

import argparse
import csv
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from timing import header
from torch import Tensor, nn
from torch.nn import functional as F

ROOT = Path(__file__).parents[1]
VALIDATION = 1200


class VAE(nn.Module):
    """The network, written out."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Flatten(), nn.Linear(784, 400), nn.SiLU())
        self.mean, self.log_variance = nn.Linear(400, 40), nn.Linear(400, 40)
        self.decoder = nn.Sequential(nn.Linear(40, 400), nn.SiLU(), nn.Linear(400, 784))

    def loss(self, x: Tensor) -> Tensor:
        """The negative evidence lower bound, the mean over the batch, in nats."""
        h = self.trunk(x)
        mean, log_variance = self.mean(h), self.log_variance(h)
        logits = self.decoder(mean + torch.randn_like(mean) * (0.5 * log_variance).exp())
        nll = F.binary_cross_entropy_with_logits(logits, x.flatten(1), reduction="sum")
        kl = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum()
        return (nll + kl) / len(x)


def binarised(root: str, train: bool) -> Tensor:
    """All images (N, 1, 28, 28) as zeros and ones."""
    from torchvision.datasets import MNIST

    return (MNIST(root, train=train).data > 127).float().unsqueeze(1)


@torch.no_grad()
def elbo(model: VAE, root: str) -> float:
    """Evidence lower bound on the test set, in nats."""
    x = binarised(root, train=False)
    return -statistics.mean(model.loss(rows).item() for rows in x.split(1000))


def by_hand(root: str, epochs: int) -> float:
    """A handwritten loop."""
    from torch.utils.data import DataLoader
    from torchvision.datasets import MNIST
    from torchvision.transforms import Compose, Lambda, ToTensor

    data = MNIST(root, download=True, transform=Compose([ToTensor(), Lambda(lambda x: (x > 0.5).float())]))
    loader = DataLoader(data, 100, shuffle=True)
    model = VAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(epochs):
        total = 0.0
        for x, _ in loader:
            loss = model.loss(x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
    return elbo(model, root)


def pythae(root: str, epochs: int) -> float:
    """pythae's pipeline with the same layers."""
    from pythae import models
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.pipelines import TrainingPipeline
    from pythae.trainers import BaseTrainerConfig

    layers = VAE()

    class Encoder(BaseEncoder):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.trunk, self.mean, self.log_variance = layers.trunk, layers.mean, layers.log_variance

        def forward(self, x: Tensor) -> ModelOutput:
            h = self.trunk(x)
            return ModelOutput(embedding=self.mean(h), log_covariance=self.log_variance(h))

    class Decoder(BaseDecoder):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layers = layers.decoder

        def forward(self, z: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=self.layers(z).sigmoid().unflatten(1, (1, 28, 28)))

    config = models.VAEConfig(input_dim=(1, 28, 28), latent_dim=40, reconstruction_loss="bce")
    model = models.VAE(config, encoder=Encoder(), decoder=Decoder())
    x = binarised(root, train=True)
    with tempfile.TemporaryDirectory() as folder:
        options = BaseTrainerConfig(
            output_dir=folder,
            num_epochs=epochs,
            learning_rate=1e-3,
            per_device_train_batch_size=100,
            per_device_eval_batch_size=100,
            no_cuda=True,
        )
        TrainingPipeline(model, options)(x[VALIDATION:], x[:VALIDATION])
    layers.trunk, layers.mean, layers.log_variance = model.encoder.trunk, model.encoder.mean, model.encoder.log_variance
    layers.decoder = model.decoder.layers
    return elbo(layers, root)


def ours(root: str, epochs: int, folder: str) -> list[str]:
    """The command, and nothing else."""
    options = {
        "module": "autoencoder",
        "module.network": '{"name": "mlp", "widths": [400]}',
        "module.latent_dim": 40,
        "module.likelihood": "bernoulli",
        "module.lr": 1e-3,
        "data": "mnist",
        "data.root": root,
        "data.binarise": "threshold",
        "data.batch_size": 100,
        "data.val_fraction": VALIDATION / 60_000,
        "trainer.max_epochs": epochs,
        "trainer.default_root_dir": folder,
        "trainer.accelerator": "cpu",
    }
    return ["train.py", *(part for name, value in options.items() for part in (f"--{name}", str(value)))]


def run(name: str, root: str, epochs: int) -> tuple[float, float]:
    """Seconds, and the evidence lower bound on the test set."""
    with tempfile.TemporaryDirectory() as folder:
        command = ours(root, epochs, folder) if name == "ours" else [__file__, "--only", name, "--epochs", str(epochs)]
        command += [] if name == "ours" else ["--root", root]
        start = time.perf_counter()
        done = subprocess.run([sys.executable, *command], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
        seconds = time.perf_counter() - start
        if name != "ours":
            return seconds, float(done.stdout.split()[-1])
        with next(Path(folder).rglob("metrics.csv")).open() as file:
            losses = [float(row["test/loss"]) for row in csv.DictReader(file) if row.get("test/loss")]
        return seconds, -losses[-1]


def main() -> None:
    """Print samples/s, ratios and bounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", default="data")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["hand", "pythae"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print({"hand": by_hand, "pythae": pythae}[options.only](options.root, options.epochs))
        return
    samples = {"hand": 60_000, "pythae": 60_000 - VALIDATION, "ours": 60_000 - VALIDATION}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in samples}
    for _ in range(options.rounds):
        for name, results in found.items():
            results.append(run(name, options.root, options.epochs))
            print(name, *results[-1], flush=True)
    print(header(), f"median of {options.rounds} rounds of {options.epochs} epochs")
    speed = {n: samples[n] * options.epochs / statistics.median(s for s, _ in found[n]) for n in found}
    for name, value in speed.items():
        bound = statistics.mean(e for _, e in found[name])
        print(f"{name:<8} {value:9,.0f} samples/s   ours {speed['ours'] / value:5.2f} times   test ELBO {bound:.2f}")


if __name__ == "__main__":
    main()
