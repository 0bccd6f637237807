"""What this project's command line gives Lightning's Trainer beside the user's options."""

import math
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins.io import CheckpointIO
from lightning.pytorch.profilers import Profiler
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from zoo.core.checkpoint import AtomicCheckpointIO

_MOST_DEVICES = 10_000
_LEAST = {  # of options that count; Lightning divides by some of them, and takes others for what they are not
    **dict.fromkeys(("log_every_n_steps", "accumulate_grad_batches", "check_val_every_n_epoch", "num_nodes"), 1),
    **dict.fromkeys(("max_epochs", "max_steps", "num_sanity_val_steps"), -1),
    **dict.fromkeys(("min_epochs", "min_steps", "reload_dataloaders_every_n_epochs", "gradient_clip_val"), 0),
    **dict.fromkeys(("fast_dev_run", "overfit_batches", "val_check_interval"), 0),
    **{f"limit_{stage}_batches": 0 for stage in ("train", "val", "test", "predict")},
}


def check_options(trainer: Any) -> None:
    """Refuse numbers for the Trainer that lead nowhere.

    Args:
        trainer: Options of the Trainer by name.

    Raises:
        ValueError: one is out of range, or not finite.
    """
    for name, least in _LEAST.items():
        value = trainer.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and not least <= value < math.inf:
            unlimited = "; -1 is no limit" if least == -1 and name.startswith("max_") else ""
            raise ValueError(f"`trainer.{name}` must be {least} or more{unlimited}; got {value}")
    if trainer.get("val_check_interval") == 0:
        raise ValueError(
            "`trainer.val_check_interval` must be more than 0: a number of batches, or a share of an epoch"
        )
    _check_devices(trainer.get("devices", "auto"))


def _check_devices(devices: Any) -> None:
    """A number, -1, indices or "auto"; Lightning makes a list as long as the number before it asks for more."""
    number = str(devices).strip()
    indices = devices if isinstance(devices, list | tuple) else number.split(",") if "," in number else None
    if indices is not None:
        right = bool(indices) and all(str(index).strip().isdecimal() for index in indices if str(index).strip())
    else:
        right = number in ("auto", "-1") or (number.isdecimal() and 0 < int(number) <= _MOST_DEVICES)
    if not right:
        told = "a number of devices, 1 or more, indices such as 0,1, -1 for all, or auto"
        raise ValueError(f"`trainer.devices` is {told}; got {devices!r}")


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Errors of the Trainer's constructor that are the user's to mend, as errors of one line.

    Raises:
        ValueError: devices that a CPU does not have, a library that is missing, no GPU.
    """
    try:
        yield
    except TypeError as error:
        if "`devices`" not in str(error):
            raise
        raise ValueError("`trainer.devices` is a number of processes, 1 or more, where there is no GPU") from error
    except ImportError as error:
        raise ValueError(f"an option of the Trainer needs a library that is not installed: {error}") from error
    except MisconfigurationException as error:
        if "No supported gpu backend" not in str(error):
            raise
        raise ValueError("`trainer.accelerator` gpu: torch finds no GPU here; leave it out, or give cpu") from error


def all_of(value: Any) -> list[Any]:
    """An option that may be one thing, several or none, as a list."""
    return list(value) if isinstance(value, list | tuple) else [] if value in (None, True, False) else [value]


def loggers(option: Any, folder: Path) -> dict[str, Any]:
    """Arguments for the Trainer that let the run's folder have all the run's files, whoever logs beside.

    Args:
        option: The user's loggers: one, several, True or None for none in particular, False for none at all.
        folder: Folder of the run.
    """
    if option is False:
        return {"default_root_dir": folder}
    own = RunLogger(folder.parent.parent, folder.parent.name, folder.name)
    return {"logger": [*all_of(option), own], "default_root_dir": folder}


def plugins(option: Any) -> list[Any]:
    """The user's plugins, with one that writes checkpoints atomically unless one of them writes them."""
    own = all_of(option)
    return own if any(isinstance(plugin, CheckpointIO) for plugin in own) else [*own, AtomicCheckpointIO()]


class RunLogger(CSVLogger):
    """``metrics.csv``, and ``hparams.yaml`` in plain values, which every reader of YAML can read."""

    def log_hyperparams(self, params: Any = None) -> None:
        """Keep the hyperparameters, tuples as lists."""
        super().log_hyperparams(_plain(vars(params) if isinstance(params, Namespace) else params or {}))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(each) for each in value]
    return value if value is None or type(value) in (bool, int, float, str) else str(value)


class NoProfiler(Profiler):
    """Measures nothing; Lightning's own pass-through profiler creates some thirty generators a step."""

    _nothing = nullcontext()

    def start(self, action_name: str) -> None:
        """Does nothing."""

    def stop(self, action_name: str) -> None:
        """Does nothing."""

    def profile(self, action_name: str) -> Any:
        """A context that does nothing."""
        return self._nothing
