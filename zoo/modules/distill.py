"""Distillation: a small network, the student, learns what a large one, the teacher, says of labelled and unlabelled
samples.

Both see the same crop. What the student learns are sums, by weights, of

- ``labels``: those there are;
- ``kd``: the teacher's softened probabilities (Hinton et al. 2015);
- ``dkd``: the same taken apart: how sure the target is, and how the other classes compare (Zhao et al. 2022);
- ``hints``: outputs of layers within (FitNets, Romero et al. 2015);
- ``attention``: where they are large (Zagoruyko & Komodakis 2017);
- ``rkd``: distances and angles between samples (Park et al. 2019);
- ``crd``: features by which a sample is told from others (Tian et al. 2020).
"""

import copy
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from zoo.core.arguments import at_least, more_than
from zoo.core.batch import INPUT, LABEL, as_mapping, require
from zoo.core.metrics import task_metrics
from zoo.distillation.cache import TeacherCache
from zoo.distillation.teacher import Labels, Teacher, read_teacher
from zoo.functional.distill import (
    attention_loss,
    binary_kd_loss,
    dkd_loss,
    hint_loss,
    kd_loss,
    rkd_angle_loss,
    rkd_distance_loss,
    standardise_logits,
)
from zoo.functional.finetune import Task, is_labelled, mixup
from zoo.modules.finetune import FinetuneModule
from zoo.modules.teacher_training import Row, measured, prepare, train_alone
from zoo.networks.contrast import ContrastMemory
from zoo.networks.encoder import checked_shape
from zoo.networks.layers import Connector, layer_outputs, layer_shapes
from zoo.networks.spec import Spec

log = logging.getLogger(__name__)

INDEX = "index"
_TEACHER: dict[bool, Spec] = {
    True: {"name": "conv", "width": 64},
    False: {"name": "mlp", "widths": [512, 256]},
}  # of pictures or not
_STUDENT: dict[bool, Spec] = {True: {"name": "conv", "width": 16}, False: {"name": "mlp", "widths": [32]}}


