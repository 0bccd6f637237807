"""Self-organising map: units on a grid that spread over the data, neighbours on the grid staying neighbours there.

Kohonen 1982, "Self-organized formation of topologically correct feature maps"; the batch rule, Kohonen 1993. Every
sample pulls its best-matching unit, and less so that unit's neighbours on the grid; the neighbourhood shrinks during
training. The result is a map of the data that can be looked at, and for each sample a position on it.

The batch rule adds samples up by their best-matching unit over an epoch, then sets every unit to its neighbourhood's
mean: two matrix products per batch; order and batch size do not matter. Updated several times an epoch, from sums in
which older samples decay, it reaches a lower error. The online rule updates units after every mini-batch.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from zoo.core.accumulator import Accumulator
from zoo.core.arguments import at_least, between, more_than
from zoo.core.batch import as_mapping, flat_rows, require
from zoo.core.distributed import gather_rows, training_batches
from zoo.core.findings import Headline
from zoo.core.finite import check_finite
from zoo.core.gradient_free import GradientFreeModule
from zoo.functional import som
from zoo.networks.encoder import Encoder
from zoo.networks.prototypes import Code, Prototypes

_INITIAL_SAMPLES = 1000  # samples that initialise the units, whatever the batches and processes
_LOOK_AT = 256  # samples of a training batch whose distances are logged


class SOMModule(GradientFreeModule):
    """A self-organising map of images or vectors.

    Args:
        input_shape: Shape of one sample, of D dimensions in all.
        rows: Number of the grid's rows; 5 sqrt(N) units are usual for N samples.
        columns: Number of the grid's columns, K = rows * columns units in all.
        rule: Learning rule: "batch" or "online".
        updates_per_epoch: Updates of the batch rule in an epoch, at most one per batch. With 1 every epoch starts its
            sums anew; with more, each leaves the share 1 - 1 / updates_per_epoch of them, an epoch's samples in all.
        topology: Topology: "rectangular" (eight neighbours) or "hexagonal" (six).
        torus: Whether opposite sides of the grid are joined.
        neighbourhood: Neighbourhood function: "gaussian", "bubble", or, for the online rule, "mexican_hat".
        sigma: Initial radius of the neighbourhood in units; 0 is half the longer side.
        sigma_end: Final radius of the neighbourhood in units.
        lr: Initial learning rate of the online rule.
        lr_end: Final learning rate of the online rule.
        decay: Decay of radius and learning rate: "linear", "exponential" or "inverse".
        init: Initial units: "pca" on the plane of the first two components, "sample" on samples, "random" around the
            data's mean, with their standard deviation.
        encoding: Output of ``encode``: "position" on the grid or all units' "activation".
        normalisation: Normalisation that the data applied to pixels in [0, 1]; stored with the encoder.

    Logged: ``loss``, the quantisation error, the mean distance of a sample to its unit in the data's units (while
    training of the first 256 of each batch), and when evaluating ``topographic_error``, the share of samples whose
    two nearest units are not adjacent, and ``distortion``, the mean over samples of all units' squared distances, each
    weighted by the final neighbourhood around the sample's unit.

    Raises:
        ValueError: an argument out of its range; inputs of another shape, NaN or infinity among them, or only one.
    """

    started: Tensor
    renamed: ClassVar[dict[str, str]] = {
        "moves": "updates_per_epoch",
        "rate": "lr",
        "rate_end": "lr_end",
        "start": "init",
        "code": "encoding",
    }
    divergence_hint = "are there NaN, infinite or huge numbers among the inputs?"
    headline = Headline(("map", "features"), "Does the map keep neighbours together?", advice="a larger `sigma_end`")
    artifacts = ("encoder/encoder.json", "latent_map.png", "map.png", "units.png")
    stops_exactly = False  # a map that is stopped updates its units once more
    renamed_methods: ClassVar[dict[str, str]] = {"winners": "best_matching_units"}

    def __init__(
        self,
        input_shape: Sequence[int] = (1, 28, 28),
        rows: int = 10,
        columns: int = 10,
        rule: Literal["batch", "online"] = "batch",
        updates_per_epoch: int = 1,
        topology: som.Topology = "rectangular",
        torus: bool = False,
        neighbourhood: som.Neighbourhood = "gaussian",
        sigma: float = 0.0,
        sigma_end: float = 0.5,
        lr: float = 0.5,
        lr_end: float = 0.01,
        decay: som.Decay = "exponential",
        init: som.Init = "pca",
        encoding: Code = "position",
        normalisation: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if rows < 1 or columns < 1 or rows * columns < 2:
            raise ValueError(f"a map has two units or more; got rows {rows} and columns {columns}")
        at_least(1, updates_per_epoch=updates_per_epoch)
        at_least(0, sigma=sigma)
        more_than(0, sigma_end=sigma_end, lr=lr, lr_end=lr_end)
        between(0, 1, lr=lr)
        if updates_per_epoch > 1 and rule == "online":
            raise ValueError(f"updates_per_epoch is for rule 'batch'; got {updates_per_epoch} and {rule!r}")
        if neighbourhood == "mexican_hat" and rule == "batch":
            raise ValueError("neighbourhood mexican_hat has negative weights, and so no mean: use rule 'online'")
        self.save_hyperparameters()
        spec = {"name": "prototypes", "rows": rows, "columns": columns, "topology": topology, "code": encoding}
        self.encoder = Encoder(spec, input_shape, normalisation=normalisation).requires_grad_(False)
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))
        self._squared = som.grid_distances(rows, columns, topology, torus)
        self._accumulator: Accumulator[som.UnitSums] = Accumulator(som.add_unit_sums, ("sums", "counts"))
        self._pending = False  # whether the units lack some of the sums

    @property
    def _trunk(self) -> Prototypes:
        return self.encoder.trunk  # type: ignore[return-value]

    @property
    def units(self) -> Tensor:
        """Units of the map, row by row, (K, D)."""
        return self._trunk.weight

    @property
    def grid(self) -> Tensor:
        """Units as samples on the grid, (rows, columns, *input_shape)."""
        hp = self.hparams
        return self.units.detach().view(hp.rows, hp.columns, *hp.input_shape)

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """The quantisation error; while training the batch is accumulated, when evaluating other errors are logged."""
        x = self._flat(require(batch, self.input_key, self))
        with torch.no_grad():
            if self.training:
                if x.is_cpu:  # a GPU would synchronise: there it is checked at the end of the epoch
                    check_finite(x)
                chosen = self._trunk.nearest(x)
                self._accumulator.add(som.unit_sums(x, chosen, len(self.units)))
                self._pending = True
                return som.distance_to(x[:_LOOK_AT], self.units, chosen[:_LOOK_AT]).mean(), {}
            found = self._trunk.scores(x)
            nearest = found.topk(2, dim=1).indices
            apart = ~som.adjacent(self._grid_distances(), self.hparams.topology)[nearest[:, 0], nearest[:, 1]]
            self.keep(SOMModule, best_matching_units=nearest[:, 0])
            around = som.neighbourhood(self.hparams.neighbourhood, self._grid_distances(), self.hparams.sigma_end)
            distorted = som.distortion(x - self._trunk.centre, found, around.index_select(0, nearest[:, 0]))
            logs = {"topographic_error": apart.float().mean(), "distortion": distorted}
            return som.distance_to(x, self.units, nearest[:, 0]).mean(), logs

    def _flat(self, x: Tensor) -> Tensor:
        return flat_rows(x, self.hparams.input_shape).to(self.units.dtype)

    def _grid_distances(self) -> Tensor:
        self._squared = self._squared.to(self.units)
        return self._squared

    # Updates

    def on_train_start(self) -> None:
        if not self.global_step:  # drop sums of an earlier fit; a resumed one has its own
            self._accumulator.clear()
            self._pending = False
        if not self.started:
            x = self._first_samples()
            if len(x) < 2:
                raise ValueError(f"a map needs two samples or more; there is only {len(x)}")
            check_finite(x)
            self._trunk.centre.copy_(x.mean(0))
            if len(self.units) > len(x):
                rank_zero_warn(
                    f"a map of {len(self.units)} units for {len(x)} samples: many stay empty; "
                    f"{math.ceil(5 * math.sqrt(len(x)))} units would be usual"
                )
            hp, generator = self.hparams, torch.Generator().manual_seed(self._seed)  # the same on every process
            self.units.data.copy_(som.initial_units(hp.init, x, hp.rows, hp.columns, generator))
            self.started.fill_(True)

    def _first_samples(self) -> Tensor:
        """The first 1,000 samples (N, D) of all processes, as one process has them."""
        world, rows, size = self.trainer.world_size, [], 0
        for batch in training_batches(self.trainer, self.input_key):
            rows.append(self._flat(require(batch, self.input_key, self)))
            if (size := size + len(rows[-1]) * world) >= _INITIAL_SAMPLES:
                break
        x = gather_rows(torch.cat(rows), world, equal=True)
        in_order = x.view(world, -1, x.shape[1]).transpose(0, 1).flatten(0, 1)  # as one process has them
        return in_order[:_INITIAL_SAMPLES]

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.hparams.rule == "online":
            self._update(self._online_progress())
            return
        done = self._updates if self.trainer.is_last_batch else self._updates_by(batch_idx)
        if done > self._updates_by(batch_idx - 1):
            self._update(self._batch_progress(done))

    def on_train_epoch_end(self) -> None:
        if self._pending:  # where ``max_steps`` ended the epoch
            self._update(self._batch_progress(self._updates))
        self._record()

    @torch.no_grad()
    def _update(self, progress: float) -> None:
        sums, counts = self._accumulator.reduced(self.trainer)
        self._forget()
        self._pending = False
        hp = self.hparams
        sigma = som.decayed(hp.decay, hp.sigma or max(hp.rows, hp.columns) / 2, hp.sigma_end, progress)
        if hp.rule == "batch":
            influence = self._influence(sigma)
            moved = som.batch_update(self.units, som.spread(sums, influence), som.spread(counts, influence))
        else:
            influence = som.neighbourhood(hp.neighbourhood, self._grid_distances(), sigma)
            rate = som.decayed(hp.decay, hp.lr, hp.lr_end, progress)
            signed = hp.neighbourhood == "mexican_hat"
            moved = som.online_update(self.units, sums, counts, influence, rate, signed)
        self.units.data.copy_(moved)
        if self.trainer.is_last_batch:
            self._end_pass()

    def _end_pass(self) -> None:
        """Once an epoch, before the validation: what synchronises a GPU, and what only users of the map need."""
        if not self.units.isfinite().all():
            raise ValueError(f"the units are not finite: {self.divergence_hint}")
        self._trunk.scale.copy_(som.neighbour_distance(self.grid.flatten(2)).clamp_min(1e-6))

    def _influence(self, sigma: float) -> Tensor | tuple[Tensor, Tensor]:
        hp = self.hparams
        if hp.topology == "hexagonal" or hp.neighbourhood != "gaussian":
            return som.neighbourhood(hp.neighbourhood, self._grid_distances(), sigma)
        return som.separable_gaussian(hp.rows, hp.columns, hp.torus, sigma, self.device)

    @property
    def _updates(self) -> int:
        """Number of updates of the batch rule in an epoch; one where the epoch's length is unknown."""
        batches = self.trainer.num_training_batches
        return 1 if math.isinf(batches) else min(self.hparams.updates_per_epoch, int(batches))

    def _updates_by(self, batch_idx: int) -> int:
        """Number of updates due in this epoch by a batch's end."""
        return int((batch_idx + 1) * self._updates // self.trainer.num_training_batches)

    def _forget(self) -> None:
        """Decay the sums by what later updates do not keep of them."""
        if self.hparams.rule == "online" or self._updates == 1:
            self._accumulator.clear()
        else:
            self._accumulator.decay(1 - 1 / self._updates)

    def _batch_progress(self, done: int) -> float:
        """Progress of the training, 0 at the first update and 1 at the last, at the ``done``-th of this epoch."""
        batches = self.trainer.num_training_batches
        steps = 1 if math.isinf(batches) else max(1, math.ceil(batches / self.trainer.accumulate_grad_batches))
        last = math.ceil(self._total_steps() / steps) * self._updates - 1
        return min(1.0, (self.current_epoch * self._updates + done - 1) / max(1, last))

    def _online_progress(self) -> float:
        return min(1.0, max(0, self.global_step - 1) / max(1.0, self._total_steps() - 1))

    def _total_steps(self) -> float:
        total = float(self.trainer.estimated_stepping_batches)
        if math.isinf(total) or total < 0:
            raise ValueError("the neighbourhood shrinks to the end: give `trainer.max_epochs` or `trainer.max_steps`")
        return total

    # Use of the map

    def encode(self, x: Tensor) -> Tensor:
        """Inputs (B, *input_shape) to positions on the grid (B, 2), or activations (B, K)."""
        return self.encoder(x)  # type: ignore[no-any-return]

    def best_matching_units(self, x: Tensor) -> Tensor:
        """Inputs (B, *input_shape) to indices of the best-matching units, (B,) long: row * columns + column."""
        return self._trunk.nearest(self._flat(x))

    def reconstruct(self, batch: Any) -> Tensor:
        """A batch, or its input (B, *input_shape), each replaced by its unit."""
        x = require(as_mapping(batch, self.input_key), self.input_key, self)
        return self.units.index_select(0, self.best_matching_units(x)).view(x.shape)

    def predict(self, x: Tensor) -> Tensor:
        """Indices of the best-matching units, (B,) long."""
        return self.best_matching_units(x)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        if self._accumulator.sums is not None:  # in the middle of an epoch; all ranks are here together
            checkpoint["gathered"] = list(self._accumulator.reduced(self.trainer))
            checkpoint["waiting"] = self._pending

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        saved = checkpoint.get("gathered")
        sums = som.UnitSums(*(tensor.to(self.device) for tensor in saved)) if saved else None
        self._accumulator.restore(sums, self.global_rank == 0)
        self._pending = bool(checkpoint.get("waiting"))
