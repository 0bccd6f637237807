"""Generative adversarial networks: images from noise, and a critic whose features are worth keeping.

Goodfellow et al. 2014, "Generative adversarial nets". A generator makes images from noise, a critic distinguishes them
from real ones, and each learns from the other.

Two things differ from the usual loop. Both networks learn from *one* pass of the critic over real and fake images
(Shen et al. 2021, "Training GANs in one stage"): where the critic looks at every image alone, the generator's loss
and the critic's differ, for each fake, by the ratio of their gradients at its logit; so the critic's own backward pass,
multiplied by that ratio where it enters the generator, is the generator's. And there is one optimiser with a group for
each network, so that steps are batches, and clipping, accumulation, precision and DDP are the Trainer's as usual.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Adam

from zoo.core.arguments import at_least, below, more_than, one_of
from zoo.core.base import ZooModule
from zoo.core.batch import LABEL, require
from zoo.core.ema import update_ema
from zoo.core.findings import Headline
from zoo.core.optim import adam_eps, can_fuse, check_betas, clip_by_group
from zoo.functional import gan
from zoo.functional.diff_augment import POLICIES, diff_augment
from zoo.functional.priors import draw, interpolate_noise
from zoo.networks.encoder import Encoder
from zoo.networks.freezing import drop_gradients, evaluating
from zoo.networks.generator import CriticHead, Generator
from zoo.networks.spec import Spec, parse_spec

_DIRECTIONS = 256  # projections of the sliced Wasserstein distance
_LossTerms = tuple[Tensor, Tensor, dict[str, Tensor]]  # the loss, the critic's input, and the logs


class GANModule(ZooModule):
    """A generator and a critic, trained together.

    Args:
        input_shape: Shape of one image, (C, H, W).
        network: Spec of the critic's trunk: "dcgan", "gan_resnet" or "r3gan", which needs "relativistic" with
            ``r1``, ``r2`` and ``penalty_every`` 1 to cover all of the data (recipes/r3gan-digits.yaml).
        generator: Spec of the generator: the same, or "image", which takes an image of noise; "" is the critic's.
        latent_dim: Length of the noise vector; "image" takes none.
        prior: Distribution of the noise, one of ``zoo.functional.priors``.
        prior_options: Options of that distribution, by name.
        objective: Objective: "non_saturating", "minimax", "least_squares", "hinge", "wasserstein" (with ``wgan_gp``),
            or "relativistic" (with ``r1`` and ``r2``, as in R3GAN).
        r1: Weight of the penalty on the critic's gradient at real images.
        r2: Weight of the penalty on the critic's gradient at fake images.
        wgan_gp: Weight of WGAN-GP's penalty, 10 in the paper.
        penalty_every: Number of steps between penalties, which are scaled up to match (lazy, StyleGAN2).
        augment: Augmentations of real and fake images alike (DiffAugment), of "colour", "translation" and "cutout":
            for a thousand images or fewer.
        conditional: Whether to generate by class: labels are needed, and the critic projects on class embeddings.
        num_classes: Number of classes of the labels.
        critic_steps: Number of the critic's steps for each one of the generator.
        lr: Learning rate of Adam for the generator.
        critic_lr: Learning rate of Adam for the critic; 0 is the same (TTUR, Heusel et al. 2017, has it higher).
        betas: Betas of Adam.
        ema: Decay per step of the moving average of the generator, which makes the samples; 0 is none.
        channels_last: Whether images are in the channels-last memory format, which some devices compute faster.
        compiled: Whether ``torch.compile`` compiles both networks.
        normalisation: Normalisation that the data applied to pixels in [0, 1]; generated images get it too.

    Logged: ``loss`` (all that is minimised), ``critic`` and ``generator`` losses, mean logits ``real`` and ``fake``,
    and when evaluating ``swd``, the sliced Wasserstein distance of samples from real images in the pixels' units.

    Raises:
        ValueError: an argument out of its range, inputs that are not images, a conditional GAN without classes.
    """

    monitor = "val/swd"
    headline = Headline(("samples", "features"), "Are the samples good?", variant="objective", advice="more steps")
    batch_independent = "its noise is drawn for every batch; its own tests give halves the same noise"
    divergence_hint = "try a lower `lr`, a larger `r1`, or `trainer.gradient_clip_val` 1"
    renamed_tensors: ClassVar[dict[str, str]] = {"average.": "generator_ema."}
    renamed_methods: ClassVar[dict[str, str]] = {"criticise": "discriminate"}
    unchecked_options = ("prior_options",)  # a bound may be infinite

    def __init__(
        self,
        input_shape: Sequence[int] = (1, 28, 28),
        network: Spec = "dcgan",
        generator: Spec = "",
        latent_dim: int = 64,
        prior: str = "normal",
        prior_options: dict[str, Any] = {},  # noqa: B006
        objective: gan.Objective = "non_saturating",
        r1: float = 1.0,
        r2: float = 0.0,
        wgan_gp: float = 0.0,
        penalty_every: int = 4,
        augment: list[str] = [],  # noqa: B006  # never changed; None would not be a list in a YAML file
        conditional: bool = False,
        num_classes: int | None = None,
        critic_steps: int = 1,
        lr: float = 1e-3,
        critic_lr: float = 0.0,
        betas: tuple[float, float] = (0.5, 0.99),
        ema: float = 0.999,
        channels_last: bool = False,
        compiled: bool = False,
        normalisation: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        at_least(0, r1=r1, r2=r2, wgan_gp=wgan_gp, critic_lr=critic_lr, ema=ema)
        at_least(1, latent_dim=latent_dim, penalty_every=penalty_every, critic_steps=critic_steps)
        more_than(0, lr=lr, num_classes=num_classes or 1)
        below(1, ema=ema)
        check_betas(betas)
        one_of(gan.LOSSES, objective=objective)
        for policy in augment:
            one_of(POLICIES, augment=policy)
        if conditional and not num_classes:
            raise ValueError("a conditional GAN needs classes, and these data have no labels")
        self.save_hyperparameters()
        classes = (num_classes or 0) if conditional else 0
        self.encoder = Encoder(network, input_shape, normalisation=normalisation)
        self.head = CriticHead(self.encoder.feature_dim, classes)
        spec = generator or parse_spec(network)["name"]
        self.generator = Generator(spec, latent_dim, self.encoder.input_shape, classes, normalisation)
        if ema:
            self.generator_ema = self.generator.average()
        draw(prior, (2, *self.generator.latent_shape), **prior_options)  # wrong options raise now
        # Batch statistics would tie an image's logit to its neighbours.
        tied = any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in self.encoder.modules())
        self._one_pass = objective in gan.ONE_PASS and not tied

    def setup(self, stage: str) -> None:
        for network in (self.encoder, self.generator):
            if self.hparams.channels_last:
                network.to(memory_format=torch.channels_last)
            if self.hparams.compiled:
                network.compile()

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Both networks' losses while training; when evaluating the critic's, and the samples' distance from data."""
        x, labels = require(batch, self.input_key, self), self._labels(batch)
        if not self.training:
            return self._evaluation(x, labels)
        moves = self._is_generator_step()
        with torch.set_grad_enabled(moves):
            fake = self.generator(self._noise(len(x)), labels)
        losses_of = self._in_one_pass if self._one_pass and moves else self._in_two_passes
        total, shown, logs = losses_of(x, fake, labels)
        if not moves:  # DDP waits for every parameter's gradient
            total = total + 0 * sum(p.sum() for p in self.generator.parameters())
        return total + self._penalties(shown, labels), logs

    def _in_one_pass(self, real: Tensor, fake: Tensor, labels: Tensor | None) -> _LossTerms:
        """The critic's loss, whose gradient is rescaled where it enters the generator."""
        factor = gan.GradientScale()
        shown = self._critic_input(real, gan.scale_gradient(fake, factor))
        real_logits, fake_logits = self._logits(shown, labels)
        critic, generator, logs = self._losses(real_logits, fake_logits)
        factor.value = gan.gradient_ratio(critic, generator, fake_logits)
        return critic, shown, logs

    def _in_two_passes(self, real: Tensor, fake: Tensor, labels: Tensor | None) -> _LossTerms:
        """The critic's loss, and the generator's from a second pass of the critic over the fakes."""
        shown = self._critic_input(real, fake)
        real_logits, fake_logits = self._logits(shown.detach(), labels)
        critic, _, logs = self._losses(real_logits, fake_logits)
        if not fake.requires_grad:
            return critic, shown, logs
        made = shown[len(real) :]
        seen = made.detach().requires_grad_()
        again = self._objective.generator(real_logits.detach(), self.discriminate(seen, labels))
        (grad,) = torch.autograd.grad(again, seen)  # by the images alone: the critic's parameters are left out
        return critic + gan.inject_gradient(made, grad), shown, logs

    @property
    def _objective(self) -> gan.GANLoss:
        return gan.LOSSES[self.hparams.objective]

    def _losses(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """The critic's and the generator's loss from logits (B,) each, and the logs."""
        critic, generator = self._objective.critic(real, fake), self._objective.generator(real, fake)
        logs = {"critic": critic, "generator": generator, "real": real.mean(), "fake": fake.mean()}
        return critic, generator, {name: value.detach() for name, value in logs.items()}

    def _critic_input(self, real: Tensor, fake: Tensor) -> Tensor:
        """The critic's input: real and then fake images, augmented alike if wanted, (2B, C, H, W)."""
        shown = torch.cat([real, fake.to(real.dtype)])
        if self.hparams.channels_last:
            shown = shown.contiguous(memory_format=torch.channels_last)
        if not self.hparams.augment:
            return shown
        return diff_augment(shown, self.hparams.augment, self.generator.low, self.generator.high)

    def discriminate(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits (B,) of images (B, C, H, W), high for real ones; conditional on classes (B,) long, if there are."""
        return self.head(self.encoder(x), labels)  # type: ignore[no-any-return]

    def _logits(self, shown: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        real, fake = self.discriminate(shown, None if labels is None else labels.repeat(2)).chunk(2)
        return real, fake

    def _penalties(self, shown: Tensor, labels: Tensor | None) -> Tensor | float:
        hp = self.hparams
        if self.global_step % hp.penalty_every or not (hp.r1 or hp.r2 or hp.wgan_gp):
            return 0.0

        def critic(x: Tensor) -> Tensor:  # compiled networks cannot be differentiated twice; ``forward`` never is one
            return self.head(self.encoder.forward(x), labels)  # type: ignore[no-any-return]

        real, fake = shown.detach().chunk(2)
        return gan.penalties(critic, real, fake, hp.r1, hp.r2, hp.wgan_gp) * hp.penalty_every

    def _evaluation(self, x: Tensor, labels: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        samples = self.sample(len(x), labels)
        features = self.encoder(torch.cat([x, samples.to(x.dtype)]))
        self.keep(GANModule, features=features[: len(x)])
        real, fake = self.head(features, None if labels is None else labels.repeat(2)).chunk(2)
        critic, _, logs = self._losses(real, fake)
        directions = nn.functional.normalize(torch.randn(x[0].numel(), _DIRECTIONS, device=x.device).float(), dim=0)
        logs["swd"] = gan.sliced_distance(x.flatten(1).float(), samples.flatten(1).float(), directions)
        return critic, logs

    def _labels(self, batch: Mapping[str, Any]) -> Tensor | None:
        if not self.hparams.conditional:
            return None
        labels: Tensor = require(batch, LABEL, self)
        if labels.is_cpu and (labels < 0).any():
            raise ValueError("a conditional GAN needs a label for every image: `data.labelled_only` true")
        return labels

    def _noise(self, count: int) -> Tensor:
        hp, shape = self.hparams, (count, *self.generator.latent_shape)
        return draw(hp.prior, shape, device=self.device, **hp.prior_options)

    # Features and samples

    def encode(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) to the critic's features (B, F)."""
        return self.encoder(x)  # type: ignore[no-any-return]

    @property
    def conditional(self) -> bool:
        """Whether samples are conditional on a class."""
        return bool(self.hparams.conditional)

    def sample(self, n: int, labels: Tensor | None = None) -> Tensor:
        """``n`` generated images (n, C, H, W); conditional ones of classes (n,) long, or of each in turn."""
        return self.generate(self._noise(n), labels)

    @torch.no_grad()
    def generate(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images (B, C, H, W) from noise (B, *latent_shape), by the generator's moving average if there is one.

        Raises:
            ValueError: noise of another shape.
        """
        if tuple(z.shape[1:]) != self.generator.latent_shape:
            raise ValueError(f"this generator takes noise of {self.generator.latent_shape}; got {tuple(z.shape[1:])}")
        if self.conditional and labels is None:
            labels = torch.arange(len(z), device=z.device) % self.hparams.num_classes
        network = self.generator_ema if self.hparams.ema else self.generator
        with evaluating(network):
            return network(z, labels)  # type: ignore[no-any-return]

    def walk(self, rows: int, steps: int = 10) -> Tensor:
        """Images (rows, steps, C, H, W) along interpolations between two noise samples."""
        start, end = self._noise(2 * rows).chunk(2)
        z = interpolate_noise(start, end, steps, self.hparams.prior == "normal" and not self.hparams.prior_options)
        labels = torch.arange(rows, device=z.device) % self.hparams.num_classes if self.conditional else None
        images = self.generate(z.flatten(0, 1), None if labels is None else labels.repeat_interleave(steps))
        return images.unflatten(0, (rows, steps))

    def configure_optimizers(self) -> Any:
        hp = self.hparams
        critic = [p for network in (self.encoder, self.head) for p in network.parameters() if p.requires_grad]
        generator = [p for p in self.generator.parameters() if p.requires_grad]
        groups = [{"params": critic, "lr": hp.critic_lr or hp.lr}, {"params": generator}]
        return Adam(groups, lr=hp.lr, betas=tuple(hp.betas), eps=adam_eps(groups), fused=can_fuse(self.trainer))

    def _is_generator_step(self) -> bool:
        return (self.global_step + 1) % self.hparams.critic_steps == 0

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        if not self._is_generator_step():
            drop_gradients([self.generator])  # zeros would still update it, by Adam's momentum

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Each network by itself: a large gradient of the critic must not shorten the generator's step."""
        clip_by_group(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        moves = self._is_generator_step()
        super().optimizer_step(*args, **kwargs)
        if moves and self.hparams.ema:
            step = self.global_step / self.hparams.critic_steps
            decay = min(self.hparams.ema, (1 + step) / (10 + step))  # faster at first
            update_ema(self.generator_ema, self.generator, decay)
