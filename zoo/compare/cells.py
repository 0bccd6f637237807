"""Cells: single trainings of a comparison, each with a file that is written whole or not at all."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from zoo.core.atomic import atomic_write

Stage = Literal["val", "test"]


class Cell(NamedTuple):
    """One training: a pretraining, or what is learned from labels with a source of features.

    Args:
        source: Name of a technique; or what needs no pretraining: ``UNTRAINED``, ``PIXELS`` or ``PCA``.
        mode: "pretrain"; "probe", "full" or "lp_ft"; "longer", which is "full" with pretraining's time added; "knn".
        rate: Learning rate of ``full``, ``longer`` and ``lp_ft``; otherwise 0.
        labels: Labels a class; 0 of a pretraining.
        seed: Seed of the labels, the head and the order; of a pretraining, its own.
        network: JSON of an untrained network's spec; "" where the source has one.
    """

    source: str
    mode: str
    rate: float = 0.0
    labels: int = 0
    seed: int = 0
    network: str = ""

    @property
    def name(self) -> str:
        """Name of its file, without the ending."""
        parts = [self.source, self.network, self.mode, f"{self.rate:g}" if self.rate else ""]
        parts += [f"{self.labels}labels"] if self.labels else []
        return "-".join([slug(part) for part in parts if part] + [f"seed{self.seed}"])


UNTRAINED, PIXELS, PCA = "untrained", "pixels", "pca_of_pixels"  # sources that need no pretraining


_LONGEST = 60  # of a slug, so that a file's name stays below 255


def slug(text: str) -> str:
    """A text as part of a file's name; with a digest where it is changed, so that no two texts share a file."""
    plain = re.sub(r"[^A-Za-z0-9_.]+", "_", text).strip("_")
    if plain == text.strip('"') and len(plain) <= _LONGEST:
        return plain
    return f"{plain[:_LONGEST]}_{hashlib.sha256(text.encode()).hexdigest()[:8]}"


class Folder(NamedTuple):
    """Where a comparison is kept."""

    root: Path

    @property
    def plan(self) -> Path:
        """The plan's file."""
        return self.root / "plan.json"

    def result(self, cell: Cell) -> Path:
        """The file of a cell's result."""
        return self.root / "cells" / f"{cell.name}.json"

    def failure(self, cell: Cell) -> Path:
        """The file of a failed cell's traceback."""
        return self.root / "cells" / f"{cell.name}.failed.txt"

    def encoder(self, technique: str, seed: int) -> Path:
        """The folder of a pretrained encoder."""
        return self.root / "pretrained" / f"{slug(technique)}-seed{seed}"

    def read(self, cell: Cell) -> dict[str, Any] | None:
        """A cell's result; None where there is none.

        Raises:
            ValueError: the file is damaged.
        """
        path = self.result(cell)
        try:
            return dict(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, OSError) as error:
            raise ValueError(f"{path} cannot be read: delete it, and it is made again") from error

    def write(self, cell: Cell, result: dict[str, Any]) -> None:
        """Write a cell's result, whole or not at all."""
        self.failure(cell).unlink(missing_ok=True)
        text = json.dumps({"cell": cell._asdict(), **result}, indent=1) + "\n"
        atomic_write(self.result(cell), lambda path: Path(path).write_text(text, encoding="utf-8"))


def pack_bits(right: Tensor) -> str:
    """Whether each of N samples was right, (N,) bool, as hexadecimal text: eight samples a byte, the first highest."""
    padded = torch.nn.functional.pad(right.cpu().to(torch.uint8), (0, -len(right) % 8)).view(-1, 8)
    powers = torch.tensor([128, 64, 32, 16, 8, 4, 2, 1], dtype=torch.uint8)
    return bytes((padded * powers).sum(1, dtype=torch.uint8).tolist()).hex()


def unpack_bits(text: str, count: int) -> Tensor:
    """The (N,) bool of ``pack_bits``.

    >>> unpack_bits(pack_bits(torch.tensor([True, False, True])), 3)
    tensor([ True, False,  True])
    """
    packed = torch.tensor(list(bytes.fromhex(text)), dtype=torch.uint8)
    shifts = torch.arange(7, -1, -1, dtype=torch.uint8)
    return ((packed[:, None] >> shifts) & 1).flatten()[:count].bool()
