"""Masked autoencoders (MAE): hide most of an image's patches, and let a transformer say what they show.

He et al. 2022, "Masked autoencoders are scalable vision learners". The encoder sees the visible patches only, which
makes it cheap; a small decoder gets their codes, and a token with its position for each hidden patch. After training
the decoder is left out, and the encoder sees whole images. Three newer options:

- ``mask_block``: patches are hidden in blocks, which makes the task harder (Yang et al. 2025, Pixio);
- ``class_tokens``: several of them, whose mean is the feature (the same);
- ``predict``: the decoder answers for a share of the hidden patches, which makes it cheaper (Fu et al. 2024, CrossMAE).
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from zoo.core.arguments import at_least, between, more_than
from zoo.core.base import ZooModule
from zoo.core.batch import INDEX, as_mapping, check_shape, require
from zoo.core.findings import Headline
from zoo.core.optim import OptimSpec, batch_scaled_lr, check_specs, configure
from zoo.functional.masked_autoencoder import (
    check_mask,
    explained_share,
    patch_error,
    patch_statistics,
    patch_targets,
    put,
    split_patches,
    take,
)
from zoo.functional.patches import patchify, unpatchify
from zoo.networks.encoder import Encoder, checked_shape
from zoo.networks.mask_decoder import MaskDecoder
from zoo.networks.precision import cast_like
from zoo.networks.spec import Spec, parse_spec
from zoo.networks.vit import ViTTrunk

_EVALUATION = -1  # in place of an epoch: the same masks every time


class MaskedAutoencoderModule(ZooModule):
    """A masked autoencoder with a vision transformer, for images from 8 x 8 pixels on.

    Args:
        input_shape: Shape of one image, (C, H, W).
        network: Spec of the encoder, "vit" with its options: ``patch``, ``width``, ``depth``, ``heads``, ``mlp_ratio``.
            Width is 96 and depth 4 unless given, for small images on a CPU; MAE's smallest has 768 and 12.
        mask_ratio: Share of the patches that is hidden (MAE: 0.75).
        mask_block: Side in patches of the blocks that are hidden together (MAE: 1; Pixio: 4, of 16 x 16 patches).
        class_tokens: Number of class tokens, whose mean is the feature; 0 takes the mean of the patches' tokens
            (MAE: 1; Pixio: 8).
        predict: Share of the hidden patches that the decoder answers for in a step (MAE: 1; CrossMAE: 0.25 to 1).
        decoder_width: Numbers of a token in the decoder; None is half of the encoder's (MAE: 512 beside 1024).
        decoder_depth: Blocks of the decoder (MAE: 8, as deep as small encoders are; 2 learn as good features here).
        normalise_targets: Whether pixels are predicted in units of their patch's own mean and deviation (MAE's better
            variant).
        lr: Learning rate for batches of 256, to be scaled by the samples of a step (MAE: 1.5e-4 for 800 epochs of a
            million images and 4,096 a step; few small ones need more).
        weight_decay: Weight decay of matrices (MAE: 0.05).
        optimizer: Optimiser, "adamw", "sgd" or "lars", or a mapping such as {name: adamw, betas: [0.9, 0.95]}, which
            is MAE's (see ``zoo.core.optim.configure``).
        schedule: Schedule of the learning rate, "constant", "cosine" or "linear", or {name: cosine, warmup: 0.1} (MAE's
            warm-up is 0.05 of the steps).
        normalisation: Normalisation that the data applied to pixels in [0, 1]; stored with the encoder.

    Logged: ``loss``, the mean squared error of hidden patches' targets; ``explained``, the share of these targets'
    variance that is predicted (0 is what their mean would have).

    Raises:
        ValueError: an argument out of its range, a network that is no ``vit``, images that patches do not divide, a
            ratio that leaves no patch visible or hides none.
    """

    headline = Headline(
        ("features",), advice="fine-tuning (`module` finetune), by which masked autoencoders are judged"
    )
    may_collapse = False  # equal codes rebuild nothing: a small spread is a mean that all features share
    reconstructs_from_features = False  # but from visible patches: PCA of as many numbers does not compare
    quick_options: ClassVar[dict[str, Any]] = {"network": {"name": "vit", "width": 32, "depth": 2}}

    def __init__(
        self,
        input_shape: Sequence[int] = (1, 28, 28),
        network: Spec = "vit",
        mask_ratio: float = 0.75,
        mask_block: int = 1,
        class_tokens: int = 1,
        predict: float = 1.0,
        decoder_width: int | None = None,
        decoder_depth: int = 2,
        normalise_targets: bool = True,
        lr: float = 4e-3,
        weight_decay: float = 0.05,
        optimizer: OptimSpec = {"name": "adamw", "betas": [0.9, 0.95]},  # noqa: B006
        schedule: OptimSpec = {"name": "cosine", "warmup": 0.05},  # noqa: B006
        normalisation: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        more_than(0, lr=lr, predict=predict)
        between(0, 1, predict=predict)
        at_least(0, class_tokens=class_tokens, weight_decay=weight_decay)
        at_least(1, mask_block=mask_block, decoder_depth=decoder_depth, decoder_width=decoder_width or 4)
        check_specs(optimizer, schedule)
        self.save_hyperparameters()
        self.encoder, self.decoder = self.configure_networks(network)

    def configure_networks(self, network: Spec) -> tuple[Encoder, MaskDecoder]:
        """The encoder (B, C, H, W) -> (B, D), whose trunk is a ``ViTTrunk``, and the decoder of hidden patches."""
        hp = self.hparams
        if len(checked_shape(hp.input_shape)) != 3:
            raise ValueError(
                f"a masked autoencoder takes images (channels, height, width); got {tuple(hp.input_shape)}"
            )
        options = {"name": "vit", "width": 96, "depth": 4, "class_tokens": hp.class_tokens, **parse_spec(network)}
        if options["name"] != "vit":
            raise ValueError(f"a masked autoencoder hides patches: network 'vit', not {options['name']!r}")
        encoder = Encoder(options, hp.input_shape, normalisation=hp.normalisation)
        trunk: ViTTrunk = encoder.trunk  # type: ignore[assignment]
        (h, w), p = trunk.grid, trunk.patch
        check_mask(h * w, hp.mask_ratio)
        if hp.mask_block > max(1, min(h, w) // 2):
            raise ValueError(
                f"mask_block {hp.mask_block} is too large for {h} x {w} patches: take 1 to {max(1, min(h, w) // 2)}"
            )
        width = hp.decoder_width or max(4, trunk.feature_dim // 8 * 4)
        if width % 4:
            raise ValueError(f"decoder_width must be a multiple of 4; got {width}")
        decoder = MaskDecoder(
            trunk.feature_dim, trunk.num_class_tokens, (h, w), hp.input_shape[0] * p * p, width, hp.decoder_depth
        )
        return encoder, decoder

    @property
    def trunk(self) -> ViTTrunk:
        """The encoder's transformer."""
        return self.encoder.trunk  # type: ignore[return-value]

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean squared error of the hidden patches' targets, or of those that the decoder answers for."""
        x = require(batch, self.input_key, self)
        check_shape(x, self.hparams.input_shape)
        epoch = self.current_epoch if self.training else _EVALUATION
        visible, hidden = self._split(self._index(batch, x), epoch)
        wanted = hidden[:, : self._answered(hidden)]
        answers = self.decoder(self._encode_visible(x, visible), visible, wanted)
        targets = patch_targets(take(patchify(x, self.trunk.patch), wanted), self.hparams.normalise_targets)
        error = patch_error(answers, targets)
        return error, {"explained": explained_share(error.detach(), targets)}

    def encode(self, x: Tensor) -> Tensor:
        """Whole images (B, C, H, W), of any size that patches divide, to features (B, D)."""
        return self.encoder(x)

    @torch.no_grad()
    def reconstruct(self, batch: Any) -> Tensor:
        """Images (B, C, H, W) of a batch, or of its input, with the patches that evaluation hides (``hidden_pixels``)
        replaced by the decoder's answers, in units of the true patches' mean and deviation where it was so trained."""
        batch = as_mapping(batch, self.input_key)
        x = require(batch, self.input_key, self)
        check_shape(x, self.hparams.input_shape)
        visible, hidden = self._split(batch.get(INDEX, torch.arange(len(x), device=x.device)), _EVALUATION)
        patches, tokens = patchify(x, self.trunk.patch), self._encode_visible(x, visible)
        # As many at once as in training: they see one another.
        parts = hidden.split(self._answered(hidden), 1)
        answers = torch.cat([self.decoder(tokens, visible, part) for part in parts], 1)
        if self.hparams.normalise_targets:
            mean, std = patch_statistics(take(patches, hidden))
            answers = answers * std + mean
        return unpatchify(put(patches, hidden, answers), self.trunk.patch, self.trunk.grid)

    def hidden_pixels(self, batch: Any) -> Tensor:
        """Which pixels of a batch's images evaluation hides, (B, 1, H, W) bool."""
        batch = as_mapping(batch, self.input_key)
        x = require(batch, self.input_key, self)
        _, hidden = self._split(batch.get(INDEX, torch.arange(len(x), device=x.device)), _EVALUATION)
        rows = patchify(torch.zeros_like(x[:, :1]), self.trunk.patch)
        ones = torch.ones_like(take(rows, hidden))
        return unpatchify(put(rows, hidden, ones), self.trunk.patch, self.trunk.grid) > 0

    def configure_optimizers(self) -> Any:
        hp = self.hparams
        return configure(self, hp.optimizer, hp.schedule, batch_scaled_lr(self, hp.lr), hp.weight_decay)

    def _index(self, batch: Mapping[str, Any], x: Tensor) -> Tensor:
        """The samples' numbers; without them random ones, which the step's seed decides."""
        return batch[INDEX] if INDEX in batch else torch.randint(2**40, (len(x),), device=x.device)

    def _split(self, index: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        hp = self.hparams
        return split_patches(index, self.trunk.grid, hp.mask_ratio, self._seed, epoch, hp.mask_block)

    def _encode_visible(self, x: Tensor, visible: Tensor) -> Tensor:
        """Tokens (B, K + V, D) of the visible patches, class tokens first."""
        trunk = self.trunk
        return trunk.encode_tokens(take(trunk.embed(cast_like(x, trunk)), visible))

    def _answered(self, hidden: Tensor) -> int:
        """Number of the hidden patches (B, M) that the decoder answers for at once."""
        return max(1, round(hidden.shape[1] * self.hparams.predict))
