"""What a run leaves: its encoder with its provenance, and what else a technique exports."""

import json
import platform
import shlex
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from zoo.io.encoder import save_encoder
from zoo.networks.encoder import Encoder

Rows = list[tuple[str, str]]


def training_summary(module: Any) -> str:
    """A module's own summary of what is trained, or else its number of parameters."""
    count = sum(p.numel() for p in module.parameters() if p.requires_grad)
    return str(getattr(module, "training_summary", f"{count:,} parameters"))


def provenance(config: Any, trainer: pl.Trainer, prog: str, best: str, metrics: dict[str, Any]) -> dict[str, Any]:
    """An encoder's provenance, in plain values.

    Args:
        config: Configuration of the subcommand.
        trainer: Trainer that trained it.
        prog: Name of the program.
        best: Path of the best checkpoint, or "".
        metrics: Metrics of the test.
    """
    data = json.loads(json.dumps(config.data.as_dict(), default=str)) if config.get("data") else None
    versions = {"python": platform.python_version(), "torch": torch.__version__, "lightning": pl.__version__}
    return {
        "module": config.model.class_path,
        "data": data,
        "seed": config.seed_everything,
        "checkpoint": best,
        "epochs": trainer.current_epoch,
        "steps": trainer.global_step,
        "test": metrics,
        "command": f"{prog} {shlex.join(sys.argv[1:])}",
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": versions,
    }


def export(module: Any, folder: Path, origin: dict[str, Any]) -> Rows:
    """Write a trained module's results: its encoder, and what the technique itself exports.

    Args:
        module: Trained module.
        folder: Folder of the run.
        origin: Provenance of the encoder.

    Returns:
        Rows of name and path.
    """
    rows: Rows = []
    encoder = getattr(module, "encoder", None)
    if isinstance(encoder, Encoder) and encoder.spec is not None:
        save_encoder(encoder, folder / "encoder", origin)
        rows.append(("encoder", f"{folder}/encoder/"))
    own = getattr(module, "export_artifacts", None)
    return rows + (list(own(folder)) if callable(own) else [])
