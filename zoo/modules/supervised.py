"""An encoder and a head that learn from labels: what fine-tuning, distillation and domain adaptation have in common.

The encoder is any module's, exported or within a checkpoint, or a network from scratch; the task defines the head, its
loss, its predictions and their metrics (``zoo.tasks``).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from zoo.core.arguments import at_least, between, more_than, one_of
from zoo.core.base import ZooModule
from zoo.core.batch import LABEL, PREDICTION, require
from zoo.core.checkpoint import read_checkpoint
from zoo.core.distributed import gather_rows, training_batches
from zoo.core.optim import OptimSpec, check_specs, configure, layered_groups
from zoo.functional.finetune import mixup
from zoo.functional.normalisation import left_to_encoder
from zoo.functional.precision import full_precision
from zoo.io.backbone import resolve_backbone
from zoo.networks.freezing import StartWeights, configure_trainable, drop_gradients, frozen_stages
from zoo.networks.precision import FullPrecisionBuffers
from zoo.networks.spec import Spec
from zoo.networks.stages import batch_norms, staged_parameters
from zoo.tasks.base import check_task, index_of_names, make_task

Mode = Literal["probe", "full", "lp_ft", "gradual"]  # a technique's ``modes`` may be fewer
Targets = list[tuple[Tensor, Tensor | float]]  # labels, and their shares of the loss


class SupervisedModule(FullPrecisionBuffers, ZooModule):
    """The parent of modules that learn from labels; a subclass defines ``loss``.

    Args:
        input_shape: Shape of one sample, (C, H, W) or another.
        num_classes: Number of classes or, of a regression, of values, C; None where the data have no labels.
        class_names: Names of the classes, in the order of their indices.
        task: Task: "classification"; "multilabel", several classes per sample; "regression"; or a task's import path.
        backbone: Folder with an exported encoder, or checkpoint of any module that has one; such a module's
            ``encoder`` itself, which is copied; a classifier of torchvision ("resnet18") or timm ("timm:NAME"); else a
            network's spec, trained from scratch; "" is one that suits the input.
        weights: Weights of torchvision and timm: "default" are the library's own, "none" none, anything else a file.
        drop_head: Whether to take the features before the backbone's own last linear layer, as is usual.
        mode: Mode: "full", "lp_ft" (a linear probe first, then everything) or "gradual" (stage by stage from the top).
        unfreeze_every: Number of epochs after which "gradual" unfreezes the next stage.
        layer_decay: Ratio of a stage's learning rate to the next stage's, (0, 1]; 1 is one rate for all.
        freeze_norm: Whether batch norms of the backbone stay frozen, running statistics included.
        l2_sp: Weight of half the backbone's squared distance from its initial weights (L2-SP).
        lora_rank: Rank of learned updates to the backbone's frozen weights (LoRA); 0 learns the weights.
        wise_ft: Share of trained weights, against initial ones after the probe, in tests and exports (WiSE-FT).
        probe_l2: Weight of the probe's squared weights, for standardised features, against the summed losses.
        class_weights: Weights of the classes: "none", "balanced", or one for each class.
        label_smoothing: Share of the label that is spread over all classes.
        mixup: Alpha of mixup's Beta distribution; 0 is no mixup. Not for regression.
        lr: Learning rate of the head and the last stage.
        weight_decay: Weight decay of matrices and kernels.
        optimizer: Optimiser: "adamw", "sgd", "lars" or {name: adamw, betas: [0.9, 0.95]} (see ``zoo.core.optim``).
        schedule: Schedule of the learning rate, "constant", "cosine" or "linear", or {name: cosine, warmup: 0.1}.
        normalisation: Normalisation that the data applied to pixels in [0, 1]; otherwise the backbone's is applied.
        train_baseline: Whether the same network also learns without what the technique adds, to compare with; needs
            the callback ``BaselineComparison``, which runs of the command line have.

    Raises:
        ValueError: an argument out of its range; no labels; a backbone that cannot be read or does not fit the data.
        FileNotFoundError: there is no such backbone.
    """

    monitor = "val/score"
    monitor_mode = "max"
    learns_from_labels = True  # few ones are not set aside for validation
    learns_from_unlabelled = False
    modes: tuple[str, ...] = ("full", "lp_ft", "gradual")
    contestants: tuple[str, str] = ("trained", "baseline")  # names of the module and of its baseline in the results
    renamed_tensors: ClassVar[dict[str, str]] = {"probed": "probe_fitted"}
    class_weight: Tensor
    target_mean: Tensor
    target_std: Tensor
    probe_fitted: Tensor
    renamed_methods: ClassVar[dict[str, str]] = {"known_labels": "to_head_labels", "blend": "interpolate_with_start"}

    def __init__(
        self,
        input_shape: Sequence[int] = (1, 28, 28),
        num_classes: int | None = None,
        class_names: list[str] = [],  # noqa: B006  # never changed; None would not be a list in a YAML file
        task: str = "classification",
        backbone: Spec | nn.Module = "",
        weights: str = "default",
        drop_head: bool = True,
        mode: Mode = "lp_ft",
        unfreeze_every: int = 1,
        layer_decay: float = 1.0,
        freeze_norm: bool = False,
        l2_sp: float = 0.0,
        lora_rank: int = 0,
        wise_ft: float = 1.0,
        probe_l2: float = 0.25,
        class_weights: Literal["none", "balanced"] | list[float] = "none",
        label_smoothing: float = 0.0,
        mixup: float = 0.0,
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        optimizer: OptimSpec = "adamw",
        schedule: OptimSpec = "cosine",
        normalisation: dict[str, Any] | None = None,
        train_baseline: bool = True,
    ) -> None:
        super().__init__()
        one_of(self.modes, mode=mode)
        at_least(0, l2_sp=l2_sp, lora_rank=lora_rank, probe_l2=probe_l2, mixup=mixup, weight_decay=weight_decay)
        at_least(1, unfreeze_every=unfreeze_every, num_classes=1 if num_classes is None else num_classes)
        more_than(0, lr=lr, layer_decay=layer_decay)
        between(0, 1, layer_decay=layer_decay, wise_ft=wise_ft, label_smoothing=label_smoothing)
        check_specs(optimizer, schedule)
        if lora_rank and wise_ft < 1:
            raise ValueError("`wise_ft` interpolates weights that `lora_rank` keeps frozen: set one of the two")
        self.save_hyperparameters(ignore=["backbone"] if isinstance(backbone, nn.Module) else [])
        self.encoder = resolve_backbone(backbone, input_shape, normalisation, drop_head, weights)
        self.origin = self.encoder.origin
        if self.encoder.spec is not None:  # a checkpoint must not need the file again
            self.hparams["backbone"] = {**self.encoder.get_config(), "origin": self.origin}
        self.features = self.encoder.output_dim or self.encoder.feature_dim
        configure_trainable(self.encoder, mode == "probe", freeze_norm, lora_rank)
        self._make_head()
        self.register_buffer("probe_fitted", torch.tensor(not self.origin or mode not in ("probe", "lp_ft")))
        self._interpolated = False
        self._label_indices: Tensor | None = None  # of the data's classes among the head's, where they differ

    def _make_head(self) -> None:
        """The last layer, and all that depends on the number of classes."""
        hp = self.hparams
        outputs = hp.num_classes or 1
        self.task = make_task(hp.task, outputs)
        self.head = self.task.head(self.features)
        weights = hp.class_weights if isinstance(hp.class_weights, list) else [1.0] * outputs
        for weight in weights:
            at_least(0, class_weights=weight)
        if len(weights) != outputs:
            raise ValueError(f"`class_weights` has {len(weights)} values for {outputs} classes")
        self.register_buffer("class_weight", torch.tensor(weights))
        self.register_buffer("target_mean", torch.zeros(outputs))
        self.register_buffer("target_std", torch.ones(outputs))
        self.start = StartWeights(self.encoder, self.head) if hp.l2_sp or hp.wise_ft < 1 else None
        self.val_metrics, self.test_metrics = (self.task.metrics() for _ in range(2))

    # What is computed

    def encode(self, x: Tensor) -> Tensor:
        """Inputs (B, *input_shape) to features (B, D)."""
        return self.encoder(self._prepared(x))

    def _prepared(self, x: Tensor) -> Tensor:
        """Data that are not normalised get the normalisation that the encoder needs."""
        as_they_came = left_to_encoder(self.hparams.normalisation, self.encoder.normalisation)
        return self.encoder.preprocess(x) if as_they_came else x

    def compute(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs (B, *input_shape) to the head's inputs, features (B, D), and its outputs (B, C)."""
        features = self.encoder.forward_features(self._prepared(x)) if self.task.unpooled else self.encode(x)
        return features, self.head(features)

    def forward(self, x: Tensor) -> Tensor:
        """Inputs (B, *input_shape) to logits (B, C), or values in the labels' units."""
        return self._in_units(self.compute(x)[1])

    def _in_units(self, output: Tensor) -> Tensor:
        return output * self.target_std + self.target_mean if self.task.scaled else output

    def classify(self, x: Tensor) -> Tensor:
        """Probabilities (B, C), which sum to 1 unless a sample may have several classes; of a regression its values."""
        return self.task.predict(self(x).float())

    predict = classify

    def to_head_labels(self, labels: Tensor) -> Tensor:
        """The data's labels as class indices of the head."""
        indices = None if self._label_indices is None else self._label_indices.to(labels.device)
        return self.task.to_head_labels(labels, indices)

    def mix(self, x: Tensor, labels: Tensor | None) -> tuple[Tensor, Targets]:
        """While training with ``mixup``, blended samples and the labels of both; otherwise what is given."""
        if not (self.training and self.hparams.mixup and self.task.mixes):
            return x, [] if labels is None else [(labels, 1.0)]
        x, partners, share = mixup(x, self.hparams.mixup)
        return x, [] if labels is None else [(labels, share), (labels[partners], 1 - share)]

    def label_loss(self, output: Tensor, targets: Targets) -> Tensor:
        """The task's loss of outputs (B, C), the mean over the labelled samples."""
        return sum(share * self._loss_of(output, labels) for labels, share in targets)  # type: ignore[return-value]

    def _loss_of(self, output: Tensor, labels: Tensor) -> Tensor:
        hp, output = self.hparams, full_precision(output)
        if self.task.scaled:
            labels = (labels - self.target_mean) / self.target_std
        weight = None if hp.class_weights == "none" else self.class_weight
        return self.task.loss(output, labels, weight, hp.label_smoothing if self.training else 0.0)

    def add_l2_sp(self, loss: Tensor) -> Tensor:
        """The loss plus half the squared distance from the initial weights, weighted by ``l2_sp``."""
        if not self.hparams.l2_sp or self.start is None:
            return loss
        return loss + self.hparams.l2_sp / 2 * self.start.distance(self.encoder)

    def supervised_loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """The task's loss, averaged over the batch's labelled samples, plus the weighted L2-SP penalty."""
        labels = self.to_head_labels(require(batch, LABEL, self))
        x, targets = self.mix(require(batch, self.input_key, self), labels)
        features, output = self.compute(x)
        if not self.training:
            prediction = self.task.predict(self._in_units(output).float())
            pooled = {} if self.task.unpooled else {"features": features}
            self.keep(SupervisedModule, **pooled, prediction=prediction, label=labels)
        return self.add_l2_sp(self.label_loss(output, targets)), self.task.logs(output, labels)

    # Evaluation

    def _evaluate(self, stage: str, batch: Mapping[str, Any], batch_idx: int) -> dict[str, Tensor]:
        outputs = super()._evaluate(stage, batch, batch_idx)
        if LABEL not in outputs:  # of a subclass with another loss
            outputs[LABEL] = self.to_head_labels(require(batch, LABEL, self))
        labelled = self.task.labelled(outputs[LABEL])
        if labelled.any():
            labels = outputs[LABEL][labelled]
            labels = labels if self.task.scaled else labels.long()
            prediction = outputs[PREDICTION] if PREDICTION in outputs else self.classify(batch[self.input_key])
            getattr(self, f"{stage}_metrics").update(prediction[labelled], labels)
        return outputs

    def on_validation_epoch_end(self) -> None:
        self._log_metrics("val")

    def on_test_epoch_end(self) -> None:
        self._log_metrics("test")

    def _log_metrics(self, stage: str) -> None:
        metrics = getattr(self, f"{stage}_metrics")
        if not self.trainer.strategy.reduce_boolean_decision(metrics["score"].update_called, all=False):
            return  # no sample has a label
        values = {f"{stage}/{name}": value for name, value in metrics.compute().items()}
        metrics.reset()
        self.log_dict(values, prog_bar=True)

    # Training

    def on_train_start(self) -> None:
        hp = self.hparams
        if self.current_epoch or self.global_step:
            return  # resumed: it has all this
        if not self.probe_fitted or hp.class_weights == "balanced" or self.task.scaled:
            self._fit_data_statistics()
        if self.start is not None:
            self.start["head"].load_state_dict(self.head.state_dict())

    @torch.no_grad()
    def _fit_data_statistics(self) -> None:
        """One pass over the data: class counts, targets' mean and standard deviation, and the probe's head."""
        features, labels = [], []
        training = self.training
        self.eval()
        for batch in training_batches(self.trainer, self.input_key):
            labels.append(self.to_head_labels(require(batch, LABEL, self)))
            if not self.probe_fitted:
                features.append(self.encode(require(batch, self.input_key, self)).float())
        self.train(training)
        truth = gather_rows(torch.cat(labels), self.trainer.world_size, equal=True)
        labelled = self.task.labelled(truth)
        truth = truth[labelled]
        if not len(truth):
            raise ValueError("no training sample has a label")
        if self.hparams.class_weights == "balanced":
            self.class_weight.copy_(self.task.class_weights(truth))
        if self.task.scaled:
            std, mean = torch.std_mean(truth, 0, correction=0)
            self.target_mean.copy_(mean)
            self.target_std.copy_(torch.where(std > 0, std, 1.0))
        if not self.probe_fitted:
            found = gather_rows(torch.cat(features), self.trainer.world_size, equal=True)[labelled]
            self._fit_head(found, truth)
            self.probe_fitted.fill_(True)

    def _fit_head(self, features: Tensor, labels: Tensor) -> None:
        hp = self.hparams
        if self.task.scaled:
            labels = (labels - self.target_mean) / self.target_std
        weight = None if hp.class_weights == "none" else self.class_weight
        fitted = self.task.probe(features, labels, hp.probe_l2 / len(labels), weight)
        if fitted is not None:
            self.head.load_state_dict(dict(zip(("weight", "bias"), fitted, strict=True)))

    def _frozen(self) -> list[nn.Module]:
        """Modules that are frozen in this epoch."""
        hp = self.hparams
        frozen = batch_norms(self.encoder) if hp.freeze_norm or hp.lora_rank else []
        if hp.mode == "gradual":
            frozen = frozen + frozen_stages(self.encoder, self.current_epoch // hp.unfreeze_every)
        return frozen

    def train(self, mode: bool = True) -> "SupervisedModule":
        """As usual, but frozen modules stay in eval mode, so that their running statistics stay bit-identical too."""
        super().train(mode)
        for layer in [*self._frozen(), *([self.start] if self.start is not None else [])]:
            layer.eval()
        return self

    def on_train_epoch_start(self) -> None:
        self.train()  # another epoch may freeze other stages

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        if self.hparams.mode == "gradual":  # under DDP every parameter must have a gradient, so it is dropped here
            drop_gradients(self._frozen())

    def configure_optimizers(self) -> Any:
        hp = self.hparams
        held = {id(p) for p in self.encoder.parameters()}
        beside = [p for p in self.parameters() if p.requires_grad and id(p) not in held]  # the head, and a subclass's
        groups = layered_groups([*staged_parameters(self.encoder), beside], hp.lr, hp.weight_decay, hp.layer_decay)
        return configure(self, hp.optimizer, hp.schedule, hp.lr, hp.weight_decay, groups)

    # What it is compared with

    def baseline(self) -> "SupervisedModule | None":
        """The same network without what the technique adds, to be trained for as long; None where there is no such."""
        return None

    def baseline_limits(self) -> tuple[int | None, int]:
        """Limits of the baseline's epochs and steps, when this module's training is over: as many steps."""
        return None, self.trainer.global_step

    # What comes after

    def interpolate_with_start(self) -> None:
        """Replace the trained weights by their interpolation with the initial ones (WiSE-FT); only once."""
        if self.hparams.wise_ft < 1 and self.start is not None and not self._interpolated:
            self.start.interpolate(self.encoder, self.head, self.hparams.wise_ft)
            self._interpolated = True

    on_test_start = on_predict_start = interpolate_with_start

    def head_config(self) -> dict[str, Any]:
        """Plain values that describe, in a checkpoint, the head beside the encoder."""
        hp = self.hparams
        config = {"task": hp.task, "class_names": list(hp.class_names), "scaled": self.task.scaled}
        return {**config, "wise_ft": hp.wise_ft}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self._interpolated = False
        self._restore_label_space(checkpoint["hyper_parameters"])

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **options: Any) -> Any:
        """As ``ZooModule``'s; a task of one's own must have been imported, or be given as ``task``."""
        if "task" not in options and isinstance(checkpoint_path, str | Path) and Path(checkpoint_path).is_file():
            check_task(read_checkpoint(checkpoint_path).get("hyper_parameters", {}).get("task"))
        return super().load_from_checkpoint(checkpoint_path, *args, **options)

    def _restore_label_space(self, saved: Mapping[str, Any]) -> None:
        """The checkpoint's classes; the data's may be fewer, in another order, or none."""
        hp = self.hparams
        theirs, mine = list(saved["class_names"]), list(hp.class_names)
        if hp.num_classes is not None and saved["task"] != hp.task:
            raise ValueError(f"the checkpoint's task is {saved['task']}, the data's is {hp.task}")
        if hp.num_classes is not None and mine != theirs:
            self._label_indices = torch.tensor(index_of_names(mine, theirs, "head"))
        if not theirs and hp.num_classes not in (None, saved["num_classes"]):
            raise ValueError(f"the data have {hp.num_classes} classes, the head has {saved['num_classes']}")
        check_task(saved["task"])
        changed = saved["task"] != hp.task or (saved["num_classes"] or 1) != (hp.num_classes or 1)
        hp.update({key: saved[key] for key in ("num_classes", "class_names", "task")})
        if changed:
            self._make_head()
            self.on_head_change()

    def on_head_change(self) -> None:
        """Called when the head's number of classes has changed; a subclass may have to adapt its layers."""
