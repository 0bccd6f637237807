"""Checkpoints that name the module they belong to, and are read without executing code in them."""

import inspect
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, ClassVar

import lightning.pytorch as pl
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from zoo.core.archive import check_state, load_archive
from zoo.core.atomic import atomic_write
from zoo.core.network_size import check_network_size
from zoo.core.renamed import RenamedOptions, renamed_options, without_foreign_options

FORMAT = 2  # of a checkpoint's metadata, beside Lightning's own; 1 had no ``head``
# Types of what a checkpoint may have: Lightning's entries, and those of its metadata.
_FIELDS: dict[str, Any] = {
    "hyper_parameters": Mapping,
    "zoo": dict,
    "loops": dict,
    "callbacks": dict,
    "optimizer_states": list,
    "lr_schedulers": list,
    "epoch": int,
    "global_step": int,
}
_METADATA: dict[str, Any] = {
    "format": int,
    "seed": int,
    "classes": list,
    "objects": list,
    "encoder": dict | NoneType,
    "head": dict | NoneType,
}
_NOT_OWNERS = ("zoo.core.", "zoo.base.", "zoo.gradient_free.")  # shared base classes


def class_paths(module: pl.LightningModule) -> list[str]:
    """Import paths of the module's class and its parents, up to ``LightningModule``, which is left out."""
    classes = type(module).__mro__
    return [f"{c.__module__}.{c.__qualname__}" for c in classes[: classes.index(pl.LightningModule)]]


def owners(classes: type | Sequence[str]) -> set[str]:
    """Of a module's class, or of a checkpoint's classes, those by which a checkpoint is told to be its own."""
    paths = [f"{c.__module__}.{c.__qualname__}" for c in classes.__mro__] if isinstance(classes, type) else classes
    return {path for path in paths if not path.startswith((*_NOT_OWNERS, "lightning.", "torch.", "builtins.", "abc."))}


def checkpoint_metadata(module: pl.LightningModule) -> dict[str, Any]:
    """A checkpoint's metadata about its module, in plain values.

    Its ``classes``; ``objects``, the arguments that cannot be saved; and, to rebuild them without the module,
    ``encoder``, the configuration of an encoder made by spec, and ``head``, that of a head on its features (see
    ``SupervisedModule.head_config``).
    """
    parameters = list(inspect.signature(type(module).__init__).parameters.values())[1:]  # without self
    arguments = [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]
    encoder: Any = getattr(module, "encoder", None)
    by_spec = getattr(encoder, "spec", None) is not None
    head_config: Any = getattr(module, "head_config", None)
    return {
        "format": FORMAT,
        "classes": class_paths(module),
        "objects": [name for name in arguments if name not in module.hparams],
        "encoder": encoder.get_config() if by_spec else None,
        "head": head_config() if callable(head_config) else None,
    }


def head_config(checkpoint: dict[str, Any]) -> dict[str, Any] | None:
    """The ``head`` of a checkpoint's metadata, also of a checkpoint older than this entry; None without a head."""
    metadata, options = checkpoint.get("zoo", {}), checkpoint.get("hyper_parameters", {})
    if "head" in metadata or "task" not in options:
        return metadata.get("head")
    names = list(options.get("class_names") or [])
    return {"task": options["task"], "class_names": names, "wise_ft": options.get("wise_ft", 1.0)}


def add_metadata(checkpoint: dict[str, Any], module: pl.LightningModule, seed: int) -> None:
    """Add the module's metadata, seed and position in the epoch to a checkpoint before it is saved."""
    checkpoint["zoo"] = {"seed": seed, **checkpoint_metadata(module)}
    drop_fixed_options(checkpoint, module)
    _keep_epoch_open(checkpoint, module)


def drop_fixed_options(checkpoint: dict[str, Any], module: pl.LightningModule) -> None:
    """Remove from a checkpoint's hyperparameters those that a user's subclass fixes for its parent.

    ``def __init__(self, **options): super().__init__(variant="denoising", **options)`` takes no ``variant``, and would
    be given it when the checkpoint is loaded or its run resumed.
    """
    owner = next(base for base in type(module).__mro__ if "__init__" in vars(base))
    if owner.__module__.startswith("zoo."):
        return
    own = inspect.signature(vars(owner)["__init__"]).parameters
    passes_on = any(p.kind is p.VAR_KEYWORD for p in own.values())
    given: frozenset[str] = getattr(module, "_given_options", frozenset())
    initial: Any = module.hparams_initial
    for name in set(checkpoint.get("hyper_parameters", {})) - set(own) - given:
        if not passes_on or initial.get(name) != _default(type(module), name):
            del checkpoint["hyper_parameters"][name]


def _default(cls: type, name: str) -> Any:
    """The default of a constructor argument, of the nearest parent that has it."""
    for base in cls.__mro__:
        found = inspect.signature(vars(base)["__init__"]).parameters if "__init__" in vars(base) else {}
        if name in found:
            return found[name].default
    return inspect.Parameter.empty


