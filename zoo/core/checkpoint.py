"""Checkpoints that know which module they belong to, and are read without running what is in them."""

import inspect
import pickle
import shutil
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from zoo.core.atomic import atomic_write


def class_paths(module: pl.LightningModule) -> list[str]:
    """Import paths of the module's class and of its parents down to, not including, ``LightningModule`` itself."""
    classes = type(module).__mro__
    return [f"{c.__module__}.{c.__qualname__}" for c in classes[: classes.index(pl.LightningModule)]]


def checkpoint_metadata(module: pl.LightningModule) -> dict[str, Any]:
    """What a checkpoint says of its owner: its classes, the arguments that no checkpoint can hold (objects), and, where
    it has an encoder by spec, what that is: others can then rebuild it without the module."""
    parameters = list(inspect.signature(type(module).__init__).parameters.values())[1:]  # without self
    arguments = [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]
    encoder: Any = getattr(module, "encoder", None)
    described = encoder.get_config() if getattr(encoder, "spec", None) is not None else None
    objects = [name for name in arguments if name not in module.hparams]
    return {"classes": class_paths(module), "objects": objects, "encoder": described}


def add_metadata(checkpoint: dict[str, Any], module: pl.LightningModule, seed: int) -> None:
    """Add to a checkpoint, before it is saved, whose it is, and where to go on."""
    checkpoint["zoo"] = {"seed": seed, **checkpoint_metadata(module)}
    _keep_epoch_open(checkpoint, module)


def _keep_epoch_open(checkpoint: dict[str, Any], module: pl.LightningModule) -> None:
    """An epoch that ``max_steps`` ends early is over for Lightning, which yet keeps the place within it: a resumed run
    would leave out the rest of that epoch and as much of the next one.
    """
    loop: dict[str, Any] = checkpoint.get("loops", {}).get("fit_loop", {})
    done: dict[str, Any] = loop.get("epoch_loop.batch_progress", {"is_last_batch": True})
    if done["is_last_batch"] or not done["current"]["ready"]:
        return
    if done["current"]["ready"] < module.trainer.num_training_batches:
        for count in loop["epoch_progress"].values():
            count["processed"] = count["completed"] = count["ready"] - 1
        checkpoint["epoch"] = loop["epoch_progress"]["current"]["completed"]


def validate_checkpoint_owner(module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
    """Refuse a checkpoint of another technique, or one that was made with an object not given now.

    Raises:
        ValueError: in both cases, naming both sides.
    """
    origin = checkpoint.get("zoo", {"classes": [], "objects": []})
    shared = set(origin["classes"]) & set(class_paths(module)) - {"zoo.core.base.ZooModule"}
    if not shared:
        owner = origin["classes"][0].rpartition(".")[2] if origin["classes"] else "another program"
        raise ValueError(f"this checkpoint was written by {owner}, not by {type(module).__name__}")
    for name in set(origin["objects"]) & set(module.hparams):
        raise ValueError(f"this checkpoint was made with an object as {name!r}; load it with {name}=<that object>")


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint's tensors and plain values onto the CPU; nothing in it is executed.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no checkpoint, is damaged, or holds more than tensors and plain values.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path} is not loaded: it is no checkpoint, or holds objects that would run code") from error
    except Exception as error:  # what is no pickle makes the reader stumble in many ways
        raise ValueError(f"{path} is damaged or no checkpoint: {error}".strip().partition("\n")[0]) from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise ValueError(f"{path} is not a Lightning checkpoint: it has no state_dict")
    return checkpoint


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are whole or not there, and that are read without running what is in them.

    Lightning's own writes to the system's temporary folder first, which may be on another disk: a copy, not a rename.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        try:
            atomic_write(path, lambda tmp_path: torch.save(checkpoint, tmp_path))
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
            free = shutil.disk_usage(Path(path).parent).free // 10**6
            reason = f"{free} MB are free on its disk: {str(error).partition(chr(10))[0]}"
            raise OSError(f"could not write {path} ({reason}); what was saved before is untouched") from error

    def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        if "://" in str(path):
            return super().load_checkpoint(path, *args, **{**kwargs, "weights_only": True})
        return read_checkpoint(path)
