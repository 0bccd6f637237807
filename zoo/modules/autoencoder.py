"""Autoencoders: squeeze the input through a few numbers and rebuild it; what survives is the representation.

Three variants share one encoder and one decoder:

- ``plain``: the negative log-likelihood of the input given its code (Hinton & Salakhutdinov 2006);
- ``denoising``: the same, but the encoder sees a damaged input (Vincent et al. 2010);
- ``vae``: the code is a distribution, and its divergence from N(0, 1) is added (Kingma & Welling 2014),
  weighted by ``beta`` (Higgins et al. 2017; 1 is the evidence lower bound).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from zoo.base import ZooModule
from zoo.batch import INPUT, as_mapping, require
from zoo.functional.autoencoder import (
    LOG_VARIANCE_RANGE,
    Corruption,
    bernoulli_nll,
    corrupt,
    gaussian_kl,
    gaussian_nll,
    reparameterise,
)
from zoo.networks import DECODERS, Spec, build
from zoo.networks.encoder import Encoder
from zoo.optim import Schedule, adamw

Variant = Literal["plain", "denoising", "vae"]
Likelihood = Literal["bernoulli", "gaussian"]


class AutoencoderModule(ZooModule):
    """Plain, denoising and (beta-)variational autoencoders for pictures and vectors of any size.

    Args:
        input_shape: of one sample: (C, H, W), or (features,) with ``network="mlp"``.
        variant: "plain", "denoising" or "vae".
        network: spec of the encoder's trunk, "conv" or "mlp" with their options; the decoder mirrors it.
        latent_dim: D, the length of the code.
        likelihood: "gaussian" for any real inputs, "bernoulli" for inputs in [0, 1] that are (nearly) black or white.
        std: of the Gaussian likelihood, in the units of the input.
        beta: weight of the VAE's divergence.
        corruption: of the denoising variant: "gaussian", "masking" or "salt_pepper".
        corruption_level: its standard deviation, or the share of elements replaced.
        lr: AdamW's learning rate.
        weight_decay: on matrices and kernels.
        schedule: "constant", or "cosine" with a short warm-up.
        normalisation: what the data did to pixels in [0, 1]; kept with the encoder for its later users.

    Logged: ``loss`` and ``nll`` in nats a sample, ``kl`` (VAE), and when evaluating ``mse`` a pixel.

    Raises:
        ValueError: an argument out of its range, a network that does not fit, inputs that the likelihood excludes.
    """

    def __init__(
        self,
        input_shape: Sequence[int] = (1, 28, 28),
        variant: Variant = "vae",
        network: Spec | nn.Module = "conv",
        latent_dim: int = 16,
        likelihood: Likelihood = "gaussian",
        std: float = 0.1,
        beta: float = 1.0,
        corruption: Corruption = "gaussian",
        corruption_level: float = 0.3,
        lr: float = 2e-3,
        weight_decay: float = 0.0,
        schedule: Schedule = "constant",
        normalisation: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        for name, value in {"latent_dim": latent_dim, "std": std, "lr": lr}.items():
            if not value > 0:
                raise ValueError(f"{name} must be more than 0; got {value}")
        self.save_hyperparameters(ignore=["network"] if isinstance(network, nn.Module) else [])
        self.encoder, self.decoder = self.configure_networks(network)
        if variant == "vae":
            self.log_variance = nn.Linear(self.encoder.feature_dim, latent_dim)
        self._range_checked = False

    def configure_networks(self, network: Spec | nn.Module) -> tuple[Encoder, nn.Module]:
        """The encoder (B, *input_shape) -> (B, D) and the decoder back; override to bring your own."""
        hp = self.hparams
        encoder = Encoder(network, hp.input_shape, hp.latent_dim, hp.normalisation)
        mirror = "mlp" if isinstance(network, nn.Module) else network
        return encoder, build(mirror, DECODERS, latent_dim=hp.latent_dim, output_shape=tuple(hp.input_shape))

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean over the batch of the variant's objective, in nats."""
        x = require(batch, INPUT, self)
        self._check_range(x)
        hp = self.hparams
        damaged = corrupt(x, hp.corruption, hp.corruption_level) if hp.variant == "denoising" else x
        features = self.encoder.trunk(damaged)
        z = self.encoder.head(features)
        logs = {}
        if hp.variant == "vae":
            mean, log_variance = z, self.log_variance(features).clamp(*LOG_VARIANCE_RANGE)
            z = reparameterise(mean, log_variance)
            logs["kl"] = gaussian_kl(mean, log_variance).mean()
        output = self.decoder(z)
        logs["nll"] = self._nll(output, x).mean()
        if not self.training:
            logs["mse"] = (self._to_input(output) - x).square().mean()
        return logs["nll"] + hp.beta * logs.get("kl", 0.0), logs

    def encode(self, x: Tensor) -> Tensor:
        """Inputs (B, *input_shape) to codes (B, D): for the VAE, the mean."""
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        """Codes (B, D) to the means of their inputs (B, *input_shape)."""
        return self._to_input(self.decoder(z))

    def reconstruct(self, batch: Any) -> Tensor:
        """A batch, or its input (B, *input_shape), through encoder and decoder."""
        return self.decode(self.encode(require(as_mapping(batch), INPUT, self)))

    def sample(self, n: int) -> Tensor:
        """``n`` new inputs (n, *input_shape) from the VAE's prior.

        Raises:
            ValueError: for the other variants, which have no prior to sample from.
        """
        if self.hparams.variant != "vae":
            raise ValueError(f"variant {self.hparams.variant!r} has no prior to sample from; use variant='vae'")
        return self.decode(torch.randn(n, self.hparams.latent_dim, device=self.device))

    def interpolate(self, start: Tensor, end: Tensor, steps: int = 10) -> Tensor:
        """From inputs (B, *input_shape) to others, along a line between codes: (B, steps, *input_shape)."""
        weight = torch.linspace(0, 1, steps, device=start.device, dtype=start.dtype).view(1, -1, 1)
        z = torch.lerp(self.encode(start).unsqueeze(1), self.encode(end).unsqueeze(1), weight)  # (B, steps, D)
        return self.decode(z.flatten(0, 1)).unflatten(0, z.shape[:2])

    def forward(self, x: Tensor) -> Tensor:
        return self.encode(x)

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The codes of a batch."""
        return self.encode(require(as_mapping(batch), INPUT, self))

    def configure_optimizers(self) -> Any:
        return adamw(self, self.hparams.lr, self.hparams.weight_decay, self.hparams.schedule)

    def _nll(self, output: Tensor, x: Tensor) -> Tensor:
        if self.hparams.likelihood == "bernoulli":
            return bernoulli_nll(output, x)
        return gaussian_nll(output, x, self.hparams.std)

    def _to_input(self, output: Tensor) -> Tensor:
        return output.sigmoid() if self.hparams.likelihood == "bernoulli" else output

    def _check_range(self, x: Tensor) -> None:
        """Once, on the first batch: a wrong range trains to nonsense without a word."""
        if self._range_checked:
            return
        self._range_checked = True
        shape = tuple(self.hparams.input_shape)
        if tuple(x.shape[1:]) != shape:
            raise ValueError(f"input_shape is {shape} but the batch holds inputs of shape {tuple(x.shape[1:])}")
        low, high = x.min().item(), x.max().item()
        if self.hparams.likelihood == "bernoulli" and not (low >= 0 and high <= 1):
            raise ValueError(
                f"likelihood 'bernoulli' needs inputs in [0, 1], these are in [{low:.3g}, {high:.3g}]: "
                "use --data.normalise unit or --model.likelihood gaussian"
            )