def _keep_epoch_open(checkpoint: dict[str, Any], module: pl.LightningModule) -> None:
    """An epoch that ``max_steps`` ends early is over for Lightning, which yet keeps the position within it: a resumed
    run would leave out the rest of that epoch and as much of the next one.
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
    """Refuse a checkpoint of another technique, of a later version, or made with an object that is not given now.

    Raises:
        ValueError: in these cases, naming both sides.
    """
    origin = {"classes": [], "objects": [], **checkpoint.get("zoo", {})}
    if origin.get("format", 1) > FORMAT:
        raise ValueError(f"this checkpoint has format {origin['format']}, of a later version of pretraining-zoo")
    if not owners(origin["classes"]) & owners(type(module)):
        owner = origin["classes"][0].rpartition(".")[2] if origin["classes"] else "another program"
        raise ValueError(f"this checkpoint was written by {owner}, not by {type(module).__name__}")
    for name in set(origin["objects"]) & set(module.hparams):
        raise ValueError(f"this checkpoint was made with an object as {name!r}; load it with {name}=<that object>")


def read_renamed_options(cls: type, path: Any) -> dict[str, Any]:
    """Options of a checkpoint's module that have other names now, by these; {} where it has none or is not a file."""
    renamed = renamed_options(cls)
    if not renamed or not isinstance(path, str | Path) or not Path(path).is_file():
        return {}
    saved = read_checkpoint(path).get("hyper_parameters", {})
    return {new: saved[old] for old, new in renamed.items() if new and old in saved and new not in saved}


def rename_tensors(checkpoint: dict[str, Any], renamed: Mapping[str, str]) -> None:
    """Give tensors of an older checkpoint their present names.

    Args:
        checkpoint: Checkpoint, which is changed in place.
        renamed: Prefixes of names, old to new.
    """
    state = checkpoint.get("state_dict", {})
    for old, new in renamed.items():
        for name in [name for name in state if name.startswith(old)]:
            state[new + name.removeprefix(old)] = state.pop(name)


def checkpoint_in(path: str | Path, resume: bool = False) -> Path:
    """The checkpoint in a run's folder, its best one, or the last where it has no best; other paths as they are.

    Args:
        path: Folder of a run, or any other path.
        resume: Whether to go on from it: then the newest of those to resume from.
    """
    folder = Path(path) / "checkpoints"
    names = ("interrupted.ckpt", "last.ckpt", "best.ckpt") if resume else ("best.ckpt", "last.ckpt", "interrupted.ckpt")
    found = [folder / name for name in names if (folder / name).is_file()]
    if resume and found:
        return max(found, key=lambda file: file.stat().st_mtime)
    return found[0] if found else Path(path)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint's tensors and plain values onto the CPU; nothing in it is executed.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no checkpoint, is damaged, or holds more than tensors and plain values.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    checkpoint = load_archive(path)
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise ValueError(f"{path} is not a Lightning checkpoint: it has no state_dict")
    check_state(path, checkpoint["state_dict"])
    _check_fields(path, checkpoint, _FIELDS)
    _check_fields(path, checkpoint.get("zoo", {}), _METADATA)
    return checkpoint


def _check_fields(path: str | Path, found: dict[str, Any], types: dict[str, Any]) -> None:
    for name, wanted in types.items():
        if name in found and not isinstance(found[name], wanted):
            raise ValueError(f"{path} is damaged: its {name} is of type {type(found[name]).__name__}")
        if (
            isinstance(found.get(name), list)
            and types is _METADATA
            and not all(isinstance(x, str) for x in found[name])
        ):
            raise ValueError(f"{path} is damaged: its {name} are no names")


class CheckpointedModule(pl.LightningModule, metaclass=RenamedOptions):
    """A module whose checkpoints hold its class and seed, and which loads older ones, with options and tensors that
    were renamed since."""

    renamed: ClassVar[dict[str, str]] = {}  # options, old name to new
    renamed_methods: ClassVar[dict[str, str]] = {}  # old name to new: both work
    renamed_tensors: ClassVar[dict[str, str]] = {}  # prefixes of names in the state, old to new

    def __init__(self) -> None:
        super().__init__()
        self._seed = torch.initial_seed() % 2**31

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        add_metadata(checkpoint, self, self._seed)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        validate_checkpoint_owner(self, checkpoint)
        rename_tensors(checkpoint, self.renamed_tensors)
        self._seed = checkpoint["zoo"].get("seed", self._seed)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for old, new in cls.renamed_methods.items():
            if "renamed_methods" in vars(cls):
                setattr(cls, old, getattr(cls, new))
            elif old in vars(cls) and new not in vars(cls):  # a subclass that still defines a method by its old name
                setattr(cls, new, vars(cls)[old])

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **options: Any) -> Any:
        """Lightning's method, but no code in the file is executed, and none of its sizes believed.

        Raises:
            ValueError, TypeError: the file is damaged, or its options are none of the module's; names it.
        """
        local = isinstance(checkpoint_path, str | Path) and "://" not in str(checkpoint_path)
        if local:
            check_network_size(checkpoint_path, read_checkpoint(checkpoint_path), cls, options)
        options = {**read_renamed_options(cls, checkpoint_path), "weights_only": True, **options}
        with without_foreign_options():
            try:
                return super().load_from_checkpoint(checkpoint_path, *args, **options)
            except (ValueError, TypeError) as error:
                if not local or str(checkpoint_path) in str(error):
                    raise
                kind = TypeError if isinstance(error, TypeError) else ValueError  # others take more than a message
                raise kind(f"{checkpoint_path}: {error}") from error


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are written atomically, and read without executing code in them.

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
