"""Transfer learning: an encoder that learned on much data, and a new last layer that learns from few labels.

The encoder is any module's, exported or within a checkpoint, or a network from scratch to compare with. Four ways:

- ``probe``: only the last layer, on features that stay as they are. They are computed once, and a linear model is
  fitted to them to the end;
- ``full``: everything, from a last layer without knowledge;
- ``lp_ft``: the probe first, then everything (Kumar et al. 2022): the features need not bend to a random last layer,
  and stay good for data unlike the labelled ones;
- ``gradual``: the last layer alone, then stage after stage from the top (Howard & Ruder 2018).
"""

import copy
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import SGD

from zoo.core.arguments import at_least, between, more_than
from zoo.core.base import ZooModule
from zoo.core.batch import INPUT, LABEL, as_mapping, require
from zoo.core.metrics import task_metrics
from zoo.core.optim import Schedule, adamw, layered_groups
from zoo.functional.finetune import (
    Task,
    balanced_class_weights,
    interpolate,
    is_labelled,
    l2_sp_distance,
    mixup,
    task_loss,
)
from zoo.functional.probe import fit_logistic, fit_ridge
from zoo.io.backbone import load_backbone
from zoo.networks.low_rank import add_low_rank
from zoo.networks.spec import Spec
from zoo.networks.stages import batch_norms, staged_parameters, stages

log = logging.getLogger(__name__)

Mode = Literal["probe", "full", "lp_ft", "gradual"]


