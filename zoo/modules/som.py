"""Self-organising map: units on a grid that spread over the data, neighbours on the grid staying neighbours there.

Kohonen 1982, "Self-organized formation of topologically correct feature maps"; the batch rule, Kohonen 1993. Every
sample pulls the unit nearest to it, and less so that unit's neighbours on the grid; the neighbourhood shrinks as the
training goes on. What results is a map of the data that can be looked at, and for each sample a place on it.

The batch rule adds samples up by their nearest unit through a whole epoch, and then gives every unit the mean of its
neighbourhood: two products of matrices a batch, and neither the order of samples nor the size of batches matters. It
may also move them several times an epoch, from sums in which older samples fade, and comes closer to the data in as
many epochs. The online rule moves units after every mini-batch.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from zoo.core.batch import INPUT, as_mapping, require
from zoo.core.gradient_free import GradientFreeModule
from zoo.functional.som import (
    Decay,
    Neighbourhood,
    Topology,
    adjacent,
    axis_distances,
    batch_update,
    decayed,
    distance_to,
    grid_distances,
    neighbourhood,
    online_update,
    pca_units,
    spread,
    unit_sums,
)
from zoo.networks.encoder import Encoder
from zoo.networks.prototypes import Code, Prototypes

_BEGIN_WITH = 1000  # samples that say where units start, whatever the batches and processes
_LOOK_AT = 256  # of a training batch: whose distances are logged


class SOMModule(GradientFreeModule):
    """A self-organising map of pictures or vectors.

    Args:
        input_shape: of one sample, of D numbers.
        rows, columns: of the grid, K units in all. 5 sqrt(N) units are usual for N samples.
        rule: "batch" or "online".
        moves: of the batch rule, in an epoch, at most one a batch. With 1 every epoch starts its sums anew; with more,
            each move leaves the share 1 - 1 / moves of them, an epoch's samples in all.
        topology: "rectangular" (eight neighbours) or "hexagonal" (six).
        torus: whether the grid's opposite sides meet.
        neighbourhood: "gaussian", "bubble", or, for the online rule, "mexican_hat".
        sigma, sigma_end: the neighbourhood's reach in units, at the start and at the end; 0 is half the longer side.
        rate, rate_end: of the online rule, how far a sample pulls its unit, at the start and at the end.
        decay: of both: "linear", "exponential" or "inverse".
        start: where units begin: "pca" on the plane in which data vary most, "sample" on samples, "random" around the
            data's mean, with their deviation.
        code: what ``encode`` gives: "position" on the grid or all units' "activation".
        normalisation: what the data did to pixels in [0, 1]; kept with the encoder for its later users.

    Logged: ``loss``, the quantisation error, the mean distance of a sample to its unit in the data's units (while
    training of the first 256 of each batch), and when evaluating ``topographic_error``, the share of samples whose
    two nearest units do not touch, and ``distortion``, the mean over samples of all units' squared distances, each
    weighted by the final neighbourhood around the sample's unit.

    Raises:
        ValueError: an argument out of its range; inputs of another shape, NaN or infinity among them, or only one.
    """

    started: Tensor
    divergence_hint = "are there NaN, infinite or huge numbers among the inputs?"
    artifacts = ("encoder/encoder.json", "latent_map.png", "map.png", "units.png")
    stops_exactly = False  # a map that is stopped moves once more

    def __init__(
        self,
        input_shape: Sequence[int] = (1, 28, 28),
        rows: int = 10,
        columns: int = 10,
        rule: Literal["batch", "online"] = "batch",
        moves: int = 1,
        topology: Topology = "rectangular",
        torus: bool = False,
        neighbourhood: Neighbourhood = "gaussian",
        sigma: float = 0.0,
        sigma_end: float = 0.5,
        rate: float = 0.5,
        rate_end: float = 0.01,
        decay: Decay = "exponential",
        start: Literal["pca", "sample", "random"] = "pca",
        code: Code = "position",
        normalisation: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if rows < 1 or columns < 1 or rows * columns < 2:
            raise ValueError(f"a map has two units or more; got rows {rows} and columns {columns}")
        if moves < 1 or (moves > 1 and rule == "online"):
            raise ValueError(f"moves must be 1 or more, and is for rule 'batch'; got {moves} and {rule!r}")
        for name, value in {"sigma_end": sigma_end, "rate": rate, "rate_end": rate_end}.items():
            if not value > 0:
                raise ValueError(f"{name} must be more than 0; got {value}")
        if sigma < 0 or rate > 1:
            raise ValueError(f"sigma must be 0 or more, and rate at most 1; got {sigma} and {rate}")
        if neighbourhood == "mexican_hat" and rule == "batch":
            raise ValueError("neighbourhood mexican_hat is negative in places, and so has no mean: use rule 'online'")
        self.save_hyperparameters()
        spec = {"name": "prototypes", "rows": rows, "columns": columns, "topology": topology, "code": code}
        self.encoder = Encoder(spec, input_shape, normalisation=normalisation).requires_grad_(False)
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))
        self._squared = grid_distances(rows, columns, topology, torus)
        self._gathered: tuple[Tensor, Tensor] | None = None  # no buffers: DDP would give all processes the first's
        self._waiting = False  # whether some of it has not moved the units yet

    @property
    def _trunk(self) -> Prototypes:
        return self.encoder.trunk  # type: ignore[return-value]

    @property
    def units(self) -> Tensor:
        """(K, D), row by row."""
        return self._trunk.weight

    @property
    def grid(self) -> Tensor:
        """Units as samples on the grid, (rows, columns, *input_shape)."""
        hp = self.hparams
        return self.units.detach().view(hp.rows, hp.columns, *hp.input_shape)

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """The quantisation error; while training the batch is gathered, when evaluating the other errors are added."""
        x = self._flat(require(batch, INPUT, self))
        with torch.no_grad():
            if self.training:
                if x.is_cpu:  # a GPU would wait: there it is noticed at the end of the epoch
                    _check_finite(x)
                chosen = self._trunk.nearest(x)
                self._gather(x, chosen)
                return self._distance(x[:_LOOK_AT], chosen[:_LOOK_AT]).mean(), {}
            found = self._trunk.scores(x)
            nearest = found.topk(2, dim=1).indices
            apart = ~self._touching()[nearest[:, 0], nearest[:, 1]]
            distance = self._distance(x, nearest[:, 0])
            logs = {"topographic_error": apart.float().mean(), "distortion": self._distortion(x, found, nearest[:, 0])}
            return distance.mean(), logs

    def _flat(self, x: Tensor) -> Tensor:
        shape = tuple(self.hparams.input_shape)
        if tuple(x.shape[1:]) != shape:
            raise ValueError(f"input_shape is {shape} but the batch holds inputs of shape {tuple(x.shape[1:])}")
        return x.flatten(1).to(self.units.dtype)

    def _distance(self, x: Tensor, chosen: Tensor) -> Tensor:
        return distance_to(x, self.units, chosen)

    def _distortion(self, x: Tensor, found: Tensor, nearest: Tensor) -> Tensor:
        around = neighbourhood(self.hparams.neighbourhood, self._grid_distances(), self.hparams.sigma_end)
        squared = ((x - self._trunk.centre).square().sum(1, keepdim=True) - 2 * found).clamp_min(0)
        return (squared * around.index_select(0, nearest)).sum(1).mean()

    def _gather(self, x: Tensor, chosen: Tensor) -> None:
        sums = unit_sums(x, chosen, len(self.units))
        self._gathered = sums if self._gathered is None else (self._gathered[0] + sums[0], self._gathered[1] + sums[1])
        self._waiting = True

    def _grid_distances(self) -> Tensor:
        self._squared = self._squared.to(self.device)
        return self._squared

    def _touching(self) -> Tensor:
        return adjacent(self._grid_distances(), self.hparams.topology)

    # How units move

    def on_train_start(self) -> None:
        if not self.global_step:  # nothing stays of an earlier fit; one that is resumed has its sums
            self._gathered, self._waiting = None, False
        if not self.started:
            x = self._first_samples()
            if len(x) < 2:
                raise ValueError(f"a map needs two samples or more; there is only {len(x)}")
            _check_finite(x)
            self._trunk.centre.copy_(x.mean(0))
            self.units.data.copy_(self._starting_units(x))
            self.started.fill_(True)

    def _first_samples(self) -> Tensor:
        """The first 1,000 samples (N, D) of all processes, from a loader of its own where there is a datamodule."""
        data, rows, size = getattr(self.trainer, "datamodule", None), [], 0
        for batch in data.train_dataloader() if data else self.trainer.train_dataloader or ():
            batch = as_mapping(self.trainer.strategy.batch_to_device(batch), self.input_key)
            rows.append(self._flat(require(batch, INPUT, self)))
            if (size := size + len(rows[-1]) * self.trainer.world_size) >= _BEGIN_WITH:
                break
        x = torch.cat(rows)
        if self.trainer.world_size == 1:
            return x[:_BEGIN_WITH]
        everybodys: Any = self.all_gather(x)
        return everybodys.transpose(0, 1).flatten(0, 1)[:_BEGIN_WITH]  # type: ignore[no-any-return]  # as in one

    def _starting_units(self, x: Tensor) -> Tensor:
        hp, count = self.hparams, len(self.units)
        generator = torch.Generator().manual_seed(self._seed)  # the same on every process
        if count > len(x):
            usual = math.ceil(5 * math.sqrt(len(x)))
            rank_zero_warn(
                f"a map of {count} units for {len(x)} samples: many stay empty; {usual} units would be usual"
            )
        if hp.start == "pca":
            return pca_units(x, hp.rows, hp.columns)
        if hp.start == "sample":
            picks = torch.randperm(len(x), generator=generator).repeat(-(-count // len(x)))[:count]
            return x[picks.to(x.device)]
        noise = torch.randn(count, x.shape[1], generator=generator).to(x)
        return x.mean(0) + noise * x.std(0)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.hparams.rule == "online":
            self._move(self._online_progress())
            return
        done = self._moves if self.trainer.is_last_batch else self._moves_by(batch_idx)
        if done > self._moves_by(batch_idx - 1):
            self._move(self._batch_progress(done))

    def on_train_epoch_end(self) -> None:
        if self._waiting:  # where ``max_steps`` ended the epoch
            self._move(self._batch_progress(self._moves))
        self._record()

    @torch.no_grad()
    def _move(self, progress: float) -> None:
        assert self._gathered is not None
        sums, counts = self._summed(self._gathered)
        self._gathered = self._faded(self._gathered)
        self._waiting = False
        hp = self.hparams
        sigma = decayed(hp.decay, hp.sigma or max(hp.rows, hp.columns) / 2, hp.sigma_end, progress)
        if hp.rule == "batch":
            influence = self._influence(sigma)
            moved = batch_update(self.units, spread(sums, influence), spread(counts, influence))
        else:
            influence = neighbourhood(hp.neighbourhood, self._grid_distances(), sigma)
            rate = decayed(hp.decay, hp.rate, hp.rate_end, progress)
            signed = hp.neighbourhood == "mexican_hat"
            moved = online_update(self.units, sums, counts, influence, rate, signed)
        self.units.data.copy_(moved)
        if self.trainer.is_last_batch:
            self._end_pass()

    def _end_pass(self) -> None:
        """Once an epoch, before the validation: what makes a GPU wait, and what only users of the map need."""
        if not self.units.isfinite().all():
            raise ValueError(f"the units are not finite: {self.divergence_hint}")
        self._set_scale()

    def _influence(self, sigma: float) -> Tensor | tuple[Tensor, Tensor]:
        hp = self.hparams
        if hp.topology == "hexagonal" or hp.neighbourhood != "gaussian":
            return neighbourhood(hp.neighbourhood, self._grid_distances(), sigma)
        sides = (axis_distances(count, 1.0, hp.torus).square().to(self.device) for count in (hp.rows, hp.columns))
        down, right = (neighbourhood("gaussian", side, sigma) for side in sides)
        return down, right

    @property
    def _moves(self) -> int:
        """Of the batch rule in an epoch; one where it is not known how long that is."""
        batches = self.trainer.num_training_batches
        return 1 if math.isinf(batches) else min(self.hparams.moves, int(batches))

    def _moves_by(self, batch_idx: int) -> int:
        """How many are due in this epoch by a batch's end."""
        return int((batch_idx + 1) * self._moves // self.trainer.num_training_batches)

    def _faded(self, gathered: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor] | None:
        """What later moves keep of the sums."""
        if self.hparams.rule == "online" or self._moves == 1:
            return None
        return tuple(t * (1 - 1 / self._moves) for t in gathered)  # type: ignore[return-value]

    def _batch_progress(self, done: int) -> float:
        """From 0 at the first move to 1 at the last, as which the ``done``-th of this epoch counts."""
        batches = self.trainer.num_training_batches
        steps = 1 if math.isinf(batches) else max(1, math.ceil(batches / self.trainer.accumulate_grad_batches))
        last = math.ceil(self._total_steps() / steps) * self._moves - 1
        return min(1.0, (self.current_epoch * self._moves + done - 1) / max(1, last))

    def _online_progress(self) -> float:
        return min(1.0, max(0, self.global_step - 1) / max(1.0, self._total_steps() - 1))

    def _total_steps(self) -> float:
        total = float(self.trainer.estimated_stepping_batches)
        if math.isinf(total) or total < 0:
            raise ValueError("the neighbourhood shrinks to the end: give --trainer.max_epochs or --trainer.max_steps")
        return total

    def _summed(self, gathered: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Over all processes."""
        if self.trainer.world_size == 1:
            return gathered
        # Copies: Lightning reduces in place, and a checkpoint must leave each process its own sums.
        sums, counts = (self.trainer.strategy.reduce(t.clone(), reduce_op="sum") for t in gathered)
        return sums, counts

    def _set_scale(self) -> None:
        """Activations fall with distances between neighbours in a row or a column: their mean over the map."""
        grid = self.units.view(self.hparams.rows, self.hparams.columns, -1)
        steps = (grid[1:] - grid[:-1], grid[:, 1:] - grid[:, :-1])
        apart = torch.cat([step.norm(dim=2).flatten() for step in steps])
        self._trunk.scale.copy_(apart.mean().clamp_min(1e-6))

    # What the map is for

    def encode(self, x: Tensor) -> Tensor:
        """Inputs (B, *input_shape) to places on the grid (B, 2), or activations (B, K)."""
        return self.encoder(x)  # type: ignore[no-any-return]

    def winners(self, x: Tensor) -> Tensor:
        """Inputs (B, *input_shape) to the number of the nearest unit, (B,) long: row * columns + column."""
        return self._trunk.nearest(self._flat(x))

    def reconstruct(self, batch: Any) -> Tensor:
        """A batch, or its input (B, *input_shape), each replaced by its unit."""
        x = require(as_mapping(batch, self.input_key), INPUT, self)
        return self.units.index_select(0, self.winners(x)).view(x.shape)

    def forward(self, x: Tensor) -> Tensor:
        return self.encode(x)

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The numbers of the units nearest to a batch's samples, (B,) long."""
        return self.winners(require(as_mapping(batch, self.input_key), INPUT, self))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        if self._gathered is not None:  # in the middle of an epoch; all processes are here together
            checkpoint["gathered"] = list(self._summed(self._gathered))
            checkpoint["waiting"] = self._waiting

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        gathered = checkpoint.get("gathered")
        first = self.global_rank == 0  # the sums of all processes are one's now
        self._gathered = tuple(t.to(self.device) for t in gathered) if gathered and first else None
        self._waiting = bool(checkpoint.get("waiting"))


def _check_finite(x: Tensor) -> None:
    """Of samples (B, D)."""
    if not x.sum().isfinite() and not x.isfinite().all():
        row, column = (~x.isfinite()).nonzero().tolist()[0]
        raise ValueError(f"inputs must be finite: row {row} of the batch, column {column}, is NaN or infinite")
