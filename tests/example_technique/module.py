"""A linear autoencoder as a technique of the zoo."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from example_technique.functional import linear_reconstruction, squared_error
from zoo.core.base import ZooModule
from zoo.core.batch import INPUT, require
from zoo.core.optim import configure
from zoo.networks.encoder import Encoder


class LinearAutoencoderModule(ZooModule):
    """One linear layer, there and back.

    Args:
        input_shape: Shape of one sample.
        latent_dim: Length of the code, D.
        lr: AdamW's learning rate.
        normalisation: Normalisation of the data, kept with the encoder.
    """

    def __init__(
        self,
        input_shape: Sequence[int] = (1, 8, 8),
        latent_dim: int = 8,
        lr: float = 1e-2,
        normalisation: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.encoder = Encoder({"name": "mlp", "widths": []}, input_shape, latent_dim, normalisation)

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Squared error of the reconstruction, mean over the batch."""
        x = require(batch, INPUT, self)
        output = linear_reconstruction(self.encoder(x), self.encoder.head.weight)
        return squared_error(output, x.flatten(1)), {}

    def encode(self, x: Tensor) -> Tensor:
        """Samples (B, *input_shape) to codes (B, D)."""
        return self.encoder(x)

    def configure_optimizers(self) -> Any:
        return configure(self, "adamw", "constant", self.hparams.lr)