class DistillModule(FinetuneModule):
    """A student that learns from a teacher; its checkpoint holds the student alone, and loads without the teacher.

    Args:
        input_shape: of one sample.
        num_classes: C, of the labels; data without labels have the teacher's.
        class_names: of the labels, in their order.
        task: "classification", "multilabel" or "regression".
        backbone: the student, as ``FinetuneModule``'s; "" is a small network from scratch.
        teacher: a fine-tuned or distilled checkpoint, or several (an ensemble); an exported encoder, a checkpoint with
            one or a classifier of torchvision or timm, whose last layer is then fitted to the labels; or the spec of a
            network that is trained first. "" is a network larger than the student.
        teacher_weights: of torchvision and timm, as ``weights`` of the student.
        teacher_epochs: of a teacher that is trained first.
        label_loss: weight of the labels' loss; 0 leaves it out, as those below.
        kd: weight of Hinton's loss; of several labels the divergence of each, of a regression the squared error.
        dkd: weight of decoupled distillation, of classifications alone.
        hints: weight of the squared differences of ``layers``.
        attention: weight of the differences of attention maps of ``layers``; customary is 1,000.
        rkd: weight of relations between samples, of distances, and twice of angles.
        crd: weight of contrastive distillation, which keeps two rows a sample in memory, and in the checkpoint.
        layers: for hints and attention, layers of the student's encoder and of the teacher's: {"trunk.1": "trunk.1"}.
        temperature: of ``kd`` and ``dkd``.
        dkd_beta: weight of the other classes within ``dkd``, beside 1 for the target; the paper has 1/2 to 8.
        standardise: give all logits one scale before they are compared (Sun et al. 2024).
        crd_negatives: how many others a sample is told from.
        cache: a folder for the teacher's outputs: it is asked once about each sample, or each of ``data.views``.
        compare: train the student on labels alone, too, as long, and show both beside the teacher.
        lr: AdamW's rate; small networks bear a larger one.
        options: the others of ``FinetuneModule``.

    Logged: ``loss`` and what it is made of, by name; else what ``FinetuneModule`` logs; where data have no labels,
    agreement with the teacher; when testing, ``teacher_score`` and ``alone_score``, of the student from labels alone.

    Raises:
        ValueError: an argument out of its range; a teacher of another task, classes, input or normalisation, or that
            cannot be read; layers that do not exist; a cache made with something else.
        FileNotFoundError: there is no such teacher.
    """

    batch_independent = "its default teacher learns from batches of this size, too; tests of its own name a teacher"

    def __init__(
        self,
        input_shape: Sequence[int] = (1, 28, 28),
        num_classes: int | None = None,
        class_names: list[str] = [],  # noqa: B006  # as in FinetuneModule
        task: Task = "classification",
        backbone: Spec | nn.Module = "",
        teacher: str | list[str] | dict[str, Any] = "",
        teacher_weights: str = "default",
        teacher_epochs: int = 30,
        label_loss: float = 1.0,
        kd: float = 0.0,
        dkd: float = 1.0,
        hints: float = 0.0,
        attention: float = 0.0,
        rkd: float = 0.0,
        crd: float = 0.0,
        layers: dict[str, str] = {},  # noqa: B006
        temperature: float = 2.0,
        dkd_beta: float = 1.0,
        standardise: bool = False,
        crd_negatives: int = 1024,
        cache: str = "",
        compare: bool = True,
        lr: float = 5e-3,
        normalisation: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        at_least(0, label_loss=label_loss, kd=kd, dkd=dkd, hints=hints, attention=attention, rkd=rkd, crd=crd)
        at_least(0, dkd_beta=dkd_beta)
        at_least(1, teacher_epochs=teacher_epochs, crd_negatives=crd_negatives)
        more_than(0, temperature=temperature)
        pictures = len(checked_shape(input_shape)) == 3
        backbone = backbone or _STUDENT[pictures]
        read = None
        if not (isinstance(teacher, dict) and "sources" in teacher):
            sources = teacher if isinstance(teacher, list) else [teacher or _TEACHER[pictures]]
            ours = Labels(task, num_classes, list(class_names)) if num_classes else None
            with torch.random.fork_rng(devices=[]):  # a student begins alike whoever its teacher is
                read = read_teacher(sources, input_shape, normalisation, teacher_weights, ours)
            teacher = {"sources": sources, "labels": read.labels and list(read.labels), "weights": read.fingerprint()}
            teacher |= {"features": read.features, "layers": read.shapes(list(layers.values()))}
        if num_classes is None and teacher["labels"]:
            task, num_classes, class_names = teacher["labels"]
        super().__init__(
            input_shape, num_classes, class_names, task, backbone, lr=lr, normalisation=normalisation, **options
        )
        self._aside: dict[str, Any] = {} if read is None else {"teacher": read}  # what is no part of the student
        self._cache: TeacherCache | None = None
        self._check_options()
        self._connect()

    def _check_options(self) -> None:
        hp = self.hparams
        if hp.mode == "probe":
            raise ValueError("mode 'probe' is fitted to labels and has nothing to learn from a teacher: take another")
        if hp.task != "classification" and (hp.dkd or hp.standardise):
            raise ValueError(f"dkd and standardise are for classifications, not for a {hp.task}: set kd instead")
        if not any((hp.label_loss, hp.kd, hp.dkd, hp.hints, hp.attention, hp.rkd, hp.crd)):
            raise ValueError("all losses have the weight 0: there is nothing to learn")
        if (hp.hints or hp.attention) and not hp.layers:
            raise ValueError("hints and attention need layers: {layer of the student's encoder: one of the teacher's}")
        if hp.cache and hp.mixup:
            raise ValueError("mixup shows new samples at every step, of which a cache knows nothing: leave one out")

    def _connect(self) -> None:
        """What the losses learn beside the student, from the shapes of both sides."""
        hp = self.hparams
        ours = layer_shapes(self.encoder, hp.input_shape, list(hp.layers), "student")
        pairs = [(ours[name], tuple(hp.teacher["layers"][other])) for name, other in hp.layers.items()]
        if hp.attention and any(len(shape) != 3 for pair in pairs for shape in pair):
            raise ValueError(f"attention is of layers that give maps (C, H, W); these give {pairs}")
        self.connectors = nn.ModuleList(Connector(*pair) for pair in pairs if hp.hints)
        self.contrast = (
            ContrastMemory(self.features, hp.teacher["features"], negatives=hp.crd_negatives) if hp.crd else None
        )

    # What is learned

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """While training, the weighted sum of all losses; otherwise that of the labels."""
        if not self.training:
            return super().loss(batch)
        x, labels = require(batch, INPUT, self), batch.get(LABEL)
        labels = None if labels is None else self.known_labels(labels)
        mixed = None
        if self.hparams.mixup and self.hparams.task != "regression":
            x, *mixed = mixup(x, self.hparams.mixup)
        with layer_outputs(self.encoder, list(self.hparams.layers), "student") as student:
            student["features"] = self.encode(x)
        student["logits"] = self.head(student["features"])
        losses = self._from_teacher(student, self._ask(x, batch), labels, batch)
        if labels is not None:
            self._aside["labelled"] = True
            losses["labels"] = self._from_labels(student["logits"], labels, mixed)
        if not losses:
            raise ValueError("the batch has no labels, and no loss of the teacher's outputs has a weight: set kd, say")
        weights = {**self.hparams, "labels": self.hparams.label_loss}
        total = torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()
        logs = dict(losses)
        if labels is not None and self.hparams.task == "classification":
            logs["accuracy"] = (student["logits"].argmax(1) == labels).sum() / is_labelled(labels).sum().clamp_min(1)
        return self._tied(total), logs

    def _from_labels(self, output: Tensor, labels: Tensor, mixed: Any) -> Tensor:
        if mixed is None:
            return self._loss(output, labels)
        order, share = mixed
        return share * self._loss(output, labels) + (1 - share) * self._loss(output, labels[order])

    def _from_teacher(
        self, student: dict[str, Tensor], teacher: dict[str, Tensor], labels: Tensor | None, batch: Mapping[str, Any]
    ) -> dict[str, Tensor]:
        """Losses with a weight, by name."""
        hp, losses = self.hparams, {}
        if hp.kd:
            losses["kd"] = self._kd(student["logits"], teacher["logits"])
        if hp.dkd:
            target = torch.full_like(teacher["logits"][:, 0], -1, dtype=torch.long) if labels is None else labels
            logits = self._comparable(student["logits"]), self._comparable(teacher["logits"])
            losses["dkd"] = dkd_loss(*logits, target, 1.0, hp.dkd_beta, hp.temperature)
        pairs = [(student[name], teacher[other]) for name, other in hp.layers.items()]
        if hp.hints:
            found = zip(self.connectors, pairs, strict=True)
            losses["hints"] = torch.stack([hint_loss(connector(s), t) for connector, (s, t) in found]).mean()
        if hp.attention:
            losses["attention"] = torch.stack([attention_loss(*pair) for pair in pairs]).mean()
        if hp.rkd:
            features = student["features"], teacher["features"]
            losses["rkd"] = rkd_distance_loss(*features) + 2 * rkd_angle_loss(*features)
        if self.contrast is not None:
            losses["crd"] = self.contrast(student["features"], teacher["features"], require(batch, INDEX, self))
        return losses

    def _kd(self, student: Tensor, teacher: Tensor) -> Tensor:
        hp = self.hparams
        if hp.task == "classification":
            return kd_loss(self._comparable(student), self._comparable(teacher), hp.temperature)
        if hp.task == "multilabel":
            return binary_kd_loss(student, teacher, hp.temperature)
        return hint_loss(student, (teacher - self.target_mean) / self.target_std)

    def _comparable(self, logits: Tensor) -> Tensor:
        return standardise_logits(logits) if self.hparams.standardise else logits

    # The teacher

    def _ask(self, x: Tensor, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """What the teacher says of inputs (B, *input_shape), or has said of these samples in this view."""
        if self._cache is None:
            return self._teacher(x, list(self.hparams.layers.values()))
        index = require(batch, INDEX, self)
        if self._cache.has(self._view):
            return self._cache.lookup(self._view, index)
        outputs = self._teacher(x, list(self.hparams.layers.values()))
        self._cache.record(index, {name: outputs[name] for name in self._wanted})
        return outputs

    @property
    def _wanted(self) -> list[str]:
        """Of the teacher's outputs, by the losses."""
        hp = self.hparams
        named = {"logits": hp.kd or hp.dkd, "features": hp.rkd or hp.crd}
        return [name for name, weight in named.items() if weight] + list(hp.layers.values())

    @property
    def _teacher(self) -> Teacher:
        if "teacher" not in self._aside:
            hp = self.hparams
            labels = Labels(hp.task, hp.num_classes, list(hp.class_names))
            found = read_teacher(hp.teacher["sources"], hp.input_shape, hp.normalisation, hp.teacher_weights, labels)
            if hp.teacher["weights"] not in (None, found.fingerprint()) and not found.untrained:
                raise ValueError(f"the teacher {hp.teacher['sources']} is not the one that this student began with")
            self._aside["teacher"] = found
        return self._aside["teacher"]

    def on_fit_start(self) -> None:
        """A student from scratch is nothing to warn of."""
        if self.hparams.num_classes is None:
            raise ValueError(
                "neither the data nor the teacher have labels: name a fine-tuned checkpoint (--model.teacher FILE)"
            )

    def on_train_start(self) -> None:
        prepare(self._teacher, self)
        self._aside["replay"] = getattr(getattr(self.trainer, "datamodule", None), "replay", None)
        if self.contrast is not None:
            self.contrast.allocate(self._replay("crd")["samples"], self._seed)
        if self.hparams.cache:
            self._open_cache()
        super().on_train_start()
        if self.hparams.compare and not self.global_step:
            self._aside["beginning"] = copy.deepcopy(self.encoder.state_dict())

    def _replay(self, what: str) -> dict[str, Any]:
        if self._aside["replay"] is None:
            raise ValueError(f"{what} needs a datamodule that numbers its samples (with ``replay``), as those here do")
        return self._aside["replay"]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        known = self._aside.get("teacher")
        saved = checkpoint["hyper_parameters"]["teacher"]
        if known is not None and known.untrained and isinstance(saved["sources"][0], str):
            self.hparams["teacher"] = saved  # it was trained when this training began
            del self._aside["teacher"]

    # Its outputs on disk

    def _open_cache(self) -> None:
        replay, world = self._replay("a cache"), self.trainer.world_size
        if replay["views"] is None:
            raise ValueError(
                "a cache holds so many views of each sample, which come again and again: say how many, --data.views N"
            )
        augmentation = {**replay["augmentation"], "processes": world} if replay["augmentation"] else {}
        made_with = {
            "teacher": self._teacher.fingerprint(),
            "data": replay["data"],
            "augmentation": augmentation,
            "outputs": self._wanted,
            "precision": str(self.trainer.precision),
        }
        self._cache = TeacherCache(
            self.hparams.cache, made_with, replay["samples"], bool(augmentation), self.global_rank, world, self.device
        )

    @property
    def _view(self) -> int:
        """Which form of each sample this epoch shows."""
        return self.current_epoch % self._aside["replay"]["views"]

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        if self._cache is not None and not self._cache.has(self._view):
            if not self._cache.finish(self._view) and not self._aside.setdefault("told", False):
                self._aside["told"] = True
                log.warning("the teacher's outputs of this epoch are not kept: it did not show every sample")
            self.trainer.strategy.barrier()

    # Beside the teacher and labels alone

    def on_train_end(self) -> None:
        beginning = self._aside.pop("beginning", None)
        # Of a student that was given as a network there is no other.
        if beginning is not None and "labelled" in self._aside and "backbone" in self.hparams:
            self._aside["alone"] = train_alone(self, beginning)

    def _evaluate(self, stage: str, batch: Any, batch_idx: int) -> None:
        batch = self._with_labels(as_mapping(batch))
        super()._evaluate(stage, batch, batch_idx)
        labels = self.known_labels(batch[LABEL])
        chosen = is_labelled(labels)
        if stage == "test" and chosen.any():
            for name, metric in self._aside["scores"].items():
                metric.update(self._said_by(name, batch[INPUT][chosen]), self._as_target(labels[chosen]))

    def _with_labels(self, batch: Mapping[str, Any]) -> Mapping[str, Any]:
        """A batch, with the teacher's choices where there are no labels to compare with."""
        if LABEL in batch or INPUT not in batch:
            return batch
        said = self._said_by("teacher", batch[INPUT])
        choices = {"classification": said.argmax(1), "multilabel": (said > 0.5).float()}
        return {**batch, LABEL: choices.get(self.hparams.task, said)}

    def _as_target(self, labels: Tensor) -> Tensor:
        return labels if self.hparams.task == "regression" else labels.long()

    def _said_by(self, name: str, x: Tensor) -> Tensor:
        """Probabilities, or values, (B, C)."""
        if name == "alone":
            return self._aside["alone"].classify(x)
        logits = self._teacher.to(x.device)(x)["logits"].float()
        return {"classification": logits.softmax(1), "multilabel": logits.sigmoid()}.get(self.hparams.task, logits)

    def on_test_start(self) -> None:
        super().on_test_start()
        others = [name for name in ("teacher", "alone") if name in self._aside and not self._teacher.untrained]
        outputs = self.hparams.num_classes
        self._aside["scores"] = {n: task_metrics(self.hparams.task, outputs)["score"].to(self.device) for n in others}

    def on_test_epoch_end(self) -> None:
        super().on_test_epoch_end()
        scores = {n: s.compute() for n, s in self._aside["scores"].items() if s.update_called}
        self.log_dict({f"test/{name}_score": score for name, score in scores.items()})

    def comparison(self, score: float) -> list[Row]:
        """Teacher, student alone and student after a test, as far as they are at hand.

        Args:
            score: the student's.
        """
        shape, own = self.hparams.input_shape, nn.Sequential(self.encoder, self.head)
        networks: dict[str, nn.Module] = {"teacher": self._teacher, "alone": own}
        titles = {"teacher": "teacher", "alone": "student, labels alone"}
        rows = [
            measured(titles[name], float(metric.compute()), networks[name], shape)
            for name, metric in self._aside.get("scores", {}).items()
        ]
        return [*rows, measured("student, distilled", score, own, shape)]
