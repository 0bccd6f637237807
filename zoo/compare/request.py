"""What was asked of a comparison, as plain values."""

from pathlib import Path
from typing import Any, NamedTuple


class Asked(NamedTuple):
    """A technique that was asked for.

    Args:
        name: Name as it was typed.
        path: Import path of a module; "" of weights.
        options: Options of the module.
        weights: An exported encoder's folder, a checkpoint, or a library's network.
    """

    name: str
    path: str = ""
    options: dict[str, Any] = {}  # noqa: RUF012
    weights: str = ""


class Request(NamedTuple):
    """What was asked for.

    Args:
        data: Import path of the datamodule.
        data_options: Its options.
        techniques: What is compared.
        labels: Labels a class, ascending.
        seeds: Number of seeds, at most.
        first_seeds: Number of seeds after which it may end; 0 is only after all.
        pretrainings: Number of pretrainings of a technique; 0 is one for each seed.
        budget: Seconds of each pretraining.
        steps: Optimiser steps of each pretraining in place of the budget; 0 measures how many fit into it.
        tuning_steps: Steps of each fine-tuning.
        network: Spec of the common network; None is the usual one, and every technique's own.
        worth: The smallest gain worth having, in points.
        jobs: Number of processes.
        precision: Precision of all trainings.
        out: Folder.
    """

    data: str
    data_options: dict[str, Any]
    techniques: tuple[Asked, ...]
    labels: tuple[int, ...] = (1, 10, 100)
    seeds: int = 5
    first_seeds: int = 0
    pretrainings: int = 0
    budget: float = 180.0
    steps: int = 0
    tuning_steps: int = 600
    network: str | dict[str, Any] | None = None
    worth: float = 1.0
    jobs: int = 1
    precision: str = "32-true"
    out: Path = Path("compared")
