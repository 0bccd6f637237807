"""Principal component analysis: the directions of largest variance, exactly, from one pass over the data.

Pearson 1901; Hotelling 1933; as a Gaussian with noise, Tipping & Bishop 1999, "Probabilistic principal component
analysis". Batches are reduced to sums (``zoo.functional.moments``), so memory does not grow with the data.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from zoo.core.accumulator import Accumulator
from zoo.core.batch import as_mapping, flat_rows, require
from zoo.core.findings import Headline
from zoo.core.finite import FiniteCheck
from zoo.core.gradient_free import GradientFreeModule
from zoo.functional import pca
from zoo.functional.moments import Moments, add_moments, empty_moments, row_moments, variance
from zoo.io.sklearn import to_sklearn_pca
from zoo.networks.encoder import Encoder, checked_shape

_WIDEST = 4096  # dimensions with a full covariance: 128 MiB in float64, whose eigenvectors take a core a minute
_DEFAULT_COMPONENTS = 16
_SUMMED = ("rows", "total", "energy", "product")
_FOUND = ("mean_", "components_", "explained_variance_", "explained_variance_ratio_", "spectrum_", "noise_variance_")


class PCAModule(GradientFreeModule):
    """PCA of images and vectors, with scikit-learn's attribute names and its choice of signs.

    One epoch is a complete fit, and every epoch starts its sums anew: the components are those of the last completed
    one. Before the first is completed they are a random orthonormal projection, and the Gaussian is N(0, 1). Batches of
    uint8 are taken as 0 to 255, exactly and on a CPU several times as fast as floats; under DDP sums are added over the
    processes.

    For inputs of more than 4,096 dimensions, or on demand, a sketch replaces the covariance: its product with
    W = ``sketch_size`` random directions, from which ``zoo.functional.pca.nystrom_axes`` makes W axes. It overstates no
    variance, and ``error_bound_``, all the variance that the sketch misses, bounds how much each is understated; on
    average it is at most 1 + r / (W - r - 1) times the sum of the true variances after the r-th, for any r < W - 1.

    Args:
        input_shape: Shape of one sample, of D dimensions in all.
        n_components: Number of components, K; or a fraction of the variance, between 0 and 1, to be exceeded; or "mle",
            Minka's choice (2000); None is 16, or D where that is less (scikit-learn's None is D).
        whiten: Whether codes have variance 1 (0 where there is no variance, for which scikit-learn divides by 2e-16).
        method: Method: "exact", "sketch", or "auto" by the size of the inputs.
        sketch_size: Number of directions of the sketch, W; None is 4 K, at least K + 64, and 256 for a fraction; at
            most D.
        normalisation: Normalisation that the data applied to pixels in [0, 1]; stored with the encoder.

    Logged: while training ``loss``, the batch's variance per dimension, which is to be explained; when evaluating
    ``loss``, the mean squared error per dimension of reconstructions from K components, and ``log_likelihood`` in nats
    per sample (left out where the data have no variance in some direction, so that there is no density).

    Found, in float64: ``mean_`` (D,), ``components_`` (K, D), ``explained_variance_``, ``explained_variance_ratio_``
    and ``singular_values_`` (K,), ``noise_variance_`` () and ``spectrum_``, all D (or W) variances; beside them
    ``n_components_`` and ``n_samples_``.

    Raises:
        ValueError: an argument out of its range; inputs of another shape, or NaN or infinity among them (on a GPU at
            the epoch's end); at the end of the pass fewer rows than components, or than 2.
    """

    mean_: Tensor
    components_: Tensor
    explained_variance_: Tensor
    explained_variance_ratio_: Tensor
    spectrum_: Tensor
    noise_variance_: Tensor
    seen: Tensor
    encoder: Encoder
    artifacts = ("encoder/encoder.json", "latent_map.png", "components.png", "scree.png")
    divergence_hint = pca.OVERFLOW_HINT
    headline = Headline(("features", "variance", "reconstruction", "samples"), itself=("PCA of the same size",))

    def __init__(
        self,
        input_shape: Sequence[int] = (1, 28, 28),
        n_components: int | float | Literal["mle"] | None = None,
        whiten: bool = False,
        method: Literal["auto", "exact", "sketch"] = "auto",
        sketch_size: int | None = None,
        normalisation: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        dim = math.prod(checked_shape(input_shape))
        pca.check_components(n_components, dim, sketch_size)
        self.save_hyperparameters()
        self.wanted = min(_DEFAULT_COMPONENTS, dim) if n_components is None else n_components
        begin = self.wanted if isinstance(self.wanted, int) else min(_DEFAULT_COMPONENTS, dim)
        self._directions: Tensor | None = None
        if method == "sketch" or (method == "auto" and dim > _WIDEST):
            self._directions = pca.random_directions(dim, pca.choose_sketch_size(self.wanted, sketch_size, dim))
        self._accumulator: Accumulator[Moments] = Accumulator(self._merge, _SUMMED, self._about_the_first_ranks_point)
        self._finite, self._batch_idx = FiniteCheck(dim), 0
        for name in _FOUND:
            self.register_buffer(name, torch.zeros((), dtype=torch.float64))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))
        self._begin(begin, dim)

    def _begin(self, components: int, dim: int) -> None:
        """A random projection, under the standard normal distribution."""
        self.encoder = self._new_encoder(components)
        one = torch.ones(components, dtype=torch.float64)
        self.mean_ = torch.zeros(dim, dtype=torch.float64)
        self.components_ = self.encoder.get_parameter("trunk.weight").double()
        self.explained_variance_, self.explained_variance_ratio_, self.noise_variance_ = one, one / dim, one[0].clone()
        self.spectrum_ = torch.ones(dim if self._directions is None else self._directions.shape[1]).double()

    def _new_encoder(self, components: int) -> Encoder:
        spec = {"name": "projection", "components": components}
        encoder = Encoder(spec, self.hparams.input_shape, normalisation=self.hparams.normalisation)
        return encoder.requires_grad_(False)

    @property
    def n_components_(self) -> int:
        """Number of components, K."""
        return len(self.components_)

    @property
    def n_samples_(self) -> int:
        """Number of training samples, N; 0 before the end of the pass."""
        return int(self.seen)

    @property
    def singular_values_(self) -> Tensor:
        """Singular values of the centred data, (K,)."""
        return (self.explained_variance_ * (self.n_samples_ - 1)).sqrt()

    @property
    def error_bound_(self) -> float:
        """Bound on how much a variance is understated: 0 if exact, for a sketch all the variance that it misses."""
        if self._directions is None or not self.n_samples_:
            return 0.0
        total = self.explained_variance_[0] / self.explained_variance_ratio_[0].clamp_min(1e-300)
        return max(0.0, (total - self.spectrum_.sum()).item())

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if batch_idx == 0:  # drop sums of an interrupted fit; a resumed one goes on at a later batch
            self._accumulator.clear()
            self._finite.clear()
        self._batch_idx = batch_idx
        return super().training_step(batch, batch_idx)

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Training: accumulate the batch; its variance. Otherwise: squared error per dimension, and log-likelihood."""
        x = flat_rows(require(batch, self.input_key, self), self.hparams.input_shape)
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            if self.training:
                return (self._gather(x) / x.shape[1]).float(), {}
            codes, left = self._project(x)
            logs = {"log_likelihood": self._density(codes, left).mean().float()} if self._has_density() else {}
            return (left.mean() / x.shape[1]).float(), logs

    def _project(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Rows (B, D) to codes (B, K), and squared reconstruction errors (B,), in float64."""
        centred = rows.double() - self.mean_
        codes = centred @ self.components_.T
        return codes, pca.residual(centred, codes)

    def _gather(self, rows: Tensor) -> Tensor:
        """Add a batch (B, D) to the sums; its variance, a scalar."""
        if self._directions is not None:
            self._directions = self._directions.to(rows.device)
        block = row_moments(rows, self._directions)
        if self._accumulator.sums is None:
            self._accumulator.sums = empty_moments(block.shift, self._directions)
        self._accumulator.add(block)
        spread = variance(block)
        if rows.is_floating_point() and not (spread.is_cpu and spread.isfinite()):
            self._finite.look(rows, self._batch_idx)
        return spread

    def _merge(self, into: Moments, block: Moments) -> Moments:
        return add_moments(into, block, self._directions)

    def _about_the_first_ranks_point(self, moments: Moments) -> Moments:
        shift = self.all_gather(moments.shift)[0]  # type: ignore[index]
        return self._merge(empty_moments(shift, self._directions), moments)

    def _record(self) -> None:
        self._finite.check()  # its message names the row; that of a loss that is not finite does not
        super()._record()

    def on_train_start(self) -> None:
        if not self.global_step:  # drop sums of an earlier fit; a resumed one has its own
            self._accumulator.clear()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.trainer.is_last_batch:  # before the validation, which needs the components
            self._end_pass()

    def on_train_epoch_end(self) -> None:
        self._end_pass()  # where ``max_steps`` ended the epoch
        self._record()

    def _end_pass(self) -> None:
        own = self._accumulator.sums
        if own is None:
            return
        self._finite.check()
        moments = self._accumulator.reduced(self.trainer)
        self._accumulator.clear()
        if not self.trainer.is_last_batch:  # ``max_steps`` ended the pass: a resumed run needs the sums
            self._accumulator.sums = own._replace(product=own.product.clone())  # finding axes overwrites it
        self._find(moments, int(moments.rows), pca.total_variance(moments))

    def _find(self, moments: Moments, rows: int, total: float) -> None:
        """Set the components and all attributes that depend on them."""
        values, axes = pca.find_axes(moments, self._directions)
        k = pca.choose_components(self.wanted, values, total, rows)
        rank = min(rows, len(moments.shift))
        self.mean_, self.spectrum_ = moments.mean, values
        self.components_, self.explained_variance_ = pca.orient(axes[:k]), values[:k].clone()
        self.explained_variance_ratio_ = self.explained_variance_ / (total or 1.0)
        self.noise_variance_ = values.new_tensor(pca.noise_variance(values, total, k, rank))
        self.seen.fill_(rows)
        self._fill_encoder()

    def _fill_encoder(self) -> None:
        """Copy the components to the encoder, which ``encode`` uses."""
        if self.encoder.feature_dim != self.n_components_:
            self.encoder = self._new_encoder(self.n_components_).to(self.encoder.trunk.weight)  # type: ignore[arg-type]
        self.encoder.trunk.set(self.components_ / self._scale()[:, None], self.mean_)  # type: ignore[union-attr, operator]

    def _scale(self) -> Tensor:
        """Divisors of the codes, (K,): standard deviations if whitened, infinite where there is no variance."""
        if not self.hparams.whiten:
            return torch.ones_like(self.explained_variance_)
        return torch.where(self.explained_variance_ > 0, self.explained_variance_.sqrt(), torch.inf)

    def _has_density(self) -> bool:
        rest = self.components_.shape[1] > self.n_components_
        return bool((self.explained_variance_ > 0).all()) and not (rest and self.noise_variance_ <= 0)

    def _density(self, codes: Tensor, left: Tensor) -> Tensor:
        return pca.log_density(codes, left, self.explained_variance_, self.noise_variance_, self.components_.shape[1])

    @torch.no_grad()
    def log_likelihood(self, x: Tensor) -> Tensor:
        """log p(x) in nats under probabilistic PCA's Gaussian: (B, *input_shape) to (B,) float64.

        Raises:
            ValueError: there is no density, since the data have no variance in some direction.
        """
        if not self._has_density():
            raise ValueError("without variance in some direction there is no density: keep fewer components")
        return self._density(*self._project(flat_rows(x, self.hparams.input_shape)))

    def encode(self, x: Tensor) -> Tensor:
        """Inputs (B, *input_shape) to codes (B, K), float32."""
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        """Codes (B, K) to inputs (B, *input_shape)."""
        scale = self._scale()
        axes = self.components_ * torch.where(scale.isfinite(), scale, 0.0)[:, None]
        return torch.addmm(self.mean_.to(z), z, axes.to(z)).unflatten(1, tuple(self.hparams.input_shape))

    def reconstruct(self, batch: Any) -> Tensor:
        """A batch, or its input (B, *input_shape), from its K codes."""
        return self.decode(self.encode(require(as_mapping(batch, self.input_key), self.input_key, self)))

    def sample(self, n: int) -> Tensor:
        """``n`` samples (n, *input_shape) of probabilistic PCA: K components, and noise in all other directions."""
        x = pca.draw_gaussian(n, self.mean_, self.components_, self.explained_variance_, self.noise_variance_)
        return x.float().unflatten(1, tuple(self.hparams.input_shape))

    def to_sklearn(self) -> Any:
        """A fitted ``sklearn.decomposition.PCA`` with the same attributes.

        Raises:
            ValueError: no pass has ended yet.
        """
        return to_sklearn_pca(self, self.hparams.whiten)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        if self._accumulator.sums is not None:  # in the middle of an epoch; all ranks are here together
            checkpoint["moments"] = self._accumulator.reduced(self.trainer)._asdict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        saved = checkpoint.get("moments")
        moments = Moments(**{name: value.to(self.device) for name, value in saved.items()}) if saved else None
        empty = lambda sums: empty_moments(sums.shift, self._directions)  # noqa: E731
        self._accumulator.restore(moments, self.global_rank == 0, empty)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """The number of components may depend on the data; it is taken from the loaded state."""
        found = state_dict.get(prefix + "components_")
        if found is not None and not isinstance(self.wanted, int) and len(found) != self.n_components_:
            self.encoder = self._new_encoder(len(found)).to(self.encoder.trunk.weight)  # type: ignore[arg-type]
            for name in ("components_", "explained_variance_", "explained_variance_ratio_"):
                old = getattr(self, name)
                setattr(self, name, old.new_zeros(len(found), *old.shape[1:]))
        super()._load_from_state_dict(state_dict, prefix, *rest)
