"""Joint-embedding methods with their defaults: how good are the features after some seconds, is a collapse reported?

    python benchmarks/contrastive.py methods --root data --seconds 360 [--only simclr vicreg] [--data cifar10]
    python benchmarks/contrastive.py collapses --root data
    python benchmarks/contrastive.py sigreg
    python benchmarks/contrastive.py peer --root data      (needs lightly)

``methods``: each method for so many seconds of the processor, all threads together (the schedule's end is measured
first), batches of 64 and 256, on Fashion-MNIST and CIFAR-10 (or the part of it under ``--root``). Features of the test
images: linear probe and 10 nearest neighbours on 10,000 training images, probe on 10 labels a class (mean of five
choices), effective rank; beside the untrained network.
``collapses``: five that are provoked, and each method's defaults with three seeds, which must raise no alarm.
``sigreg``: the share of a LeJEPA step that its regulariser takes.
``peer``: SimCLR on 10,000 images of Fashion-MNIST for 10 epochs, from start to the neighbours of the test images,
beside lightly's example for Lightning with the same network and head, and its transform of each PIL image.
"""

import argparse
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from timing import header, interleaved
from torch import Tensor

QUIET = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
WARM_UP = 10  # steps, of which the second half is timed


def data_of(name: str, root: str, batch_size: int) -> Any:
    """A data set, read."""
    from datamodules.images import CIFAR10, FashionMNIST

    data = {"fashion_mnist": FashionMNIST, "cifar10": CIFAR10}[name](root, batch_size=batch_size)
    data.prepare_data()
    data.setup()
    return data


def module_of(data: Any, **options: Any) -> Any:
    """A module for the data, with its defaults but for the options."""
    from zoo import ContrastiveModule

    pl.seed_everything(options.pop("seed", 0), verbose=False)
    return ContrastiveModule(data.input_shape, mirrored=data.mirrored, **options)


def fit(module: Any, data: Any, **options: Any) -> pl.Trainer:
    """Train without validation."""
    trainer = pl.Trainer(accelerator="cpu", limit_val_batches=0, **QUIET, **options)
    trainer.fit(module, data)
    return trainer


