"""Autoencoders: compress the input to a short code and reconstruct it; the code is the representation.

Six variants share one encoder and one decoder. Four give one code for an input:

- ``plain``: the negative log-likelihood of the input given its code (Hinton & Salakhutdinov 2006);
- ``denoising``: the same, but the encoder sees a corrupted input (Vincent et al. 2010);
- ``sparse``: the same, and few units of the code may be active at once (Ng 2011);
- ``contractive``: the same, and the code's Jacobian is penalised (Rifai et al. 2011).

In two the code is a distribution q(z | x), kept near the prior N(0, 1):

- ``vae``: its KL divergence is added (Kingma & Welling 2014), weighted by ``beta`` (Higgins et al. 2017; 1 is the
  evidence lower bound);
- ``iwae``: a tighter bound from several samples of it, weighted by importance (Burda et al. 2016).
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from zoo.core.arguments import at_least, below, more_than
from zoo.core.base import ZooModule
from zoo.core.batch import as_mapping, check_shape, require
from zoo.core.findings import Headline
from zoo.core.optim import OptimSpec, check_specs, configure
from zoo.functional.autoencoder import (
    LOG_VARIANCE_RANGE,
    Corruption,
    bernoulli_nll,
    contractive_penalty,
    corrupt,
    gaussian_kl,
    gaussian_log_density,
    gaussian_nll,
    log_mean_exp,
    reparameterise,
    sparsity_kl,
    standard_log_density,
)
from zoo.networks.encoder import Encoder
from zoo.networks.precision import cast_like
from zoo.networks.spec import DECODERS, Spec, build

Variant = Literal["plain", "denoising", "sparse", "contractive", "vae", "iwae"]
Likelihood = Literal["bernoulli", "gaussian"]
_VARIATIONAL = ("vae", "iwae")
_SAMPLES_AT_ONCE = 10_000  # decoded together when estimating a likelihood: bounds the memory


class AutoencoderModule(ZooModule):
    """Plain, regularised and variational autoencoders for images and vectors of any size.

    Args:
        input_shape: Shape of one sample, (C, H, W), or (features,) with ``network="mlp"``.
        variant: Variant: "plain", "denoising", "sparse", "contractive", "vae" or "iwae".
        network: Spec of the encoder's trunk, "conv" or "mlp" with their options; the decoder mirrors it.
        latent_dim: Length of the code, D.
        likelihood: Likelihood of inputs: "gaussian" for any real ones, "bernoulli" for those in [0, 1] that are
            (nearly) black or white.
        std: Standard deviation of the Gaussian likelihood, in the units of the input.
        learn_std: Whether the standard deviation is learned from ``std`` on, one for all elements (Rybkin et al. 2021).
        beta: Weight of the VAE's KL divergence.
        importance_samples: Number of importance samples of the IWAE's bound, K.
        test_samples: Number of importance samples for an estimate of log p(x) when testing a variational variant; 0 is
            none.
        corruption: Corruption of the denoising variant's inputs: "gaussian", "masking", "salt_pepper", "crop" (a window
            of the image, from which the whole is reconstructed), or "view" (such a window, rotated and noisy).
        corruption_level: Standard deviation of the noise, share of elements replaced, or share of a side that may be
            cropped; of a view also the share of 90 degrees to either side.
        sparsity: Penalty of the sparse variant: "l1" of rectified codes, or "kl" of sigmoid codes' means from the
            target.
        sparsity_target: Target of "kl" for the mean of a code unit, in (0, 1).
        penalty: Weight of the sparse or contractive variant's penalty, relative to nats per sample.
        lr: Learning rate of the optimiser.
        weight_decay: Weight decay of matrices and kernels.
        optimizer: Optimiser, "adamw", "sgd" or "lars", or a mapping such as {name: adamw, betas: [0.9, 0.95]} (see
            ``zoo.core.optim.configure``).
        schedule: Schedule of the learning rate, "constant", "cosine" or "linear", or {name: cosine, warmup: 0.1}.
        normalisation: Normalisation that the data applied to pixels in [0, 1]; stored with the encoder.

    Logged: ``loss`` and ``nll`` in nats per sample; ``kl`` (VAE), ``penalty`` (sparse, contractive), ``active``
    (sparse: share of the code above 0.01), ``std`` (where learned); when evaluating ``mse`` per pixel; when testing
    with ``test_samples``, ``marginal_nll``: -log p(x) in nats per sample.

    Raises:
        ValueError: an argument out of its range, a network that does not fit, inputs that the likelihood excludes.
    """

    headline = Headline(
        ("features", "reconstruction", "samples"),
        variant="variant",
    )
    deterministic_options: ClassVar[dict[str, Any]] = {"variant": "plain"}

    def __init__(
        self,
        input_shape: Sequence[int] = (1, 28, 28),
        variant: Variant = "vae",
        network: Spec | nn.Module = "conv",
        latent_dim: int = 16,
        likelihood: Likelihood = "gaussian",
        std: float = 0.2,
        learn_std: bool = False,
        beta: float = 1.0,
        importance_samples: int = 5,
        test_samples: int = 0,
        corruption: Corruption = "gaussian",
        corruption_level: float = 0.3,
        sparsity: Literal["l1", "kl"] = "l1",
        sparsity_target: float = 0.05,
        penalty: float = 1.0,
        lr: float = 2e-3,
        weight_decay: float = 0.0,
        optimizer: OptimSpec = "adamw",
        schedule: OptimSpec = "constant",
        normalisation: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        more_than(0, latent_dim=latent_dim, std=std, lr=lr, importance_samples=importance_samples)
        more_than(0, sparsity_target=sparsity_target)
        at_least(0, beta=beta, penalty=penalty, corruption_level=corruption_level, weight_decay=weight_decay)
        at_least(0, test_samples=test_samples)
        below(1, sparsity_target=sparsity_target)
        check_specs(optimizer, schedule)
        self.save_hyperparameters(ignore=["network"] if isinstance(network, nn.Module) else [])
        self.encoder, self.decoder = self.configure_networks(network)
        if variant in _VARIATIONAL:
            self.log_variance = nn.Linear(self.encoder.feature_dim, latent_dim)
        if learn_std and likelihood == "gaussian":
            self.log_std = nn.Parameter(torch.tensor(std).log())
        self._range_checked = False

    def configure_networks(self, network: Spec | nn.Module) -> tuple[Encoder, nn.Module]:
        """The encoder (B, *input_shape) -> (B, D) and the decoder back; override to bring your own."""
        hp = self.hparams
        activation = {"l1": "relu", "kl": "sigmoid"}[hp.sparsity] if hp.variant == "sparse" else None
        encoder = Encoder(network, hp.input_shape, hp.latent_dim, hp.normalisation, activation)
        mirror = "mlp" if isinstance(network, nn.Module) else network
        return encoder, build(mirror, DECODERS, latent_dim=hp.latent_dim, output_shape=tuple(hp.input_shape))

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean over the batch of the variant's objective, in nats."""
        x = require(batch, self.input_key, self)
        self._check_range(x)
        parts = {"vae": self._evidence_bound, "iwae": self._importance_bound}
        loss, output, logs = parts.get(self.hparams.variant, self._penalised)(x)
        if not self.training:
            logs["mse"] = (self._to_input(output) - x).square().mean()
        if hasattr(self, "log_std"):
            logs["std"] = self.log_std.exp()
        return loss, logs

    def _penalised(self, x: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """One code per input: negative log-likelihood, and the variant's penalty."""
        hp = self.hparams
        logs = {}
        if hp.variant == "contractive":
            z, squares = contractive_penalty(self.encoder, x)
            logs["penalty"] = squares.mean()
        else:
            z = self.encoder(corrupt(x, hp.corruption, hp.corruption_level) if hp.variant == "denoising" else x)
        if hp.variant == "sparse":
            logs["penalty"] = z.sum(1).mean() if hp.sparsity == "l1" else sparsity_kl(z, hp.sparsity_target)
            logs["active"] = (z > 0.01).float().mean()
        if hp.variant != "denoising":
            self.keep(AutoencoderModule, features=z)
        output = self.decoder(z)
        logs["nll"] = self._nll(output, x).mean()
        return logs["nll"] + hp.penalty * logs.get("penalty", 0.0), output, logs

    def _evidence_bound(self, x: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """E_q[-log p(x | z)] + beta KL(q(z | x) || p(z)), with one sample of q."""
        mean, log_variance = self.posterior(x)
        self.keep(AutoencoderModule, features=mean)
        output = self.decoder(reparameterise(mean, log_variance))
        logs = {"nll": self._nll(output, x).mean(), "kl": gaussian_kl(mean, log_variance).mean()}
        return logs["nll"] + self.hparams.beta * logs["kl"], output, logs

    def _importance_bound(self, x: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """-log of the mean of K importance weights p(x, z) / q(z | x)."""
        mean, log_variance = self.posterior(x)
        self.keep(AutoencoderModule, features=mean)
        log_weights, nll, output = self._log_weights(x, mean, log_variance, self.hparams.importance_samples)
        return -log_mean_exp(log_weights).mean(), output[:, 0], {"nll": nll.mean()}

    def _log_weights(self, x: Tensor, mean: Tensor, log_variance: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """K samples of q(z | x) each: log weights (B, K), -log p(x | z) (B, K) and the decoder's output (B, K, ...)."""
        mean, log_variance = mean.unsqueeze(1), log_variance.unsqueeze(1)
        z = reparameterise(mean.expand(-1, k, -1), log_variance)  # (B, K, D)
        output = self.decoder(z.flatten(0, 1))
        nll = self._nll(output, x).unflatten(0, (len(x), k))
        log_weights = standard_log_density(z) - gaussian_log_density(z, mean, log_variance) - nll
        return log_weights, nll, output.unflatten(0, (len(x), k))

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z | x), (B, D) each, for the variational variants."""
        features = self.encoder.trunk(cast_like(x, self.encoder))
        return self.encoder.head(features), self.log_variance(features).clamp(*LOG_VARIANCE_RANGE)

    @torch.no_grad()
    def log_likelihood(self, x: Tensor, samples: int = 200) -> Tensor:
        """Estimate of log p(x) in nats by importance sampling from q(z | x): (B, *input_shape) to (B,) float64.

        Its mean is a lower bound that tightens with ``samples`` (Burda et al. 2016).

        Raises:
            ValueError: the variant gives no distribution.
        """
        if self.hparams.variant not in _VARIATIONAL:
            raise ValueError(f"variant {self.hparams.variant!r} has no likelihood; use variant='vae' or 'iwae'")
        mean, log_variance = self.posterior(x)
        at_once = max(1, _SAMPLES_AT_ONCE // len(x))
        chunks = [min(at_once, samples - done) for done in range(0, samples, at_once)]
        weights = [self._log_weights(x, mean, log_variance, k)[0] for k in chunks]
        return log_mean_exp(torch.cat(weights, 1).double())

    def test_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        outputs = super().test_step(batch, batch_idx)
        if self.hparams.test_samples and self.hparams.variant in _VARIATIONAL:
            x = require(as_mapping(batch, self.input_key), self.input_key, self)
            nll = -self.log_likelihood(x, self.hparams.test_samples).float().mean()
            self.log("test/marginal_nll", nll, on_epoch=True, sync_dist=True, batch_size=len(x))
        return outputs

    def encode(self, x: Tensor) -> Tensor:
        """Inputs (B, *input_shape) to codes (B, D): for variational variants, the mean."""
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        """Codes (B, D) to the means of their inputs (B, *input_shape)."""
        return self._to_input(self.decoder(z))

    def reconstruct(self, batch: Any) -> Tensor:
        """A batch, or its input (B, *input_shape), through encoder and decoder."""
        return self.decode(self.encode(require(as_mapping(batch, self.input_key), self.input_key, self)))

    def sample(self, n: int) -> Tensor:
        """``n`` new inputs (n, *input_shape) from the variational variants' prior.

        Raises:
            ValueError: for the other variants, which have no prior to sample from.
        """
        if self.hparams.variant not in _VARIATIONAL:
            raise ValueError(f"variant {self.hparams.variant!r} has no prior to sample from; use 'vae' or 'iwae'")
        return self.decode(torch.randn(n, self.hparams.latent_dim, device=self.device))

    def interpolate(self, start: Tensor, end: Tensor, steps: int = 10) -> Tensor:
        """Reconstructions (B, steps, *input_shape) along the line between the codes of two inputs (B, *input_shape)."""
        first, last = self.encode(start).unsqueeze(1), self.encode(end).unsqueeze(1)
        weight = torch.linspace(0, 1, steps, device=first.device, dtype=first.dtype).view(1, -1, 1)
        z = torch.lerp(first, last, weight)  # (B, steps, D)
        return self.decode(z.flatten(0, 1)).unflatten(0, z.shape[:2])

    def configure_optimizers(self) -> Any:
        hp = self.hparams
        return configure(self, hp.optimizer, hp.schedule, hp.lr, hp.weight_decay)

    def _nll(self, output: Tensor, x: Tensor) -> Tensor:
        """-log p(x | z) of decoded (B * K, ...), K for each of the inputs (B, ...) in turn: (B * K,)."""
        if self.hparams.likelihood == "bernoulli":
            return bernoulli_nll(output, x)
        return gaussian_nll(output, x, self.log_std.exp() if hasattr(self, "log_std") else self.hparams.std)

    def _to_input(self, output: Tensor) -> Tensor:
        return output.sigmoid() if self.hparams.likelihood == "bernoulli" else output

    def _check_range(self, x: Tensor) -> None:
        """Check once, on the first batch: with a wrong range training gives nonsense without an error."""
        if self._range_checked:
            return
        self._range_checked = True
        check_shape(x, self.hparams.input_shape)
        low, high = x.min().item(), x.max().item()
        if self.hparams.likelihood == "bernoulli" and not (low >= 0 and high <= 1):
            raise ValueError(
                f"likelihood 'bernoulli' needs inputs in [0, 1], these are in [{low:.3g}, {high:.3g}]: "
                "use `data.normalise` unit or `likelihood` gaussian"
            )
