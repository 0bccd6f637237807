"""Caching a teacher's outputs per sample and augmentation on disk: computed once, for any number of students."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from zoo.core.atomic import atomic_write

log = logging.getLogger(__name__)

_PLURAL = ("data", "outputs")
_FITS_ON_DEVICE = 2 * 2**30  # bytes: more than this stays on the disk, and is read batch by batch


class _View(NamedTuple):
    """``rows`` (N,) long, a sample's row or -1 where it has none; ``outputs`` by name, one row per sample."""

    rows: Tensor
    outputs: dict[str, Tensor]


class TeacherCache:
    """A frozen network's outputs for each training sample, in each of its augmentations ("views").

    A folder holds ``view-000-0-of-1.safetensors`` and so on: for each view and process the samples' indices (``index``)
    and outputs by name, with the fingerprint of the settings that determine them. Each file is written atomically, and
    read through a memory map, or held on the device if that is not the CPU and they fit.

    A view is recorded during the epoch that shows it, and complete once each sample was seen. Augmented samples repeat
    only for the same process in the same epoch of an augmentation round; others are always the same, and all processes'
    files are read as one.

    Args:
        folder: Folder of the files, which is created when the first view is written.
        fingerprint: Settings that determine the outputs, in plain values. Files with others are refused.
        samples: Number of training samples, N.
        augmented: Whether views differ.
        rank: Rank of this process.
        world_size: Number of processes.
        device: Device of the outputs.

    Raises:
        ValueError: the folder holds outputs that were made with other settings; names these.
    """

    def __init__(
        self,
        folder: str | Path,
        fingerprint: Mapping[str, Any],
        samples: int,
        augmented: bool = False,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        self.folder, self.samples, self.augmented = Path(folder), samples, augmented
        self.rank, self.world_size, self.device = rank, world_size, torch.device(device)
        self.fingerprint = json.loads(json.dumps(fingerprint))  # as it is read again
        self._known: dict[int, _View] = {}
        self._new: list[tuple[Tensor, dict[str, Tensor]]] = []
        self._asked: int | None = None
        self._damaged: set[Path] = set()  # files that are as if they were not there, until they are written anew
        for path in sorted(self.folder.glob("view-*.safetensors")):
            self._check(path)

    def _check(self, path: Path) -> None:
        try:
            with safe_open(path, "pt") as file:
                theirs = dict(json.loads((file.metadata() or {})["fingerprint"]))
        except (SafetensorError, KeyError, TypeError, ValueError, OSError, RecursionError) as error:
            log.warning("%s is damaged (%s): the teacher's outputs in it are computed anew", path, str(error)[:100])
            self._damaged.add(path)
            return
        names = [*self.fingerprint, *(name for name in theirs if name not in self.fingerprint)]
        if other := [name for name in names if theirs.get(name) != self.fingerprint.get(name)]:
            differ = " and ".join(f"{'other' if name in _PLURAL else 'another'} {name}" for name in other)
            raise ValueError(
                f"the teacher's outputs in {self.folder} were made with {differ}: delete them, or name another folder"
            )

    def has(self, view: int) -> bool:
        """Whether a view is complete; the disk is read only when a view begins."""
        if view not in self._known and view != self._asked:
            self._asked = view
            if (found := self._read(view)) is not None:
                self._known[view] = found
        return view in self._known

    def lookup(self, view: int, index: Tensor) -> dict[str, Tensor]:
        """Outputs {name: (B, ...)} for samples ``index`` (B,) long of a complete view."""
        rows, outputs = self._known[view]
        places = rows.index_select(0, index.to(rows.device))
        return {name: kept.index_select(0, places).to(index.device) for name, kept in outputs.items()}

    def record(self, index: Tensor, outputs: dict[str, Tensor]) -> None:
        """Keep a batch's outputs {name: (B, ...)} of samples ``index`` (B,) long; nothing is copied off the device."""
        self._new.append((index, {name: output.detach() for name, output in outputs.items()}))

    def finish(self, view: int) -> bool:
        """Write what was recorded of a view and return True if it is this process's whole share; drop the records."""
        recorded, self._new, self._asked = self._new, [], None
        index = torch.cat([i for i, _ in recorded]).cpu() if recorded else torch.empty(0, dtype=torch.long)
        if len(index.unique()) < min(self.samples, -(-self.samples // self.world_size)):
            return False
        names = recorded[0][1]
        outputs = {name: torch.cat([o[name] for _, o in recorded]).cpu().contiguous() for name in names}
        path = self.folder / f"view-{view:03}-{self.rank}-of-{self.world_size}.safetensors"
        metadata = {"fingerprint": json.dumps(self.fingerprint)}
        try:
            atomic_write(path, lambda tmp_path: save_file({"index": index, **outputs}, tmp_path, metadata))
        except (OSError, SafetensorError) as error:
            raise OSError(f"could not write the teacher's outputs, {path} ({error}): name another folder") from error
        self._damaged.discard(path)
        return True

    def _read(self, view: int) -> _View | None:
        mine = f"{self.rank}-of-{self.world_size}" if self.augmented else "*"
        paths = sorted(set(self.folder.glob(f"view-{view:03}-{mine}.safetensors")) - self._damaged)
        if not paths:
            return None
        try:
            parts = [load_file(path) for path in paths]
            index = torch.cat([part.pop("index") for part in parts])
            rows = torch.full((self.samples,), -1).index_put_((index,), torch.arange(len(index)))
        except (SafetensorError, OSError, KeyError, IndexError, RuntimeError) as error:
            log.warning("%s is damaged (%s): a view is computed anew", paths[0], str(error)[:100])
            return None
        if not self.augmented and (rows < 0).any():
            return None  # a process's file is missing
        first = parts[0]
        outputs = first if len(parts) == 1 else {name: torch.cat([part[name] for part in parts]) for name in first}
        if self.device.type != "cpu" and sum(output.nbytes for output in outputs.values()) <= _FITS_ON_DEVICE:
            return _View(rows.to(self.device), {name: output.to(self.device) for name, output in outputs.items()})
        return _View(rows, outputs)