def steps_within(seconds: float, data: Any, **options: Any) -> int:
    """Steps that fit into so many seconds of the processor, of all threads, measured on a few."""
    times: list[float] = []

    class Clock(pl.Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            times.append(time.process_time())

    fit(module_of(data, **options), data, max_steps=WARM_UP, callbacks=[Clock()])
    return max(1, round(seconds * (WARM_UP // 2) / (times[-1] - times[WARM_UP // 2 - 1])))


@torch.no_grad()
def scores(module: Any, data: Any) -> str:
    """Probe, neighbours, probe of 100 labels, and effective rank, of the test images."""
    from datamodules.label_budget import subsample_labels
    from zoo.functional.features import knn_correct, probe_correct, rank_me

    def features(images: Tensor) -> Tensor:
        return torch.cat([module.eval().encode(some.float() / 255) for some in images.split(500)])

    (train, labels), (test, truth) = data.splits["train"], data.splits["test"]
    train, labels = features(train[:10_000]), labels[:10_000]
    test = features(test)

    def percent(correct: Tensor) -> float:
        return 100 * correct.float().mean().item()

    few = []
    for seed in range(5):
        known = (subsample_labels(labels, 10, seed) >= 0).nonzero().squeeze(1)
        few.append(percent(probe_correct(train[known], labels[known], test, truth)))
    probe, knn = (percent(f(train, labels, test, truth)) for f in (probe_correct, knn_correct))
    return f"probe {probe:.1f}  knn {knn:.1f}  10 labels {sum(few) / 5:.1f}  rank {rank_me(test):.0f}"


def methods(options: argparse.Namespace) -> None:
    """A line for each method, batch size and data set."""
    from zoo.functional.contrastive_methods import METHODS

    print(header(), f"{torch.get_num_threads()} threads, {options.seconds:g} s each")
    for name in options.data:
        print(
            f"{name}: untrained  {scores(module_of(data_of(name, options.root, 64)), data_of(name, options.root, 64))}"
        )
        for batch_size in options.batches:
            data = data_of(name, options.root, batch_size)
            for method in options.only or METHODS:
                steps = steps_within(options.seconds, data, method=method)
                module, start = module_of(data, method=method), time.process_time()
                fit(module, data, max_steps=steps, max_epochs=-1)
                spent = time.process_time() - start
                print(
                    f"{name} batch {batch_size} {method:8s} {scores(module, data)}  steps {steps} in {spent:.0f} s",
                    flush=True,
                )


class Alarms(logging.Handler):
    """What was warned of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if "the embeddings have" in record.getMessage():
            self.texts.append(record.getMessage())


def provoked() -> dict[str, tuple[dict[str, Any], Callable[[Any], None]]]:
    """Options, and what is done to the module beside them."""
    from zoo.functional import contrastive as losses

    def without(module: Any, **changes: Any) -> None:
        module.method = module.method._replace(**changes)

    def no_variance(m: Any, z: Tensor, t: Tensor, *_: Any) -> tuple[Tensor, dict[str, Tensor]]:
        return losses.vicreg(z, variance=0.0, global_views=len(t)), {}

    def no_centre(m: Any, z: Tensor, t: Tensor, centre: Tensor, _: Any) -> tuple[Tensor, dict[str, Tensor]]:
        return losses.dino(z, t, 0 * centre, m.temperature, m.target_temperature), {}

    return {
        "byol without predictor": ({"method": "byol", "predictor": []}, lambda m: None),
        "simsiam with a gradient of its targets": ({"method": "simsiam"}, lambda m: without(m, stopped=False)),
        "vicreg without variance": ({"method": "vicreg"}, lambda m: without(m, loss=no_variance)),
        "dino without centre": ({"method": "dino"}, lambda m: without(m, loss=no_centre)),
        "simclr at a rate of 10": ({"method": "simclr", "lr": 10.0}, lambda m: None),
    }


def collapses(options: argparse.Namespace) -> None:
    """What is said of each."""
    from callbacks.by_technique.contrastive import EmbeddingCollapse
    from zoo.functional.contrastive_methods import METHODS

    alarms = Alarms()
    logging.getLogger("callbacks.by_technique.contrastive").addHandler(alarms)
    data = data_of("fashion_mnist", options.root, 128)
    right = {f"{m} seed {s}": ({"method": m, "seed": s}, lambda module: None) for m in METHODS for s in range(3)}
    for name, (given, change) in {**provoked(), **right}.items():
        module, before = module_of(data, **given), len(alarms.texts)
        change(module)
        try:
            fit(module, data, max_steps=options.steps, max_epochs=-1, callbacks=[EmbeddingCollapse()])
        except ValueError as error:
            alarms.texts.append(str(error))
        said = alarms.texts[before:]
        print(f"{name}: {said or 'no alarm'}", flush=True)


def sigreg(options: argparse.Namespace) -> None:
    """Seconds of a step of 28 x 28 with the regulariser and without."""
    data, x = type("Data", (), {"input_shape": (1, 28, 28), "mirrored": True}), torch.rand(256, 1, 28, 28)
    module = module_of(data, method="lejepa")
    generator = torch.Generator()

    def step() -> None:
        module.loss({"input": x, "index": torch.arange(256)})[0].backward()

    def regulariser() -> None:
        z = torch.randn(2, 256, 64, requires_grad=True)
        module.method.loss(module.method, z, z, None, generator)[0].backward()

    seconds = interleaved({"step": step, "its loss": regulariser}, options.rounds)
    print(header(), {name: f"{1000 * s:.1f} ms" for name, s in seconds.items()})
    print(f"the loss takes {seconds['its loss'] / seconds['step']:.1%} of a step")


def ours_simclr(data: Any, epochs: int) -> Any:
    """This project's module, trained."""
    module = module_of(data, method="simclr")
    fit(module, data, max_epochs=epochs)
    return module


def lightly_simclr(data: Any, epochs: int) -> Any:
    """lightly's example for PyTorch Lightning, with the same network and width of its head."""
    from lightly.loss import NTXentLoss
    from lightly.models.modules import SimCLRProjectionHead
    from lightly.transforms import SimCLRTransform
    from torch.utils.data import DataLoader, Dataset
    from torchvision.transforms.functional import rgb_to_grayscale, to_pil_image

    from zoo.networks.encoder import Encoder

    images = data.splits["train"].images
    transform = SimCLRTransform(input_size=28, gaussian_blur=0.0, normalize=None)

    class Views(Dataset[Any]):
        def __len__(self) -> int:
            return len(images)

        def __getitem__(self, index: int) -> Any:
            return [rgb_to_grayscale(v) for v in transform(to_pil_image(images[index]).convert("RGB"))]

    class SimCLR(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.encode = Encoder("conv", data.input_shape)
            self.projection_head = SimCLRProjectionHead(self.encode.feature_dim, 512, 128)
            self.criterion = NTXentLoss()

        def training_step(self, batch: Any, batch_index: int) -> Tensor:
            z0, z1 = (self.projection_head(self.encode(view)) for view in batch)
            return self.criterion(z0, z1)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.06)

    pl.seed_everything(0, verbose=False)
    module = SimCLR()
    loader = DataLoader(Views(), batch_size=data.batch_size, shuffle=True, drop_last=True, num_workers=0)
    pl.Trainer(accelerator="cpu", max_epochs=epochs, **QUIET).fit(module, loader)
    return module


def peer(options: argparse.Namespace) -> None:
    """Seconds of the processor and neighbours of both, one after the other."""
    data = data_of("fashion_mnist", options.root, 256)
    data.splits["train"] = type(data.splits["train"])(*(part[:10_000] for part in data.splits["train"]))
    seconds = {}
    for name, train in {"ours": ours_simclr, "lightly": lightly_simclr}.items():
        start = time.process_time()
        found = scores(train(data, 10), data)
        seconds[name] = time.process_time() - start
        print(f"{name}: {found} in {seconds[name]:.0f} s of the processor", flush=True)
    print(f"x {seconds['lightly'] / seconds['ours']:.2f}")


def main() -> None:
    """Run the part that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["methods", "collapses", "sigreg", "peer"])
    parser.add_argument("--root", default="data")
    parser.add_argument("--seconds", type=float, default=360, help="of the processor: 360 are 3 minutes of two cores")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--only", nargs="*", help="methods")
    parser.add_argument("--batches", nargs="*", type=int, default=[64, 256])
    parser.add_argument("--data", nargs="*", default=["fashion_mnist", "cifar10"])
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    {"methods": methods, "collapses": collapses, "sigreg": sigreg, "peer": peer}[options.part](options)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main()
