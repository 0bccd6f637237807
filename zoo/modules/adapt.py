"""Domain adaptation: labels in one domain, the source, and a classifier for another, the target, that has none.

Every method learns from the source's labels, and from images of the target:

- ``none``: does not use them, the baseline of the others;
- ``adabn``: batch norms have the target's statistics (Li et al. 2016), nothing else changes;
- ``coral``: features of both domains get the same covariance (Sun & Saenko 2016);
- ``dann``: a critic classifies features by domain, and the encoder learns to prevent that (Ganin et al. 2016);
- ``cdan``: that critic sees features together with the class probabilities (Long et al. 2018);
- ``adamatch``: confident predictions for target images are pseudo-labels for strongly augmented views of the same
  images (Berthelot et al. 2022).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from zoo.core.arguments import at_least, between, one_of
from zoo.core.batch import LABEL, TARGET, require
from zoo.core.findings import Headline
from zoo.core.optim import total_steps_fn
from zoo.functional.adapt import (
    certainty_weight,
    conditioned,
    coral_loss,
    domain_loss,
    pseudo_label_loss,
    ramp,
    reverse_gradient,
    strong_view,
    warm_up,
)
from zoo.modules.baseline import build_seeded, supervised_options
from zoo.modules.supervised import SupervisedModule
from zoo.networks.spec import Spec
from zoo.networks.stages import batch_norms

Method = Literal["none", "adabn", "coral", "dann", "cdan", "adamatch"]
METHODS = get_args(Method)
# What did best from MNIST to MNIST-M, on seeds that are not reported.
_STRENGTH = {"coral": 1000.0, "dann": 0.1, "cdan": 0.1, "adamatch": 2.0}
_OWN = {"network": {"name": "conv", "norm": "batch"}, "output_dim": None}


class AdaptModule(SupervisedModule):
    """A classifier for the target domain; training batches hold ``input`` and ``label`` of the source, and ``target``.

    Args:
        input_shape: Shape of one image, (C, H, W).
        num_classes: Number of classes, C.
        backbone: Backbone, as for ``FinetuneModule``; "" is a convolutional network with batch norms, which subtracts
            the mean of each image and divides by its standard deviation if the data have not been normalised.
        method: Method of adaptation: "none", "adabn", "coral", "dann", "cdan" or "adamatch".
        strength: Final weight of the method's loss: "dann" and "cdan" follow Ganin's ramp, "adamatch" half a cosine;
            None is 1000 for "coral" (its loss has a factor 1 / 4 D^2), 0.1 for "dann" (which tolerates little more, and
            no larger learning rate than the default) and "cdan", 2 for "adamatch".
        threshold: Confidence that "adamatch" requires of a pseudo-label, as a share of the confidence on the source.
        blend: Largest share of a target image in an augmented source image of "adamatch", which keeps its label
            (domain mixup, Xu et al. 2020).
        entropy_weight: Whether confident samples count more for the domain critic of "cdan" (CDAN+E).
        mode: Mode: "full", "lp_ft" (a linear probe first, then everything) or "gradual" (stage by stage from the top).
        options: Further options of ``SupervisedModule``.

    Logged, beside what ``FinetuneModule`` logs: ``domain``, the method's loss before it is weighted.

    Raises:
        ValueError: an argument out of its range, "adabn" for a network without batch norms, no labels, no target.
    """

    headline = Headline(
        ("accuracy",), "Did adaptation pay?", variant="method", advice="another `method`, or `strength` and `threshold`"
    )
    contestants = ("adapted", "not adapted")
    batch_independent = "its batch norms look at whole batches"
    takes_tuples = False  # a tuple cannot hold images of two domains

    def __init__(
        self,
        input_shape: Sequence[int] = (3, 28, 28),
        num_classes: int | None = None,
        backbone: Spec | nn.Module = "",
        method: Method = "adamatch",
        strength: float | None = None,
        threshold: float = 0.9,
        blend: float = 0.5,
        entropy_weight: bool = True,
        mode: Literal["full", "lp_ft", "gradual"] = "lp_ft",
        **options: Any,
    ) -> None:
        at_least(0, strength=0.0 if strength is None else strength)
        between(0, 1, threshold=threshold, blend=blend)
        one_of(METHODS, method=method)
        if not backbone:
            normalisation = options.get("normalisation") or {"sample_offset": 0.05}
            backbone = {**_OWN, "input_shape": input_shape, "normalisation": normalisation}
        super().__init__(input_shape, num_classes, backbone=backbone, mode=mode, **options)
        if self.hparams.task != "classification":
            raise ValueError(f"domain adaptation is for `task` classification; got {self.hparams.task!r}")
        if method == "adabn" and not batch_norms(self.encoder):
            raise ValueError(f"adabn needs batch norms, and {self.encoder.spec!r} has none")
        self.on_head_change()
        self._progress = 0.0  # of the training, from 0 to 1

    def on_head_change(self) -> None:
        """A critic that classifies features by domain (for "cdan" with class probabilities); no part of the encoder."""
        hp = self.hparams
        width = self.features * (hp.num_classes or 1) if hp.method == "cdan" else self.features
        adversarial = hp.method in ("dann", "cdan")
        layers = (nn.Linear(width, 256), nn.ReLU(), nn.Linear(256, 1)) if adversarial else ()
        self.critic = nn.Sequential(*layers) if adversarial else None

    def on_fit_start(self) -> None:
        if self.hparams.num_classes is None:
            raise ValueError("the source has no labels, and domain adaptation needs them: use labelled data")

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy on the source; while training, plus the method's loss for the target."""
        if not self.training or self.hparams.method == "none":
            return self.supervised_loss(batch)
        x, labels = require(batch, self.input_key, self), self.to_head_labels(require(batch, LABEL, self))
        target = require(batch, TARGET, self)
        if self.hparams.method == "adabn":
            return self._with_target_statistics(batch, target)
        if self.hparams.method == "adamatch":
            share = self.hparams.blend * torch.rand(len(x), *[1] * (x.ndim - 1), device=x.device, dtype=x.dtype)
            views = [x, strong_view(torch.lerp(x, target, share)), target, strong_view(target)]
            plain, changed, weak, strong = self.compute(torch.cat(views))[1].chunk(4)
            supervised = (self._loss_of(plain, labels) + self._loss_of(changed, labels)) / 2
            added = pseudo_label_loss(strong, weak, plain, self.hparams.threshold)
        else:
            features, output = self.compute(torch.cat([x, target]))
            plain = output.chunk(2)[0]
            supervised, added = self._loss_of(plain, labels), self._alignment(features, output)
        return supervised + self._strength() * added, {**self.task.logs(plain, labels), "domain": added}

    def _alignment(self, features: Tensor, output: Tensor) -> Tensor:
        """Distance between the domains, from features (2 B, D) and outputs (2 B, C)."""
        hp = self.hparams
        if hp.method == "coral":
            return coral_loss(*features.chunk(2))
        assert self.critic is not None
        strength = ramp(self._progress)
        if hp.method == "dann":
            return domain_loss(self.critic(reverse_gradient(features, strength)).squeeze(1))
        probabilities = output.detach().float().softmax(1)
        seen = conditioned(reverse_gradient(features, strength), probabilities.to(features.dtype))
        weight = certainty_weight(probabilities) if hp.entropy_weight else None
        return domain_loss(self.critic(seen).squeeze(1), weight)

    def _with_target_statistics(self, batch: Mapping[str, Any], target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Running statistics of the target alone, so that they are right whenever the network is evaluated."""
        with still(batch_norms(self.encoder)):
            found = self.supervised_loss(batch)
        with torch.no_grad():
            self.encode(target)
        return found

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self._progress = min(1.0, self.global_step / max(1.0, total_steps_fn(self)()))

    def baseline(self) -> "AdaptModule | None":
        """The same network from the same start, to learn without the target."""
        if self.hparams.method == "none" or "backbone" not in self.hparams:
            return None
        other: AdaptModule = build_seeded(self, AdaptModule, **supervised_options(self), method="none")
        other.encoder.load_state_dict(self.encoder.state_dict())
        return other

    def _strength(self) -> float:
        hp = self.hparams
        strength = _STRENGTH[hp.method] if hp.strength is None else hp.strength
        return strength * (warm_up(self._progress) if hp.method == "adamatch" else 1.0)


@contextmanager
def still(norms: list[nn.Module]) -> Iterator[None]:
    """Batch norms leave their running statistics unchanged inside, and normalise by the batch as before."""
    momenta: list[Any] = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0  # type: ignore[assignment]
    yield
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
