"""Joint-embedding pretraining: views of one image get the same embedding, and not all images the same.

Eight methods share one step. They differ in what keeps the embeddings from becoming one point, a collapse:

- ``simclr``: other images are pushed away (Chen et al. 2020a); ``decoupled`` is DCL (Yeh et al. 2022);
- ``vicreg`` (Bardes et al. 2022), ``barlow`` (Zbontar et al. 2021): variances and covariances within the batch;
- ``lejepa``: the embeddings' distribution is made normal (Balestriero & LeCun 2025);
- ``byol`` (Grill et al. 2020), ``simsiam`` (Chen & He 2021): a predictor, and targets without gradient;
- ``mocov3``: the same, and other images are pushed away (Chen et al. 2021);
- ``dino``: a centred and sharpened distribution over prototypes as the target (Caron et al. 2021).
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Generator, Tensor, nn

from zoo.core.arguments import at_least
from zoo.core.base import ZooModule
from zoo.core.batch import INDEX, LOCAL_VIEWS, VIEWS, check_shape, require
from zoo.core.distributed import gather_with_gradient
from zoo.core.ema import update_ema
from zoo.core.findings import Headline
from zoo.core.optim import OptimSpec, batch_scaled_lr, check_specs, configure, param_groups
from zoo.functional.contrastive import embedding_spread, target_momentum
from zoo.functional.contrastive_methods import METHODS, with_options
from zoo.functional.normalisation import check_invertible, denormalise, normalise
from zoo.functional.precision import full_precision
from zoo.functional.views import ViewRecipe, default_recipe, idle_colours, make_views, parse_recipe, view_numbers
from zoo.networks.encoder import Encoder, checked_shape
from zoo.networks.projector import Centre, Projector, PrototypeProjector
from zoo.networks.spec import Spec

log = logging.getLogger(__name__)

Name = Literal["simclr", "vicreg", "barlow", "byol", "simsiam", "mocov3", "dino", "lejepa"]
Head = Projector | PrototypeProjector


class ContrastiveModule(ZooModule):
    """Pretraining on images without labels by eight joint-embedding methods.

    Args:
        input_shape: Shape of one image, (C, H, W).
        method: Method: "simclr", "vicreg", "barlow", "byol", "simsiam", "mocov3", "dino" or "lejepa".
        network: Spec of the trunk, "conv", "cifar_resnet", "vit", "torchvision:resnet18" or another. Local views need
            one that takes any size, which "conv" does not.
        recipe: Recipe of the views, "photo" (SimCLR's), "small", "grey", "handwriting" or "mild", or a mapping such as
            {name: photo, blur: 0}; None suits the images' size and channels, and whether they may be mirrored.
        global_views: Number of views of the whole image, G, 2 in all the papers.
        local_views: Number of smaller views of small crops beside them (DINO's multi-crop); 0 is none.
        local_size: Side of a local view in pixels; None is half the image's.
        local_scale: Least and largest share of the area in a local view, DINO's.
        projector: Outputs of the projector's layers; None is the method's, with hidden layers of 1/4
            to 1/16 of its paper's.
        predictor: Outputs of the predictor's layers (byol, simsiam, mocov3), likewise; [] is no predictor.
        prototypes: Number of prototypes of dino; None is 1024 in place of the paper's 65536, for small data.
        temperature: Temperature of simclr (None: 0.5, its paper's for CIFAR), mocov3 (0.2) and dino's student (0.1).
        target_temperature: Temperature of dino's teacher; None is the paper's 0.04.
        momentum: Momentum of the target network at the start (byol, mocov3, dino), which rises to 1 by a half cosine;
            None is 0.99, MoCo v3's, in place of 0.996: short trainings have few steps.
        weight: Weight of what prevents a collapse: barlow's off-diagonal correlations (None: 0.005, its paper's),
            vicreg's covariances (1, beside 25 and 25), lejepa's regulariser (0.05) for a batch of 128, scaled by
            128 / batch.
        decoupled: Whether simclr leaves the positive out of its denominator (DCL); None is false.
        regulariser: Regulariser of lejepa: "sigreg", the default, or "visreg", with a gradient at a collapse, too.
        directions: Number of random directions of lejepa's regulariser; None is 256, the paper's for small images.
        export: Network that is kept: "online", the trained one, or "target", its moving average, dino's custom.
        lr: Learning rate for a batch of 256, scaled linearly by the whole batch, for simclr by its square root; None is
            0.004.
        weight_decay: Weight decay of matrices and kernels, LeJEPA's.
        optimizer: Optimiser, "adamw", "sgd" or "lars", or a mapping with its options.
        schedule: Schedule of the learning rate, "constant", "cosine" or "linear", or {name: cosine, warmup: 0.1}.
        normalisation: Normalisation that the data applied to pixels in [0, 1]; stored with the encoder.
        mirrored: Whether a mirrored image is still of its class, as the data say; None is yes.

    Logged: ``loss``; ``spread`` of the embeddings, 1 where their directions are even and 0 at a collapse; lejepa's
    ``invariance`` and ``sigreg`` (or ``visreg``), with ``sigreg_normal`` and ``sigreg_collapsed``, the values of normal
    embeddings and of a collapse.

    Raises:
        ValueError: an argument out of its range, or that the method does not have; a network that does not fit.
    """

    monitor = None  # the losses of some fall at a collapse, too: the last checkpoint counts
    headline = Headline(("features",), variant="method")
    batch_independent: ClassVar[str] = "its losses compare the samples of a batch"
    artifacts: ClassVar[tuple[str, ...]] = (*ZooModule.artifacts, "views.png")
    quick_options: ClassVar[dict[str, Any]] = {"network": {"name": "conv", "width": 8}, "projector": [32, 16]}
    divergence_hint = "try a lower `lr`, or `trainer.precision` 32-true"

    def __init__(
        self,
        input_shape: Sequence[int] = (1, 28, 28),
        method: Name = "simclr",
        network: Spec | nn.Module = "conv",
        recipe: Spec | None = None,
        global_views: int = 2,
        local_views: int = 0,
        local_size: int | None = None,
        local_scale: Sequence[float] = (0.05, 0.4),
        projector: list[int] | None = None,
        predictor: list[int] | None = None,
        prototypes: int | None = None,
        temperature: float | None = None,
        target_temperature: float | None = None,
        momentum: float | None = None,
        weight: float | None = None,
        decoupled: bool | None = None,
        regulariser: Literal["sigreg", "visreg"] | None = None,
        directions: int | None = None,
        export: Literal["online", "target"] = "online",
        lr: float | None = None,
        weight_decay: float = 0.05,
        optimizer: OptimSpec = "adamw",
        schedule: OptimSpec = "cosine",
        normalisation: dict[str, Any] | None = None,
        mirrored: bool | None = None,
    ) -> None:
        super().__init__()
        at_least(0, local_views=local_views, weight_decay=weight_decay)
        at_least(1, global_views=global_views)
        check_specs(optimizer, schedule)
        self.save_hyperparameters(ignore=["network"] if isinstance(network, nn.Module) else [])
        self.method = with_options(method, self.hparams)
        if global_views + local_views < 2:
            raise ValueError("views are compared with each other: `global_views` 2, or `local_views` beside one")
        if export == "target" and self.method.momentum is None:
            raise ValueError(f"method {method!r} has no target network to `export`: byol, mocov3 and dino have one")
        self.recipe, self.local = self._recipes()
        self.encoder, self.projector, self.predictor = self.configure_networks(network)
        if self.method.momentum is not None:
            self.twin, self.target_projector = self.encoder.average(), self.projector.average()
        if export == "target":  # what is kept is always called ``encoder``
            self.encoder, self.twin = self.twin, self.encoder
        self.centre = Centre(self.projector.output_dim) if self.method.prototypes else None
        self._range_checked = False

    def _recipes(self) -> tuple[ViewRecipe, tuple[ViewRecipe, tuple[int, int]]]:
        """The recipe of global views, and that of local ones with their size.

        Raises:
            ValueError: the data are no images, or a number is out of its range.
        """
        hp, shape = self.hparams, checked_shape(self.hparams.input_shape)
        if len(shape) != 3:
            raise ValueError(
                f"views are made of images (channels, height, width); got {shape}: for tables there is the autoencoder"
            )
        recipe = parse_recipe(hp.recipe or default_recipe(shape, hp.mirrored))
        if idle := idle_colours(recipe, shape[0]):
            log.warning(idle)
        scale = tuple(hp.local_scale)
        if len(scale) != 2 or not 0 < scale[0] <= scale[1] <= 1:
            raise ValueError(f"local_scale must be two shares of the area, the smaller first, in (0, 1]; got {scale}")
        if hp.local_size is not None:
            at_least(1, local_size=hp.local_size)
        height, width = (hp.local_size or -(-side // 2) for side in shape[1:])
        return recipe, (recipe._replace(scale=scale), (height, width))

    @property
    def remedy(self) -> str:
        """What to do when the embeddings collapse."""
        own = METHODS[self.hparams.method]
        if own.predictor and not self.method.predictor:
            return f"{self.hparams.method} needs its predictor: leave `predictor` out"
        return f"a lower `lr`: {own.lr:g} is usual" if self.method.lr > 10 * own.lr else own.remedy

    def configure_networks(self, network: Spec | nn.Module) -> tuple[Encoder, Head, nn.Module]:
        """The encoder (B, *input_shape) -> (B, F), its projector -> (B, D), and the predictor (B, D) -> (B, D)."""
        hp, method = self.hparams, self.method
        encoder = Encoder(network, hp.input_shape, None, hp.normalisation)
        if hp.local_views and not encoder.takes(self.local[1]):
            sides = " x ".join(map(str, self.local[1]))
            raise ValueError(
                f"the network cannot take local views of {sides}: take `network` cifar_resnet, of any size"
            )
        if method.prototypes:
            return encoder, PrototypeProjector(encoder.feature_dim, method.projector, method.prototypes), nn.Identity()
        projector = Projector(encoder.feature_dim, method.projector, method.last_norm)
        if not method.predictor:
            return encoder, projector, nn.Identity()
        return encoder, projector, Projector(projector.output_dim, method.predictor, method.predicted_norm)

    @property
    def online(self) -> Encoder:
        """The encoder that is trained by gradient."""
        return self.twin if self.hparams.export == "target" else self.encoder

    @property
    def target(self) -> Encoder:
        """Its moving average, in methods that have one."""
        return self.encoder if self.hparams.export == "target" else self.twin

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """The method's loss of the whole batch, that of all processes: the same on each."""
        stacks = self.views(batch)
        samples = stacks[0].shape[1]
        embeddings = self.projector(torch.cat([self.online(stack.flatten(0, 1)) for stack in stacks]))
        views = self._whole_batch(self.predictor(embeddings), samples)
        if self.method.momentum is not None:
            with torch.no_grad():
                targets = self.target_projector(self.target(stacks[0].flatten(0, 1)))
            targets = self._whole_batch(targets, samples)
        else:
            targets = self._whole_batch(embeddings, samples)[: len(stacks[0])]
        targets = targets.detach() if self.method.stopped else targets
        with torch.autocast(self.device.type, enabled=False):
            centre = None if self.centre is None else self.centre.mean
            loss, logs = self.method.loss(self.method, views, targets, centre, self._step_generator())
        if self.centre is not None and self.training:
            self.centre.update(targets)
        self.embeddings = targets.detach()
        return loss, {**logs, "spread": embedding_spread(self.embeddings)}

    def _whole_batch(self, rows: Tensor, samples: int) -> Tensor:
        """This process's embeddings (V * B, D), view after view, as those of all processes (V, N, D) float32."""
        by_sample = full_precision(rows).unflatten(0, (-1, samples)).transpose(0, 1)  # (B, V, D)
        views = gather_with_gradient(by_sample).transpose(0, 1)
        if views.shape[1] < 2:
            raise ValueError("a batch of one has nothing to be compared with: `data.batch_size` 2 or more")
        return views

    def _step_generator(self) -> Generator:
        """Randomness of this step's loss, the same on all processes."""
        step = self.global_step if self.training else -1
        return Generator(self.device).manual_seed(hash((self._seed, step)) % 2**63)

    def views(self, batch: Mapping[str, Any]) -> list[Tensor]:
        """Views as the encoder takes them: global ones (G, B, C, H, W), and local ones (L, B, C, h, w), if any.

        They are a function of (seed, epoch, sample, view); a batch that has ``views`` keeps its own.
        """
        if VIEWS in batch:
            return [batch[key].transpose(0, 1) for key in (VIEWS, LOCAL_VIEWS) if key in batch]
        hp, x = self.hparams, require(batch, self.input_key, self)
        samples = batch[INDEX] if INDEX in batch else torch.randint(2**31, (len(x),), device=x.device)
        images, place = self._images(x), (self._seed, self.current_epoch if self.training else -1)
        stacks, first = [], 0
        for count, recipe, size in ((hp.global_views, self.recipe, None), (hp.local_views, *self.local)):
            if count:
                numbers = torch.cat([view_numbers(*place, samples, first + i) for i in range(count)])
                made = make_views(images.repeat(count, 1, 1, 1), recipe, numbers, size)
                made = normalise(made, hp.normalisation).contiguous(memory_format=torch.channels_last)  # a third faster
                stacks.append(made.unflatten(0, (count, len(x))))
            first += count
        return stacks

    def _images(self, x: Tensor) -> Tensor:
        """Inputs (B, C, H, W) as they were before their normalisation, in [0, 1]."""
        if not self._range_checked:
            self._range_checked = True
            check_shape(x, self.hparams.input_shape)
            check_invertible(x, self.hparams.normalisation)
        return denormalise(x, self.hparams.normalisation)

    def encode(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) to features (B, F)."""
        return self.encoder(x)  # type: ignore[no-any-return]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        theirs, ours = checkpoint["hyper_parameters"]["method"], self.hparams.method
        if theirs != ours:
            raise ValueError(f"this checkpoint is of method {theirs}, not {ours}: take `method` {theirs}")

    def configure_optimizers(self) -> Any:
        hp = self.hparams
        groups = param_groups(nn.ModuleList([self.online, self.projector]), hp.weight_decay)
        constant = {"constant_lr": self.method.constant_predictor}
        groups += [{**group, **constant} for group in param_groups(self.predictor, hp.weight_decay) if group["params"]]
        lr = batch_scaled_lr(self, self.method.lr, self.method.lr_rule)
        return configure(self, hp.optimizer, hp.schedule, lr, hp.weight_decay, groups)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        momentum, step = self.method.momentum, self.global_step
        super().optimizer_step(*args, **kwargs)
        if momentum is not None:
            decay = target_momentum(step, self.trainer.estimated_stepping_batches, momentum)
            update_ema(self.target, self.online, decay, buffers=False)
            update_ema(self.target_projector, self.projector, decay, buffers=False)
