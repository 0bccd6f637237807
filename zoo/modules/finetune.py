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

import logging
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.optim import SGD

from zoo.modules.supervised import SupervisedModule

log = logging.getLogger(__name__)


class FinetuneModule(SupervisedModule):
    """An encoder with a linear head, trained on labels.

    Args:
        mode: Mode: "probe", "full", "lp_ft" (a linear probe first, then everything) or "gradual" (stage by stage from
            the top). For a network from scratch "lp_ft" is "full".
        options: Further options of ``SupervisedModule``.

    Logged: ``loss`` (of a regression in units of the target's variance), ``accuracy`` of a classification; when
    evaluating ``score``, as scikit-learn defines it (accuracy; R^2; of a multi-label problem the mean average
    precision), beside ``f1`` and ``calibration_error``, or ``mae`` and ``rmse`` in the target's units.

    Raises:
        ValueError: an argument out of its range; no labels; a backbone that cannot be read or does not fit the data.
        FileNotFoundError: there is no such backbone.
    """

    modes = ("probe", "full", "lp_ft", "gradual")

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """The task's loss, averaged over the batch's labelled samples, plus the weighted L2-SP penalty."""
        return self.supervised_loss(batch)

    def on_fit_start(self) -> None:
        if self.hparams.num_classes is None:
            raise ValueError("these data have no labels, and fine-tuning needs some: use labelled data")
        if not self.origin:
            name = self.hparams.get("backbone", {}).get("network", "a given network")
            log.warning("no trained backbone is named (`backbone` PATH): %s learns from scratch", name)

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
