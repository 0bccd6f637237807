"""Distillation: a small network, the student, learns from a large one, the teacher, on labelled and unlabelled samples.

Both see the same crop. The student's loss is a weighted sum of

- ``labels``: the task's loss on labelled samples;
- ``kd``: the teacher's softened probabilities (Hinton et al. 2015);
- ``dkd``: the same decoupled: confidence in the target, and the other classes among themselves (Zhao et al. 2022);
- ``hints``: outputs of intermediate layers (FitNets, Romero et al. 2015);
- ``attention``: attention maps of such layers (Zagoruyko & Komodakis 2017);
- ``rkd``: distances and angles between samples (Park et al. 2019);
- ``crd``: features that identify a sample among others (Tian et al. 2020).
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from zoo.core.arguments import at_least, more_than
from zoo.core.batch import INDEX, LABEL, require
from zoo.core.findings import Headline
from zoo.distillation.source import TeacherSource
from zoo.distillation.teacher import LabelSpace, Teacher, read_teacher
from zoo.functional.distill import (
    attention_loss,
    dkd_loss,
    hint_loss,
    rkd_angle_loss,
    rkd_distance_loss,
    standardise_logits,
)
from zoo.modules.baseline import build_seeded, supervised_options
from zoo.modules.finetune import FinetuneModule
from zoo.modules.supervised import SupervisedModule
from zoo.modules.teacher_training import prepare
from zoo.networks.contrast import ContrastMemory
from zoo.networks.encoder import checked_shape
from zoo.networks.layers import Connector, layer_outputs, layer_shapes
from zoo.networks.spec import Spec

_TEACHER: dict[bool, Spec] = {
    True: {"name": "conv", "width": 64},
    False: {"name": "mlp", "widths": [512, 256]},
}  # of images or not
_STUDENT: dict[bool, Spec] = {True: {"name": "conv", "width": 16}, False: {"name": "mlp", "widths": [32]}}


class DistillModule(SupervisedModule):
    """A student that learns from a teacher; its checkpoint holds the student alone, and loads without the teacher.

    Args:
        input_shape: Shape of one sample, (C, H, W) or another.
        num_classes: Number of classes or values, C; data without labels have the teacher's.
        class_names: Names of the classes, in the order of their indices.
        task: Task: "classification", "multilabel" or "regression".
        backbone: Student network, as ``FinetuneModule``'s backbone; "" is a small network from scratch.
        teacher: Teacher: a fine-tuned or distilled checkpoint, or several (an ensemble); an exported encoder, a
            checkpoint with one or a classifier of torchvision or timm, whose last layer is then fitted to the labels;
            or the spec of a network that is trained first. "" is a network larger than the student.
        teacher_weights: Weights of torchvision and timm for the teacher, as ``weights`` for the student.
        teacher_epochs: Number of epochs of a teacher that is trained first.
        label_weight: Weight of the labels' loss; 0 leaves it out, as with those below.
        kd_weight: Weight of the KL divergence from the teacher's probabilities (multi-label: of each class; regression:
            squared error).
        dkd_weight: Weight of decoupled distillation, for classification alone.
        hint_weight: Weight of hints, the mean squared differences between outputs of ``layers``.
        attention_weight: Weight of the differences between attention maps of ``layers``; customary is 1,000.
        rkd_weight: Weight of relational distillation: of distances, and twice that of angles.
        crd_weight: Weight of contrastive distillation, which keeps two rows per sample in memory and in checkpoints.
        layers: Layers of the student's encoder and of the teacher's, for hints and attention: {"trunk.1": "trunk.1"}.
        temperature: Temperature of ``kd`` and ``dkd``.
        dkd_beta: Weight of the other classes within ``dkd``, beside 1 for the target; the paper has 1/2 to 8.
        standardise: Whether logits are standardised per sample before they are compared (Sun et al. 2024).
        crd_negatives: Number of negative samples of contrastive distillation.
        cache: Folder for the teacher's outputs, computed once per sample, or per augmentation of it.
        mode: Mode: "full", "lp_ft" (a linear probe first, then everything) or "gradual" (stage by stage from the top).
        lr: Learning rate of the optimiser; small networks tolerate a larger one.
        normalisation: Normalisation that the data applied to pixels in [0, 1].
        options: Further options of ``SupervisedModule``.

    Logged: ``loss`` and its terms, by name; else what ``FinetuneModule`` logs; where data have no labels, agreement
    with the teacher.

    Raises:
        ValueError: an argument out of its range; a teacher of another task, classes, input or normalisation, or that
            cannot be read; layers that do not exist; a cache made with something else.
        FileNotFoundError: there is no such teacher.
    """

    learns_from_unlabelled = True
    headline = Headline(("accuracy", "student"), "Did distillation pay?", advice="a `teacher` with more labels")
    contestants = ("distilled", "labels alone")
    batch_independent = "its default teacher learns from batches of this size, too; tests of its own name a teacher"
    quick_options: ClassVar[dict[str, Any]] = {"teacher": "conv", "teacher_epochs": 2}
    renamed: ClassVar[dict[str, str]] = {
        "label_loss": "label_weight",
        "kd": "kd_weight",
        "dkd": "dkd_weight",
        "hints": "hint_weight",
        "attention": "attention_weight",
        "rkd": "rkd_weight",
        "crd": "crd_weight",
        "compare": "train_baseline",
    }

    def __init__(
        self,
        input_shape: Sequence[int] = (1, 28, 28),
        num_classes: int | None = None,
        class_names: list[str] = [],  # noqa: B006  # as in SupervisedModule
        task: str = "classification",
        backbone: Spec | nn.Module = "",
        teacher: str | list[str] | dict[str, Any] = "",
        teacher_weights: str = "default",
        teacher_epochs: int = 30,
        label_weight: float = 1.0,
        kd_weight: float = 0.0,
        dkd_weight: float = 1.0,
        hint_weight: float = 0.0,
        attention_weight: float = 0.0,
        rkd_weight: float = 0.0,
        crd_weight: float = 0.0,
        layers: dict[str, str] = {},  # noqa: B006
        temperature: float = 2.0,
        dkd_beta: float = 1.0,
        standardise: bool = False,
        crd_negatives: int = 1024,
        cache: str = "",
        mode: Literal["full", "lp_ft", "gradual"] = "lp_ft",
        lr: float = 5e-3,
        normalisation: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        at_least(0, label_weight=label_weight, kd_weight=kd_weight, dkd_weight=dkd_weight, hint_weight=hint_weight)
        at_least(0, attention_weight=attention_weight, rkd_weight=rkd_weight, crd_weight=crd_weight, dkd_beta=dkd_beta)
        at_least(1, teacher_epochs=teacher_epochs, crd_negatives=crd_negatives)
        more_than(0, temperature=temperature)
        images = len(checked_shape(input_shape)) == 3
        backbone = backbone or _STUDENT[images]
        read = None
        if not (isinstance(teacher, dict) and "sources" in teacher):
            sources = teacher if isinstance(teacher, list) else [teacher or _TEACHER[images]]
            ours = LabelSpace(task, num_classes, list(class_names)) if num_classes else None
            with torch.random.fork_rng(devices=[]):  # a student's initial weights do not depend on its teacher
                read = read_teacher(sources, input_shape, normalisation, teacher_weights, ours)
            teacher = {"sources": sources, "labels": read.labels and list(read.labels), "weights": read.fingerprint()}
            teacher |= {"features": read.features, "layers": read.shapes(list(layers.values()))}
        if num_classes is None and teacher["labels"]:
            task, num_classes, class_names = teacher["labels"]
        names = (input_shape, num_classes, class_names, task, backbone)
        super().__init__(*names, mode=mode, lr=lr, normalisation=normalisation, **options)
        self._source = TeacherSource(self.hparams, read)
        self._check_options()
        self._connect()

    def _check_options(self) -> None:
        hp = self.hparams
        if hp.task != "classification" and (hp.dkd_weight or hp.standardise):
            raise ValueError(
                f"`dkd_weight` and `standardise` are for classification, not for {hp.task}: set `kd_weight` instead"
            )
        if not (hp.label_weight or any(self._teacher_weights().values())):
            raise ValueError("all losses have weight 0: there is nothing to learn")
        if (hp.hint_weight or hp.attention_weight) and not hp.layers:
            raise ValueError("hints and attention need `layers`: {layer of the student's encoder: of the teacher's}")
        if hp.cache and hp.mixup:
            raise ValueError("`mixup` blends new samples at every step, which `cache` cannot hold: leave one out")

    def _teacher_weights(self) -> dict[str, float]:
        """Weights of the losses that need the teacher, by the losses' names."""
        hp = self.hparams
        weights = {"kd": hp.kd_weight, "dkd": hp.dkd_weight, "hints": hp.hint_weight}
        return {**weights, "attention": hp.attention_weight, "rkd": hp.rkd_weight, "crd": hp.crd_weight}

    def _connect(self) -> None:
        """Layers that the losses train beside the student, from the shapes of both sides."""
        hp = self.hparams
        ours = layer_shapes(self.encoder, hp.input_shape, list(hp.layers), "student")
        pairs = [(ours[name], tuple(hp.teacher["layers"][other])) for name, other in hp.layers.items()]
        if hp.attention_weight and any(len(shape) != 3 for pair in pairs for shape in pair):
            raise ValueError(f"attention needs layers that give maps (C, H, W); these give {pairs}")
        self.connectors = nn.ModuleList(Connector(*pair) for pair in pairs if hp.hint_weight)
        self.contrast = (
            ContrastMemory(self.features, hp.teacher["features"], negatives=hp.crd_negatives) if hp.crd_weight else None
        )

    # What is learned

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """While training, the weighted sum of all losses; otherwise that of the labels."""
        if not self.training:
            return self.supervised_loss(batch)
        labels = batch.get(LABEL)
        labels = None if labels is None else self.to_head_labels(labels)
        x, targets = self.mix(require(batch, self.input_key, self), labels)
        with layer_outputs(self.encoder, list(self.hparams.layers), "student") as student:
            student["features"] = self.encode(x)
        student["logits"] = self.head(student["features"])
        losses = self._teacher_losses(student, self._source.outputs(x, batch, self.current_epoch, self), labels, batch)
        if targets:
            losses["labels"] = self.label_loss(student["logits"], targets)
        if not losses:
            raise ValueError("the batch has no labels, and no distillation loss has a weight: set `kd_weight`")
        weights = {**self._teacher_weights(), "labels": self.hparams.label_weight}
        total = torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()
        logs = {} if labels is None else self.task.logs(student["logits"], labels)
        return self.add_l2_sp(total), {**losses, **logs}

    def _teacher_losses(
        self, student: dict[str, Tensor], teacher: dict[str, Tensor], labels: Tensor | None, batch: Mapping[str, Any]
    ) -> dict[str, Tensor]:
        """Losses with a weight, by name."""
        hp, losses = self.hparams, {}
        if hp.kd_weight:
            losses["kd"] = self._kd_loss(student["logits"], teacher["logits"])
        if hp.dkd_weight:
            target = torch.full_like(teacher["logits"][:, 0], -1, dtype=torch.long) if labels is None else labels
            logits = self._scaled_logits(student["logits"]), self._scaled_logits(teacher["logits"])
            losses["dkd"] = dkd_loss(*logits, target, 1.0, hp.dkd_beta, hp.temperature)
        pairs = [(student[name], teacher[other]) for name, other in hp.layers.items()]
        if hp.hint_weight:
            found = zip(self.connectors, pairs, strict=True)
            losses["hints"] = torch.stack([hint_loss(connector(s), t) for connector, (s, t) in found]).mean()
        if hp.attention_weight:
            losses["attention"] = torch.stack([attention_loss(*pair) for pair in pairs]).mean()
        if hp.rkd_weight:
            features = student["features"], teacher["features"]
            losses["rkd"] = rkd_distance_loss(*features) + 2 * rkd_angle_loss(*features)
        if self.contrast is not None:
            losses["crd"] = self.contrast(student["features"], teacher["features"], require(batch, INDEX, self))
        return losses

    def _kd_loss(self, student: Tensor, teacher: Tensor) -> Tensor:
        if self.task.scaled:
            teacher = (teacher - self.target_mean) / self.target_std
        return self.task.kd_loss(self._scaled_logits(student), self._scaled_logits(teacher), self.hparams.temperature)

    def _scaled_logits(self, logits: Tensor) -> Tensor:
        return standardise_logits(logits) if self.hparams.standardise else logits

    def _required_outputs(self) -> list[str]:
        """Names of the teacher's outputs that the losses need."""
        hp = self.hparams
        named = {"logits": hp.kd_weight or hp.dkd_weight, "features": hp.rkd_weight or hp.crd_weight}
        return [name for name, weight in named.items() if weight] + list(hp.layers.values())

    # The teacher

    @property
    def teacher(self) -> Teacher:
        """The teacher, read when it is first asked for; no part of this module."""
        return self._source.teacher

    @property
    def teacher_is_read(self) -> bool:
        """Whether the teacher is in memory: a trained student needs none."""
        return self._source.is_read

    def teacher_predict(self, x: Tensor) -> Tensor:
        """The teacher's predictions for inputs (B, *input_shape): probabilities, or values, (B, C)."""
        return self.task.predict(self.teacher.to(x.device)(x)["logits"].float())

    def on_fit_start(self) -> None:
        if self.hparams.num_classes is None:
            raise ValueError("neither data nor teacher have labels: name a fine-tuned checkpoint (`teacher` FILE)")

    def on_train_start(self) -> None:
        prepare(self.teacher, self)
        self._source.begin(self, self._required_outputs())
        if self.contrast is not None:
            self.contrast.allocate(self._source.samples("crd"), self._seed)
        super().on_train_start()

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        self._source.end_epoch(self.trainer, self.current_epoch)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        saved = checkpoint["hyper_parameters"]["teacher"]
        if self._source.is_read and self.teacher.untrained and isinstance(saved["sources"][0], str):
            self.hparams["teacher"] = saved  # it was trained when this training began
            self._source.forget()

    # What it is compared with

    def _evaluate(self, stage: str, batch: Mapping[str, Any], batch_idx: int) -> dict[str, Tensor]:
        if LABEL not in batch and self.input_key in batch:  # agreement with the teacher
            batch = {**batch, LABEL: self.task.decide(self.teacher_predict(batch[self.input_key]))}
        return super()._evaluate(stage, batch, batch_idx)

    def baseline(self) -> FinetuneModule | None:
        """The same network from the same start, to learn from labels alone; None of a student that was given as a
        network, of which there is no other."""
        if "backbone" not in self.hparams:
            return None
        other: FinetuneModule = build_seeded(self, FinetuneModule, **supervised_options(self))
        other.encoder.load_state_dict(self.encoder.state_dict())
        return other
