"""Transfer learning: an encoder that learned on much data, and a new last layer that learns from few labels.

The encoder is any module's, exported or within a checkpoint, or a network from scratch to compare with. Four ways:

- ``probe``: only the last layer, on frozen features. They are computed once, and a linear model is fitted to them until
  it converges;
- ``full``: everything, with a last layer initialised at random;
- ``lp_ft``: the probe first, then everything (Kumar et al. 2022): a random last layer does not distort the features,
  which stay useful out of distribution;
- ``gradual``: the last layer alone, then stage after stage from the top (Howard & Ruder 2018).

Options of ``SupervisedModule``: layer-wise learning rates (Clark et al. 2020), L2-SP (Li et al. 2018), LoRA (Hu et al.
2022) and WiSE-FT (Wortsman et al. 2022).
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, get_args

from torch import Tensor, nn
from torch.optim import SGD

from zoo.core.arguments import at_least, one_of
from zoo.core.findings import Headline
from zoo.modules.baseline import build_seeded, supervised_options
from zoo.modules.pretraining import Pretraining, pretrain, untrained_config
from zoo.modules.supervised import Mode, SupervisedModule
from zoo.networks.encoder import checked_shape
from zoo.networks.spec import Spec


class FinetuneModule(SupervisedModule):
    """An encoder with a linear head, trained on labels.

    Args:
        input_shape: Shape of one sample, (C, H, W) or another.
        num_classes: Number of classes or, of a regression, of values, C; None where the data have no labels.
        class_names: Names of the classes, in the order of their indices.
        task: Task: "classification"; "multilabel", several classes per sample; "regression"; or a task's import path.
        backbone: Folder with an exported encoder, or checkpoint of any module that has one; such a module's
            ``encoder`` itself, which is copied; a classifier of torchvision ("resnet18") or timm ("timm:NAME"); else a
            network's spec, trained from scratch; "" is one that is pretrained first.
        mode: Mode: "probe", "full", "lp_ft" (a linear probe first, then everything) or "gradual" (stage by stage from
            the top). For a network from scratch "lp_ft" is "full".
        pretraining: Pretraining where no backbone is named, on all training samples without their labels: "map" (a
            self-organising map), "denoising" (an autoencoder), "auto" (a map where a sample has 256 numbers or fewer)
            or "none".
        pretrain_epochs: Number of epochs of that pretraining.
        options: Further options of ``SupervisedModule``.

    Logged: ``loss`` (of a regression in units of the target's variance), ``accuracy`` of a classification; when
    evaluating ``score``, as scikit-learn defines it (accuracy; R^2; of a multi-label problem the mean average
    precision), beside ``f1`` and ``calibration_error``, or ``mae`` and ``rmse`` in the target's units.

    Raises:
        ValueError: an argument out of its range; no labels; a backbone that cannot be read or does not fit the data.
        FileNotFoundError: there is no such backbone.
    """

    modes = ("probe", "full", "lp_ft", "gradual")
    deterministic_options: ClassVar[dict[str, Any]] = {"pretraining": "none"}  # a map's ties are decided by rounding
    frozen_options: ClassVar[dict[str, Any]] = {"pretraining": "none"}  # frozen parameters stay as made
    headline = Headline(
        ("accuracy",),
        variant="mode",
        advice="a `backbone` trained on more data, or more test samples, which tell smaller differences",
    )

    def __init__(
        self,
        input_shape: Sequence[int] = (1, 28, 28),
        num_classes: int | None = None,
        class_names: list[str] = [],  # noqa: B006  # as in SupervisedModule
        task: str = "classification",
        backbone: Spec | nn.Module = "",
        mode: Mode = "lp_ft",
        pretraining: Pretraining = "auto",
        pretrain_epochs: int = 30,
        **options: Any,
    ) -> None:
        at_least(1, pretrain_epochs=pretrain_epochs)
        one_of(get_args(Pretraining), pretraining=pretraining)
        alone = not isinstance(backbone, nn.Module) and not backbone and pretraining != "none"
        if alone:
            backbone = untrained_config(pretraining, checked_shape(input_shape), options.get("normalisation"))
        super().__init__(input_shape, num_classes, class_names, task, backbone, mode=mode, **options)
        self._pretrains = alone

    @property
    def contestants(self) -> tuple[str, str]:  # type: ignore[override]
        """Names of the module and of its baseline in the results."""
        other = "conv" if len(self.hparams.input_shape) == 3 else "mlp"
        return "pretrained", f"{'the same network' if self._learns_from_scratch else other} from scratch"

    @property
    def _learns_from_scratch(self) -> bool:
        """Whether the encoder's network is one that labels alone can train: a map's units are not."""
        return getattr(self.encoder.trunk, "learns_from_scratch", True)

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """The task's loss, averaged over the batch's labelled samples, plus the weighted L2-SP penalty."""
        return self.supervised_loss(batch)

    def on_fit_start(self) -> None:
        if self.hparams.num_classes is None:
            raise ValueError("these data have no labels, and fine-tuning needs some: use labelled data")

    def on_train_start(self) -> None:
        if self._pretrains and not (self.current_epoch or self.global_step):
            pretrain(self)
        super().on_train_start()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if self.hparams.mode == "probe":
            self.trainer.should_stop = True  # the head is fitted already
        return super().training_step(batch, batch_idx)

    def _frozen(self) -> list[nn.Module]:
        return [self.encoder] if self.hparams.mode == "probe" else super()._frozen()

    def configure_optimizers(self) -> Any:
        if self.hparams.mode == "probe":
            return SGD(self.head.parameters(), lr=0.0)
        return super().configure_optimizers()

    def baseline(self) -> "FinetuneModule | None":
        """A network from scratch: the same, or one that suits the input where the same cannot learn so. None of one
        that learns from scratch itself, or was given as a network."""
        config = self.hparams.get("backbone")
        if not self.origin or not config:
            return None
        plain = {"mode": "full", "lora_rank": 0, "l2_sp": 0.0, "wise_ft": 1.0, "freeze_norm": False, "layer_decay": 1.0}
        options = {**supervised_options(self), **plain, "backbone": {**config, "origin": ""}}
        if not self._learns_from_scratch:
            options["backbone"] = ""
        other: FinetuneModule = build_seeded(self, FinetuneModule, **options, pretraining="none")
        return other

    def baseline_limits(self) -> tuple[int | None, int]:
        """As many steps, but for a probe, whose training has none: the trainer's own limits."""
        if self.hparams.mode != "probe":
            return super().baseline_limits()
        return self.trainer.max_epochs, self.trainer.max_steps
