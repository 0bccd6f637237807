"""Principal component analysis: the directions in which the data vary most, exactly, from one pass over them.

Pearson 1901; Hotelling 1933; as a Gaussian with noise, Tipping & Bishop 1999, "Probabilistic principal component
analysis". Batches leave nothing behind but sums (``zoo.functional.moments``), so memory does not grow with the data.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from zoo.core.batch import INPUT, as_mapping, require
from zoo.core.gradient_free import GradientFreeModule
from zoo.functional.moments import Moments, add_moments, empty_moments, first_not_finite, row_moments, variance
from zoo.functional.pca import (
    choose_components,
    log_density,
    noise_variance,
    nystrom_axes,
    orient,
    principal_axes,
    random_directions,
    residual,
)
from zoo.networks.encoder import Encoder

# Numbers in an input up to which their covariance is kept whole: 4096 x 4096 are 128 MiB in float64, and its
# eigenvectors take a CPU core about as long as a minute.
_WIDEST = 4096
_DEFAULT_COMPONENTS = 16
_FOUND = ("mean_", "components_", "explained_variance_", "explained_variance_ratio_", "spectrum_", "noise_variance_")


class PCAModule(GradientFreeModule):
    """PCA of pictures and vectors, with scikit-learn's names for what it finds, and its choice of signs.

    An epoch is the whole training, and every epoch begins its sums anew: the components are those of the last one that
    ended. Until the first has ended they are a random orthonormal projection, and the Gaussian is N(0, 1). Batches of
    uint8 are taken as 0 to 255, exactly and on a CPU several times as fast as floats; under DDP sums are added over the
    processes.

    For inputs of more than 4,096 numbers, or on demand, a sketch takes the place of the covariance: its product with
    W = ``sketch_size`` random directions, from which ``zoo.functional.pca.nystrom_axes`` makes W axes. No variance it
    finds is overstated, and ``error_bound_``, the variance that the sketch misses in all, bounds what each is short of;
    on average it is at most 1 + r / (W - r - 1) times the sum of the true variances after the r-th, for any r < W - 1.

    Args:
        input_shape: of one sample, of D numbers.
        n_components: K; or a fraction of the variance, between 0 and 1, to be exceeded; or "mle", Minka's choice
            (2000); None is 16, or D where that is less (scikit-learn's None is D).
        whiten: codes of variance 1 (and of 0 where there is no variance, for which scikit-learn divides by 2e-16).
        method: "exact", "sketch", or "auto" by the size of the inputs.
        sketch_size: W; None is 4 K, 64 more than K at least, and 256 for a fraction; at most D.
        normalisation: what the data did to pixels in [0, 1]; kept with the encoder for its later users.

    Logged: while training ``loss``, the batch's variance a number, which is what there is to explain; when evaluating
    ``loss``, the mean squared error a number of what K components rebuild, and ``log_likelihood`` in nats a sample
    (left out where the data have no variance in some direction, so that there is no density).

    Found, in float64: ``mean_`` (D,), ``components_`` (K, D), ``explained_variance_`` and ``explained_variance_ratio_``
    (K,), ``noise_variance_`` (), ``singular_values_`` (K,), ``n_components_``, ``n_samples_``; and ``spectrum_``, all D
    (or W) variances.

    Raises:
        ValueError: an argument out of its range; inputs of another shape, or NaN or infinity among them (as soon as it
            is met on a CPU, and at the epoch's end on a GPU, which is not made to wait); at the end of the pass fewer
            rows than components, or than 2.
    """

    mean_: Tensor
    components_: Tensor
    explained_variance_: Tensor
    explained_variance_ratio_: Tensor
    spectrum_: Tensor
    noise_variance_: Tensor
    seen: Tensor
    encoder: Encoder
    divergence_hint = "are inputs so large that their squares overflow? Scale them, or use float64"
    artifacts = ("encoder/encoder.json", "latent_map.png", "components.png", "scree.png")

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
        dim = math.prod(input_shape)
        _check_components(n_components, dim)
        self.save_hyperparameters()
        self.wanted = min(_DEFAULT_COMPONENTS, dim) if n_components is None else n_components
        begin = self.wanted if isinstance(self.wanted, int) else min(_DEFAULT_COMPONENTS, dim)
        self._directions: Tensor | None = None
        if method == "sketch" or (method == "auto" and dim > _WIDEST):
            self._directions = random_directions(dim, _sketch_size(self.wanted, sketch_size, dim))
        self._moments: Moments | None = None  # no buffers: DDP would give all processes those of the first
        self._bad = torch.tensor([-1, -1])  # batch and place of the first NaN or infinity, on the batches' device
        self._batch_idx = 0
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
        """K."""
        return len(self.components_)

    @property
    def n_samples_(self) -> int:
        """N, rows of the pass; 0 before its end."""
        return int(self.seen)

    @property
    def singular_values_(self) -> Tensor:
        """Of the centred data, (K,)."""
        return (self.explained_variance_ * (self.n_samples_ - 1)).sqrt()

    @property
    def error_bound_(self) -> float:
        """No variance is understated by more: 0 for the exact method, for a sketch the variance that it misses."""
        if self._directions is None or not self.n_samples_:
            return 0.0
        total = self.explained_variance_[0] / self.explained_variance_ratio_[0].clamp_min(1e-300)
        return max(0.0, (total - self.spectrum_.sum()).item())

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if batch_idx == 0:  # of a fit that was broken off nothing stays; one that is resumed goes on at another batch
            self._moments, self._bad = None, self._bad.fill_(-1)
        self._batch_idx = batch_idx
        return super().training_step(batch, batch_idx)

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Training: gather the batch, and its variance. Otherwise: squared error a number, and log-likelihood."""
        x = self._rows(require(batch, INPUT, self))
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            if self.training:
                return (self._gather(x) / x.shape[1]).float(), {}
            centred = x.double() - self.mean_
            codes = centred @ self.components_.T
            left = residual(centred, codes)
            logs = {"log_likelihood": self._density(codes, left).mean().float()} if self._has_density() else {}
            return (left.mean() / x.shape[1]).float(), logs

    def _rows(self, x: Tensor) -> Tensor:
        """Inputs (B, *input_shape) as (B, D)."""
        shape = tuple(self.hparams.input_shape)
        if tuple(x.shape[1:]) != shape:
            raise ValueError(f"input_shape is {shape} but the batch holds inputs of shape {tuple(x.shape[1:])}")
        return x.flatten(1)

    def _gather(self, rows: Tensor) -> Tensor:
        """Add a batch (B, D) to the sums; its variance, a scalar."""
        if self._directions is not None:
            self._directions = self._directions.to(rows.device)
        block = row_moments(rows, self._directions)
        if self._moments is None:
            self._moments = empty_moments(block.shift, self._directions)
        self._moments = add_moments(self._moments, block, self._directions)
        spread = variance(block)
        if rows.is_floating_point() and not (spread.is_cpu and spread.isfinite()):
            self._remember(first_not_finite(rows))
        return spread

    def _remember(self, place: Tensor) -> None:
        """The first bad place; only on a CPU it is looked at straight away."""
        found = torch.stack((torch.full_like(place, self._batch_idx), place))
        self._bad = self._bad.to(place.device)
        self._bad = torch.where((place >= 0) & (self._bad[1] < 0), found, self._bad)
        if place.is_cpu:
            self._check_finite()

    def _check_finite(self) -> None:
        batch, place = self._bad.tolist()
        if place >= 0:
            row, column = divmod(place, math.prod(self.hparams.input_shape))
            raise ValueError(
                f"inputs must be finite: row {row}, column {column} of training batch {batch} is NaN or infinite "
                "(all counted from 0)"
            )

    def _record(self) -> None:
        self._check_finite()  # says more than that the loss is not finite
        super()._record()

    def on_train_start(self) -> None:
        if not self.global_step:  # nothing stays of an earlier fit; one that is resumed has its sums
            self._moments = None

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.trainer.is_last_batch:  # before the validation, which is for the components
            self._end_pass()

    def on_train_epoch_end(self) -> None:
        self._end_pass()  # where ``max_steps`` ended the epoch
        self._record()

    def _end_pass(self) -> None:
        if self._moments is None:
            return
        self._check_finite()
        moments, self._moments = self._summed(self._moments), self._kept()
        rows, total = int(moments.rows), moments.energy - moments.total.square().sum() / moments.rows
        if rows < 2:
            raise ValueError(f"principal components need 2 rows or more; there is only {rows}")
        if not total.isfinite():
            raise ValueError(f"the sums of squares are not finite: {self.divergence_hint}")
        self._find(moments, rows, max(total.item(), 0.0) / (rows - 1))

    def _kept(self) -> Moments | None:
        """Where ``max_steps`` ended the pass, the sums themselves, for a run that goes on with it."""
        if self.trainer.is_last_batch or self._moments is None:
            return None
        return self._moments._replace(product=self._moments.product.clone())  # finding axes overwrites it

    def _summed(self, moments: Moments) -> Moments:
        """Over all processes, about the first one's point."""
        if self.trainer.world_size == 1:
            return moments
        shift = self.all_gather(moments.shift)[0]  # type: ignore[index]
        moments = add_moments(empty_moments(shift, self._directions), moments, self._directions)
        add = self.trainer.strategy.reduce
        sums = {name: add(getattr(moments, name), reduce_op="sum") for name in ("rows", "total", "energy", "product")}
        return moments._replace(**sums)

    def _find(self, moments: Moments, rows: int, total: float) -> None:
        """Components and all that goes with them."""
        if self._directions is None:
            values, axes = principal_axes(moments)
        else:
            values, axes = nystrom_axes(moments, self._directions)
        k = choose_components(self.wanted, values, total, rows)
        rank = min(rows, len(moments.shift))
        self.mean_, self.spectrum_ = moments.mean, values
        self.components_, self.explained_variance_ = orient(axes[:k]), values[:k].clone()
        self.explained_variance_ratio_ = self.explained_variance_ / (total or 1.0)
        self.noise_variance_ = values.new_tensor(noise_variance(values, total, k, rank))
        self.seen.fill_(rows)
        self._fill_encoder()

    def _fill_encoder(self) -> None:
        """The encoder that does what was found; ``encode`` is that encoder."""
        if self.encoder.feature_dim != self.n_components_:
            self.encoder = self._new_encoder(self.n_components_).to(self.encoder.trunk.weight)  # type: ignore[arg-type]
        self.encoder.trunk.set(self.components_ / self._scale()[:, None], self.mean_)  # type: ignore[union-attr, operator]

    def _scale(self) -> Tensor:
        """By which codes are divided, (K,): deviations where whitened, infinite where there is none."""
        if not self.hparams.whiten:
            return torch.ones_like(self.explained_variance_)
        return torch.where(self.explained_variance_ > 0, self.explained_variance_.sqrt(), torch.inf)

    def _has_density(self) -> bool:
        rest = self.components_.shape[1] > self.n_components_
        return bool((self.explained_variance_ > 0).all()) and not (rest and self.noise_variance_ <= 0)

    def _density(self, codes: Tensor, left: Tensor) -> Tensor:
        return log_density(codes, left, self.explained_variance_, self.noise_variance_, self.components_.shape[1])

    @torch.no_grad()
    def log_likelihood(self, x: Tensor) -> Tensor:
        """log p(x) in nats under probabilistic PCA's Gaussian: (B, *input_shape) to (B,) float64.

        Raises:
            ValueError: there is no density, since the data have no variance in some direction.
        """
        if not self._has_density():
            raise ValueError("without variance in some direction there is no density: keep fewer components")
        centred = self._rows(x).double() - self.mean_
        codes = centred @ self.components_.T
        return self._density(codes, residual(centred, codes))

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
        return self.decode(self.encode(require(as_mapping(batch, self.input_key), INPUT, self)))

    def sample(self, n: int) -> Tensor:
        """``n`` new inputs (n, *input_shape) from probabilistic PCA: K directions as they vary, all others as noise."""
        noise = self.noise_variance_.to(self.components_)
        along = torch.randn(n, self.n_components_, device=self.device).double()
        around = torch.randn(n, self.components_.shape[1], device=self.device).double() * noise.sqrt()
        along = along * (self.explained_variance_ - noise).clamp_min(0).sqrt()
        x = self.mean_ + along @ self.components_ + around
        return x.float().unflatten(1, tuple(self.hparams.input_shape))

    def forward(self, x: Tensor) -> Tensor:
        return self.encode(x)

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The codes of a batch."""
        return self.encode(require(as_mapping(batch, self.input_key), INPUT, self))

    def to_sklearn(self) -> Any:
        """A fitted ``sklearn.decomposition.PCA`` with what was found.

        Raises:
            ValueError: no pass has ended yet.
        """
        if not self.n_samples_:
            raise ValueError("nothing is found yet: fit the module first")
        from sklearn.decomposition import PCA  # takes a second to import: only who uses it waits

        pca = PCA(self.n_components_, whiten=self.hparams.whiten)
        for name in ("mean_", "components_", "explained_variance_", "explained_variance_ratio_", "singular_values_"):
            setattr(pca, name, getattr(self, name).cpu().numpy())
        pca.noise_variance_, pca.n_samples_ = self.noise_variance_.item(), self.n_samples_
        pca.n_components_, pca.n_features_in_ = self.n_components_, self.components_.shape[1]
        return pca

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        if self._moments is not None:  # in the middle of an epoch; all processes are here together
            checkpoint["moments"] = self._summed(self._moments)._asdict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self._moments = None
        if sums := checkpoint.get("moments"):
            moments = Moments(**{name: value.to(self.device) for name, value in sums.items()})
            first = self.global_rank == 0  # the sums of all processes are one's now
            self._moments = moments if first else empty_moments(moments.shift, self._directions)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """How many components there are may have been found by the data; what is loaded says it."""
        found = state_dict.get(prefix + "components_")
        if found is not None and not isinstance(self.wanted, int) and len(found) != self.n_components_:
            self.encoder = self._new_encoder(len(found)).to(self.encoder.trunk.weight)  # type: ignore[arg-type]
            for name in ("components_", "explained_variance_", "explained_variance_ratio_"):
                old = getattr(self, name)
                setattr(self, name, old.new_zeros(len(found), *old.shape[1:]))
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _check_components(wanted: Any, dim: int) -> None:
    if wanted is None or wanted == "mle":
        return
    if isinstance(wanted, bool) or not isinstance(wanted, int | float):
        raise ValueError(f"n_components must be a number, a fraction or 'mle'; got {wanted!r}")
    if isinstance(wanted, int) and not 1 <= wanted <= dim:
        raise ValueError(f"n_components must be 1 to {dim}, the numbers in an input; got {wanted}")
    if isinstance(wanted, float) and not 0 < wanted < 1:
        raise ValueError(f"n_components as a fraction of the variance must be between 0 and 1; got {wanted}")


def _sketch_size(wanted: int | float | str, size: int | None, dim: int) -> int:
    if wanted == "mle":
        raise ValueError("n_components 'mle' needs all variances, and a sketch has not: use method 'exact'")
    least = wanted + 1 if isinstance(wanted, int) else 2
    if size is None:
        size = max(4 * wanted, wanted + 64) if isinstance(wanted, int) else 256
    if size < min(least, dim):
        raise ValueError(f"sketch_size must be {least} or more for n_components {wanted}; got {size}")
    return min(size, dim)
