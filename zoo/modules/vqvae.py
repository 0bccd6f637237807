"""VQ-VAE: an autoencoder whose code is a small grid of vectors from a learned codebook.

van den Oord et al. 2017, "Neural discrete representation learning". The encoder gives a vector for each position of a
grid; each vector is replaced by the nearest of K code vectors; the decoder reconstructs the image from those.
Quantisation has no gradient, so the decoder's gradient is passed to the encoder unchanged (straight-through), and a
``commitment`` term keeps the encoder's vectors near their codes. The codes are moving averages of their vectors.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from zoo.core.arguments import at_least, below, more_than
from zoo.core.base import ZooModule
from zoo.core.batch import as_mapping, require
from zoo.core.findings import Headline
from zoo.core.optim import OptimSpec, check_specs, configure
from zoo.functional.autoencoder import gaussian_nll
from zoo.functional.quantise import commitment, perplexity, straight_through
from zoo.networks.encoder import Encoder, checked_shape
from zoo.networks.quantiser import VectorQuantiser
from zoo.networks.spec import DECODERS, Spec, build


class VQVAEModule(ZooModule):
    """A vector-quantised autoencoder for images.

    Args:
        input_shape: Shape of one image, (C, H, W).
        network: Spec of the convolutional encoder; the decoder mirrors it. Without ``stages`` in it, sides are divided
            by 4, those below 16 by 2.
        codes: Number of codes in the codebook, K.
        code_dim: Dimension of a code vector.
        commitment_weight: Weight of the commitment term, relative to the mean squared error.
        decay: Decay per step of the codes' moving averages.
        std: Standard deviation of the Gaussian likelihood, in the units of the input.
        lr: Learning rate of the optimiser.
        weight_decay: Weight decay of matrices and kernels.
        optimizer: Optimiser, "adamw", "sgd" or "lars", or a mapping such as {name: adamw, betas: [0.9, 0.95]} (see
            ``zoo.core.optim.configure``).
        schedule: Schedule of the learning rate, "constant", "cosine" or "linear", or {name: cosine, warmup: 0.1}.
        normalisation: Normalisation that the data applied to pixels in [0, 1]; stored with the encoder.

    Logged: ``loss`` and ``nll`` in nats per sample, ``commitment``, ``perplexity`` (codes in use, 1 to K), and when
    evaluating ``mse`` per pixel.

    Raises:
        ValueError: an argument out of its range, or inputs that are not images.
    """

    batch_independent = "its codebook begins with random vectors of the first batch, and is updated by every batch"
    renamed_methods: ClassVar[dict[str, str]] = {"words": "code_indices"}
    # PCA with as many numbers is exact: these codes have as many numbers as an image has places, but few bits each.
    headline = Headline(("features", "reconstruction", "samples"), itself=("PCA of the same size",))

    def __init__(
        self,
        input_shape: Sequence[int] = (1, 28, 28),
        network: Spec = "conv",
        codes: int = 512,
        code_dim: int = 16,
        commitment_weight: float = 0.25,
        decay: float = 0.99,
        std: float = 0.1,
        lr: float = 2e-3,
        weight_decay: float = 0.0,
        optimizer: OptimSpec = "adamw",
        schedule: OptimSpec = "constant",
        normalisation: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        more_than(0, codes=codes, code_dim=code_dim, std=std, lr=lr)
        at_least(0, decay=decay, commitment_weight=commitment_weight, weight_decay=weight_decay)
        below(1, decay=decay)
        check_specs(optimizer, schedule)
        self.save_hyperparameters()
        options = {"name": network} if isinstance(network, str) else dict(network)
        if options.get("name") != "conv":
            raise ValueError(f"a VQ-VAE needs a grid of vectors: network 'conv', not {options.get('name')!r}")
        options = {"stages": 2 if min(checked_shape(input_shape)[1:]) >= 16 else 1, **options, "out_channels": code_dim}
        self.encoder = Encoder(options, input_shape, normalisation=normalisation)
        self.grid_shape: tuple[int, ...] = self.encoder.trunk.feature_shape  # type: ignore[assignment]
        self.decoder = build(options, DECODERS, latent_dim=self.encoder.feature_dim, output_shape=tuple(input_shape))
        self.quantiser = VectorQuantiser(codes, code_dim, decay)

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Negative log-likelihood in nats and the weighted commitment, mean over the batch."""
        x = require(batch, self.input_key, self)
        hp = self.hparams
        features = self.encoder(x)
        self.keep(VQVAEModule, features=features)
        z = self._vectors(features)
        quantised, indices = self.quantiser(z)
        output = self.decoder(self._grid(straight_through(z, quantised), len(x)))
        counts = torch.bincount(indices, minlength=hp.codes).float()
        logs = {
            "nll": gaussian_nll(output, x, hp.std).mean(),
            "commitment": commitment(z, quantised),
            "perplexity": perplexity(counts),
        }
        if not self.training:
            logs["mse"] = (output - x).square().mean()
        # Both terms in one unit: a squared error summed over an image, over twice the variance.
        scale = x[0].numel() / (2 * hp.std**2)
        return logs["nll"] + hp.commitment_weight * scale * logs["commitment"], logs

    def encode(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) to the flattened grid of vectors before quantisation, (B, code_dim * h * w)."""
        return self.encoder(x)

    def code_indices(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) to the indices of their codes, (B, h, w) long."""
        _, indices = self.quantiser(self._vectors(self.encoder(x)))
        return indices.view(len(x), *self.grid_shape[1:])

    def decode(self, z: Tensor) -> Tensor:
        """Flattened grids (B, code_dim * h * w) to images (B, C, H, W), each vector replaced by its code."""
        quantised, _ = self.quantiser(self._vectors(z))
        return self.decoder(self._grid(quantised, len(z)))

    def reconstruct(self, batch: Any) -> Tensor:
        """A batch, or its input (B, C, H, W), through encoder, codes and decoder."""
        return self.decode(self.encode(require(as_mapping(batch, self.input_key), self.input_key, self)))

    def interpolate(self, start: Tensor, end: Tensor, steps: int = 10) -> Tensor:
        """Images (B, steps, C, H, W) along the line between the encodings of two images (B, C, H, W)."""
        first, last = self.encode(start).unsqueeze(1), self.encode(end).unsqueeze(1)
        weight = torch.linspace(0, 1, steps, device=first.device, dtype=first.dtype).view(1, -1, 1)
        z = torch.lerp(first, last, weight)
        return self.decode(z.flatten(0, 1)).unflatten(0, z.shape[:2])

    def predict(self, x: Tensor) -> Tensor:
        """Indices of the nearest codes, (B, h, w) long."""
        return self.code_indices(x)

    def configure_optimizers(self) -> Any:
        hp = self.hparams
        return configure(self, hp.optimizer, hp.schedule, hp.lr, hp.weight_decay)

    def _vectors(self, z: Tensor) -> Tensor:
        """Flattened grids (B, code_dim * h * w) to vectors (B * h * w, code_dim)."""
        return z.unflatten(1, self.grid_shape).movedim(1, -1).flatten(0, 2)

    def _grid(self, vectors: Tensor, batch: int) -> Tensor:
        """Vectors back to flattened grids."""
        return vectors.view(batch, *self.grid_shape[1:], -1).movedim(-1, 1).flatten(1)
