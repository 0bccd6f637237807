"""Metrics by step, kept for the report where no logger writes a table of them."""

import csv
from argparse import Namespace
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger

from callbacks.run.run_files import HISTORY
from zoo.core.atomic import atomic_write


class History(Logger):
    """Keeps what is logged and writes ``history.csv`` when asked to, in the format of Lightning's ``metrics.csv``."""

    name, version = "history", 0

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[dict[str, float]] = []

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Keep a row."""
        self._rows.append({"step": step or 0, **metrics})

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: the report takes them from the configuration."""

    def write(self, folder: Path) -> None:
        """Write all rows."""
        names = dict.fromkeys(name for row in self._rows for name in row)

        def fill(path: str) -> None:
            with Path(path).open("w", newline="", encoding="utf-8") as file:
                table = csv.DictWriter(file, list(names))
                table.writeheader()
                table.writerows(self._rows)

        atomic_write(folder / HISTORY, fill)
