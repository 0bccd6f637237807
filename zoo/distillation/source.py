"""The source of a teacher's outputs: the teacher itself, or its cached outputs on disk."""

import logging
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from zoo.core.batch import INDEX, require
from zoo.distillation.cache import TeacherCache
from zoo.distillation.teacher import LabelSpace, Teacher, read_teacher

log = logging.getLogger(__name__)


class TeacherSource:
    """A teacher's outputs for training batches; no submodule of the student, so that its checkpoints do not hold it.

    With ``hparams.cache`` they are computed once per sample, or once per sample and epoch of an augmentation round:
    augmentation is a function of the epoch within such a round, of ``augmentation_period`` epochs.

    Args:
        hparams: Hyperparameters of the student: ``teacher`` (``sources``, and ``weights``, a fingerprint, or None),
            ``teacher_weights``, ``input_shape``, ``normalisation``, ``task``, ``num_classes``, ``class_names``,
            ``layers``, ``cache``.
        teacher: Teacher, if it has been read already.
    """

    def __init__(self, hparams: Any, teacher: Teacher | None = None) -> None:
        self._hparams, self._teacher = hparams, teacher
        self._cache: TeacherCache | None = None
        self._signature: dict[str, Any] | None = None  # settings that determine the training inputs
        self._warned = False

    @property
    def teacher(self) -> Teacher:
        """The teacher, read on first access.

        Raises:
            ValueError: it is not the one that the student began with.
        """
        if self._teacher is None:
            hp = self._hparams
            labels = LabelSpace(hp.task, hp.num_classes, list(hp.class_names))
            found = read_teacher(hp.teacher["sources"], hp.input_shape, hp.normalisation, hp.teacher_weights, labels)
            if hp.teacher["weights"] not in (None, found.fingerprint()) and not found.untrained:
                raise ValueError(f"the teacher {hp.teacher['sources']} is not the one this student was trained with")
            self._teacher = found
        return self._teacher

    @property
    def is_read(self) -> bool:
        """Whether the teacher is in memory."""
        return self._teacher is not None

    def forget(self) -> None:
        """Drop the teacher; it is read again on next access."""
        self._teacher = None

    def begin(self, module: Any, needed: list[str]) -> None:
        """Prepare when training starts: get the data's augmentation signature, and open the cache if there is one.

        Args:
            module: Student, attached to its trainer.
            needed: Names of the outputs that its losses need.

        Raises:
            ValueError: the data give no sample indices or no augmentation period; a cache that was made with other
                settings.
        """
        data = getattr(module.trainer, "datamodule", None)
        self._signature = getattr(data, "augmentation_signature", None)
        if self._signature is None and (replay := getattr(data, "replay", None)) is not None:  # its old name
            self._signature = {"augmentation_period": replay["views"], **replay}
        self._needed = needed
        if self._hparams.cache:
            self._cache = self._open_cache(module)

    def samples(self, what: str) -> int:
        """Number of training samples.

        Raises:
            ValueError: the data have no augmentation signature.
        """
        return self._known_signature(what)["samples"]  # type: ignore[no-any-return]

    def outputs(self, x: Tensor, batch: Mapping[str, Any], epoch: int, owner: object) -> dict[str, Tensor]:
        """The teacher's outputs {name: (B, ...)} for inputs (B, *input_shape), from the cache if it has the samples."""
        layers = list(self._hparams.layers.values())
        if self._cache is None:
            return self.teacher(x, layers)
        index, view = require(batch, INDEX, owner), self._augmentation_round(epoch)
        if self._cache.has(view):
            return self._cache.lookup(view, index)
        outputs = self.teacher(x, layers)
        self._cache.record(index, {name: outputs[name] for name in self._needed})
        return outputs

    def end_epoch(self, trainer: Any, epoch: int) -> None:
        """Write an epoch's recorded outputs if it showed every sample."""
        view = self._augmentation_round(epoch) if self._cache is not None else 0
        if self._cache is None or self._cache.has(view):
            return
        if not self._cache.finish(view) and not self._warned:
            self._warned = True
            log.warning("the teacher's outputs of this epoch are not kept: it did not show every sample")
        trainer.strategy.barrier()

    def _augmentation_round(self, epoch: int) -> int:
        """Index of the epoch within its augmentation round."""
        return epoch % int(self._known_signature("a cache")["augmentation_period"])

    def _known_signature(self, what: str) -> dict[str, Any]:
        if self._signature is None:
            raise ValueError(f"{what} needs a datamodule that numbers its samples (with an ``augmentation_signature``)")
        return self._signature

    def _open_cache(self, module: Any) -> TeacherCache:
        signature, world = self._known_signature("a cache"), module.trainer.world_size
        if signature["augmentation_period"] is None:
            raise ValueError(
                "a cache holds each sample's outputs for as many epochs as augmentation takes to repeat: "
                "set their number, `data.augmentation_period` N"
            )
        augmentation = {**signature["augmentation"], "processes": world} if signature["augmentation"] else {}
        made_with = {
            "teacher": self.teacher.fingerprint(),
            "data": signature["data"],
            "augmentation": augmentation,
            "outputs": self._needed,
            "precision": str(module.trainer.precision),
        }
        rank, samples = module.global_rank, signature["samples"]
        return TeacherCache(self._hparams.cache, made_with, samples, bool(augmentation), rank, world, module.device)