class FinetuneModule(ZooModule):
    """An encoder with a linear head, trained on labels.

    Args:
        input_shape: of one sample.
        num_classes: C, of the labels; of a regression the number of values.
        class_names: of the labels, in their order.
        task: "classification"; "multilabel", several classes a sample; "regression".
        backbone: a folder with an exported encoder, or a checkpoint of any module that has one; such a module's
            ``encoder`` itself, which is copied; a classifier of torchvision ("resnet18") or timm ("timm:NAME"); else a
            network's spec, trained from scratch; "" is one that suits the input.
        weights: of torchvision and timm: "default" are the library's own, "none" none, anything else a file.
        drop_head: take the features before the backbone's own last linear layer, as is usual.
        mode: "probe", "full", "lp_ft" or "gradual" (see above). A network from scratch has nothing to probe: "lp_ft" is
            "full" then.
        unfreeze_every: epochs after which "gradual" sets the next stage free.
        layer_decay: a stage's rate in terms of the next one's, (0, 1]; 1 is one rate for all.
        freeze_norm: keep batch norms of the backbone as they are, statistics and all.
        l2_sp: weight of half the backbone's squared distance from where it began.
        lora_rank: learn only changes of this rank to the backbone's weights; 0 learns the weights.
        wise_ft: share of the trained weights in what is tested and exported; the rest are those it began with, after
            the probe.
        probe_l2: the probe's penalty on squared weights, for standardised features, beside the sum of all samples'
            losses: the more samples, the less it weighs.
        class_weights: "none", "balanced", or a weight for each class.
        label_smoothing: share of the label spread over all classes.
        mixup: alpha, how much samples are blended with one another; 0 is not at all. Not for regression.
        lr: AdamW's rate for the head and the last stage.
        weight_decay: on matrices and kernels.
        schedule: "constant", or "cosine" with a short warm-up.
        normalisation: what the data did to pixels in [0, 1]; data left as they are get what the backbone needs.

    Logged: ``loss`` (of a regression in the target's variances), ``accuracy`` of a classification; when evaluating
    ``score``, what scikit-learn calls so (accuracy; R^2; of a multi-label problem the mean average precision), beside
    ``f1`` and ``calibration_error``, or ``mae`` and ``rmse`` in the target's units.

    Raises:
        ValueError: an argument out of its range; no labels; a backbone that cannot be read or does not fit the data.
        FileNotFoundError: there is no such backbone.
    """

    monitor = "val/score"
    monitor_mode = "max"
    class_weight: Tensor
    target_mean: Tensor
    target_std: Tensor
    probed: Tensor

    def __init__(
        self,
        input_shape: Sequence[int] = (1, 28, 28),
        num_classes: int | None = None,
        class_names: list[str] = [],  # noqa: B006  # never changed; None would not be a list in a YAML file
        task: Task = "classification",
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
        schedule: Schedule = "cosine",
        normalisation: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        at_least(0, l2_sp=l2_sp, lora_rank=lora_rank, probe_l2=probe_l2, mixup=mixup, weight_decay=weight_decay)
        at_least(1, unfreeze_every=unfreeze_every)
        more_than(0, lr=lr, layer_decay=layer_decay)
        between(0, 1, layer_decay=layer_decay, wise_ft=wise_ft, label_smoothing=label_smoothing)
        if lora_rank and wise_ft < 1:
            raise ValueError("wise_ft lies between weights, and lora_rank learns changes to them: take one of the two")
        self.save_hyperparameters(ignore=["backbone"] if isinstance(backbone, nn.Module) else [])
        self.encoder, self.origin = load_backbone(backbone, input_shape, normalisation, drop_head, weights)
        if self.encoder.spec is not None:  # what is saved must not need the file again
            self.hparams["backbone"] = {**self.encoder.get_config(), "origin": self.origin}
        self.features = self.encoder.output_dim or self.encoder.feature_dim
        self._set_freedom()
        self._make_head()
        self.register_buffer("probed", torch.tensor(not self.origin or mode not in ("probe", "lp_ft")))
        self._blended = False
        self._numbers: Tensor | None = None  # of the data's classes among the head's, where they differ

    def _set_freedom(self) -> None:
        hp = self.hparams
        if hp.lora_rank:
            add_low_rank(self.encoder, hp.lora_rank)
        if hp.mode == "probe":
            self.encoder.requires_grad_(False)
        if hp.freeze_norm:
            for layer in batch_norms(self.encoder):
                layer.requires_grad_(False)

    def _make_head(self) -> None:
        """The last layer, and what goes with the number of classes."""
        hp = self.hparams
        outputs = hp.num_classes or 1
        self.head = nn.Linear(self.features, outputs)
        weights = hp.class_weights if isinstance(hp.class_weights, list) else [1.0] * outputs
        if len(weights) != outputs:
            raise ValueError(f"class_weights has {len(weights)} numbers for {outputs} classes")
        self.register_buffer("class_weight", torch.tensor(weights))
        self.register_buffer("target_mean", torch.zeros(outputs))
        self.register_buffer("target_std", torch.ones(outputs))
        self.start = self._copy() if hp.l2_sp or hp.wise_ft < 1 else None
        self.val_metrics, self.test_metrics = (task_metrics(hp.task, outputs) for _ in range(2))

    def _copy(self) -> nn.ModuleDict:
        return nn.ModuleDict(copy.deepcopy({"encoder": self.encoder, "head": self.head})).requires_grad_(False)

    # What is computed

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean over the batch's labelled samples of the task's loss, and the tie to the start."""
        x, labels = require(batch, INPUT, self), self.known_labels(require(batch, LABEL, self))
        if self.training and self.hparams.mixup and self.hparams.task != "regression":
            x, order, share = mixup(x, self.hparams.mixup)
            output = self._standard(x)
            loss = share * self._loss(output, labels) + (1 - share) * self._loss(output, labels[order])
        else:
            output = self._standard(x)
            loss = self._loss(output, labels)
        logs = {}
        if self.hparams.task == "classification":
            logs["accuracy"] = (output.argmax(1) == labels).sum() / is_labelled(labels).sum().clamp_min(1)
        return self._tied(loss), logs

    def _tied(self, loss: Tensor) -> Tensor:
        """With the tie to the start."""
        if not self.hparams.l2_sp or self.start is None:
            return loss
        tie = l2_sp_distance(self.encoder.parameters(), self.start["encoder"].parameters())
        return loss + self.hparams.l2_sp / 2 * tie

    def _loss(self, output: Tensor, labels: Tensor) -> Tensor:
        hp = self.hparams
        if hp.task == "regression":
            labels = (labels - self.target_mean) / self.target_std
        weight = None if hp.class_weights == "none" else self.class_weight
        return task_loss(output, labels, hp.task, weight, hp.label_smoothing if self.training else 0.0)

    def known_labels(self, labels: Tensor) -> Tensor:
        """Labels under the numbers that the head knows them by."""
        if self.hparams.task == "regression":
            return labels.view(len(labels), -1).float()
        if self._numbers is None:
            return labels
        numbers = self._numbers.to(labels.device)
        if self.hparams.task == "multilabel":
            return labels.new_zeros(len(labels), self.head.out_features).index_copy_(1, numbers, labels)
        return torch.where(labels >= 0, numbers[labels.clamp_min(0)], labels)

    def encode(self, x: Tensor) -> Tensor:
        """Inputs (B, *input_shape) to features (B, D)."""
        as_they_came = self.hparams.normalisation is None and self.encoder.normalisation is not None
        return self.encoder(self.encoder.preprocess(x) if as_they_came else x)

    def _standard(self, x: Tensor) -> Tensor:
        """The head's output; of a regression in deviations from the mean."""
        return self.head(self.encode(x))

    def forward(self, x: Tensor) -> Tensor:
        """Inputs (B, *input_shape) to logits (B, C), or values in the target's units."""
        output = self._standard(x)
        return output * self.target_std + self.target_mean if self.hparams.task == "regression" else output

    def classify(self, x: Tensor) -> Tensor:
        """Probabilities (B, C), which sum to 1 unless a sample may have several classes; of a regression its values."""
        output = self(x).float()
        return {"classification": output.softmax(1), "multilabel": output.sigmoid()}.get(self.hparams.task, output)

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """``classify`` of a batch."""
        return self.classify(require(as_mapping(batch), INPUT, self))

    # Evaluation

    def _evaluate(self, stage: str, batch: Any, batch_idx: int) -> None:
        super()._evaluate(stage, batch, batch_idx)
        batch = as_mapping(batch)
        labels = self.known_labels(batch[LABEL])
        chosen = is_labelled(labels)
        labels = labels[chosen] if self.hparams.task == "regression" else labels[chosen].long()
        if len(labels):
            getattr(self, f"{stage}_metrics").update(self.classify(batch[INPUT][chosen]), labels)

    def on_validation_epoch_end(self) -> None:
        self._log_metrics("val")

    def on_test_epoch_end(self) -> None:
        self._log_metrics("test")

    def _log_metrics(self, stage: str) -> None:
        metrics = getattr(self, f"{stage}_metrics")
        if not self.trainer.strategy.reduce_boolean_decision(metrics["score"].update_called, all=False):
            return  # nowhere a label
        values = {f"{stage}/{name}": value for name, value in metrics.compute().items()}
        metrics.reset()
        self.log_dict(values, prog_bar=True)

    # Training

    def on_fit_start(self) -> None:
        if self.hparams.num_classes is None:
            raise ValueError("these data have no labels, and fine-tuning needs some: name data that have")
        if not self.origin:
            name = self.hparams.get("backbone", {}).get("network", "a given network")
            log.warning("no trained backbone is named (--model.backbone PATH): %s learns from scratch", name)

    def on_train_start(self) -> None:
        hp = self.hparams
        if self.current_epoch or self.global_step:
            return  # resumed: it has all this
        if not self.probed or hp.class_weights == "balanced" or hp.task == "regression":
            self._look_at_training_data()
        if self.start is not None:
            self.start["head"].load_state_dict(self.head.state_dict())

    @torch.no_grad()
    def _look_at_training_data(self) -> None:
        """Once through: classes are counted, targets measured, the head is fitted to features as they are."""
        hp, features, labels = self.hparams, [], []
        training = self.training
        self.eval()
        for batch in self._training_batches():
            labels.append(self.known_labels(require(batch, LABEL, self)))
            if not self.probed:
                features.append(self.encode(require(batch, INPUT, self)).float())
        self.train(training)
        truth = self._of_all_ranks(torch.cat(labels))
        chosen = is_labelled(truth)
        truth = truth[chosen]
        if not len(truth):
            raise ValueError("not one training sample has a label")
        if hp.class_weights == "balanced":
            self.class_weight.copy_(balanced_class_weights(truth, hp.num_classes))
        if hp.task == "regression":
            std, mean = torch.std_mean(truth, 0, correction=0)
            self.target_mean.copy_(mean)
            self.target_std.copy_(torch.where(std > 0, std, 1.0))
        if not self.probed:
            self._fit_head(self._of_all_ranks(torch.cat(features))[chosen], truth)
            self.probed.fill_(True)

    def _fit_head(self, features: Tensor, labels: Tensor) -> None:
        hp, l2 = self.hparams, self.hparams.probe_l2 / len(labels)
        if hp.task == "regression":
            weight, bias = fit_ridge(features, (labels - self.target_mean) / self.target_std, l2)
        else:
            class_weight = None if hp.class_weights == "none" else self.class_weight
            weight, bias = fit_logistic(features, labels, hp.num_classes, l2, class_weight=class_weight)
        self.head.weight.copy_(weight)
        self.head.bias.copy_(bias)

    def _training_batches(self) -> Iterator[Mapping[str, Any]]:
        """From a loader of its own where there is a datamodule, so that the trainer's keeps its place."""
        data: Any = getattr(self.trainer, "datamodule", None)
        for batch in data.train_dataloader() if data else self.trainer.train_dataloader or ():
            yield as_mapping(self.trainer.strategy.batch_to_device(batch))

    def _of_all_ranks(self, x: Tensor) -> Tensor:
        """Rows of this process (N, ...), or of all, which have as many each."""
        return self.trainer.strategy.all_gather(x).flatten(0, 1) if self.trainer.world_size > 1 else x

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if self.hparams.mode == "probe":
            self.trainer.should_stop = True  # the head is fitted already
        return super().training_step(batch, batch_idx)

    def _frozen(self) -> list[nn.Module]:
        """What does not learn at this epoch."""
        hp = self.hparams
        if hp.mode == "probe":
            return [self.encoder]
        frozen = batch_norms(self.encoder) if hp.freeze_norm or hp.lora_rank else []
        if hp.mode == "gradual":
            parts = stages(self.encoder)
            frozen = frozen + parts[: max(0, len(parts) - self.current_epoch // hp.unfreeze_every)]
        return frozen

    def train(self, mode: bool = True) -> "FinetuneModule":
        """As ever, but what is frozen stays in eval mode: its statistics, too, are bit-identical then."""
        super().train(mode)
        for layer in [*self._frozen(), *([self.start] if self.start is not None else [])]:
            layer.eval()
        return self

    def on_train_epoch_start(self) -> None:
        self.train()  # another epoch may freeze other stages

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        if self.hparams.mode == "gradual":  # under DDP every parameter must have a gradient, so it is dropped here
            for part in self._frozen():
                for parameter in part.parameters():
                    parameter.grad = None

    def configure_optimizers(self) -> Any:
        hp = self.hparams
        if hp.mode == "probe":
            return SGD(self.head.parameters(), lr=0.0)
        held = {id(p) for p in self.encoder.parameters()}
        beside = [p for p in self.parameters() if p.requires_grad and id(p) not in held]  # the head, and a subclass's
        layers = [*staged_parameters(self.encoder), beside]
        return adamw(
            self, hp.lr, hp.weight_decay, hp.schedule, layered_groups(layers, hp.lr, hp.weight_decay, hp.layer_decay)
        )

    # What comes after

    def blend(self) -> None:
        """Put weights between the start's and the trained ones in their place (WiSE-FT); only once."""
        share = self.hparams.wise_ft
        if share < 1 and self.start is not None and not self._blended:
            for name, network in (("encoder", self.encoder), ("head", self.head)):
                network.load_state_dict(interpolate(self.start[name].state_dict(), network.state_dict(), share))
            self._blended = True

    on_test_start = on_predict_start = blend

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self._blended = False
        self._adopt(checkpoint["hyper_parameters"])

    def _adopt(self, saved: Mapping[str, Any]) -> None:
        """The checkpoint's classes; the data's may be fewer, in another order, or none."""
        hp = self.hparams
        theirs, mine = list(saved["class_names"]), list(hp.class_names)
        if hp.num_classes is not None and saved["task"] != hp.task:
            raise ValueError(f"the checkpoint is of a {saved['task']}, the data are for a {hp.task}")
        if hp.num_classes is not None and mine != theirs:
            if unknown := [name for name in mine if name not in theirs]:
                raise ValueError(
                    f"the data have classes that the head does not know: {', '.join(unknown[:5])}; it knows "
                    f"{', '.join(theirs)}"
                )
            self._numbers = torch.tensor([theirs.index(name) for name in mine])
        if not theirs and hp.num_classes not in (None, saved["num_classes"]):
            raise ValueError(f"the data have {hp.num_classes} classes, the head knows {saved['num_classes']}")
        hp.update({key: saved[key] for key in ("num_classes", "class_names", "task")})
        if self.head.out_features != (hp.num_classes or 1):
            self._make_head()
