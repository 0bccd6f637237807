"""Joint-embedding pretraining, watched: the views that it learns from, and whether the embeddings collapse."""

import logging
import math
from typing import Any, ClassVar, NamedTuple

import lightning.pytorch as pl
import torch
from torch import Tensor

from callbacks.figures import FigureCallback, FigureText, denormalised, image_rows, input_key_of
from zoo.core.arguments import at_least, between, more_than
from zoo.core.distributed import training_batches
from zoo.core.renamed import RenamedOptions
from zoo.functional.features import feature_spread, rank_me

log = logging.getLogger(__name__)


class Views(FigureCallback):
    """``views.png`` at the start of a run: training images, and the views that are made of each.

    A line says how many of 256 views raw pixels alone pair rightly: where that is most of them, there is nothing to be
    learned. For modules with ``views(batch)``, which gives stacks (views, samples, C, H, W); idle with others.

    Args:
        images: Number of images in the figure.
        pairs: Number of images whose first two views are paired by their pixels; 0 does not measure it.
        alike: Share of pairs found by raw pixels above which there is a warning, 0 to 1.

    Raises:
        ValueError: an argument out of its range.
    """

    figures: ClassVar = {
        "views": FigureText(
            "Views of training images",
            "Each column is one image and its views: a person should still see what is the same.",
            11,
        ),
    }

    def __init__(self, images: int = 8, pairs: int = 256, alike: float = 0.4) -> None:
        super().__init__(every_n_epochs=0)
        at_least(1, images=images)
        at_least(0, pairs=pairs)
        between(0, 1, alike=alike)
        self.images, self.pairs, self.alike = images, pairs, alike

    def due_anywhere(self, trainer: pl.Trainer) -> bool:
        """Never after an evaluation: the figure is of the start."""
        return False

    @torch.no_grad()
    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Draw, and pair views by their pixels; on the first process alone, since nothing is gathered."""
        skipped = trainer.fast_dev_run or not trainer.is_global_zero  # type: ignore[attr-defined]
        if skipped or not callable(getattr(pl_module, "views", None)):
            return
        key = input_key_of(pl_module)
        batch = _first(trainer, key, max(self.images, self.pairs))
        if key not in batch or batch[key].ndim != 4:
            return
        stacks = pl_module.views(batch)
        rows = [batch[key], *(view for stack in stacks for view in stack)]
        if batch[key].shape[1] in (1, 3):
            shown = [denormalised(row[: self.images], trainer) for row in rows]
            names = ["image", *(f"view {i}" for i in range(1, len(rows)))]
            figure = image_rows(dict(zip(names, shown, strict=True)), "training images, and views of them", width=7)
            self.save(trainer, figure, "views")
        views = list(stacks[0])
        if len(views) > 1 and self.pairs:
            self._pair(views[0][: self.pairs].flatten(1).float(), views[1][: self.pairs].flatten(1).float())

    def _pair(self, first: Tensor, second: Tensor) -> None:
        share = pixel_pairing(first, second)
        text = "raw pixels alone pair %.1f %% of %d views rightly (chance %.1f %%)"
        print(text % (100 * share, len(first), 100 / len(first)), flush=True)
        if share > self.alike:
            log.warning(
                text + ": the views are too alike to learn much from; take a `recipe` with smaller crops, photo say",
                100 * share, len(first), 100 / len(first),
            )  # fmt: skip


def pixel_pairing(first: Tensor, second: Tensor) -> float:
    """Share of samples whose second view is the nearest of all second views to the first, by pixels (N, D)."""
    nearest = torch.cdist(first, second).argmin(1)
    return (nearest == torch.arange(len(first), device=first.device)).float().mean().item()


def _first(trainer: pl.Trainer, key: str, count: int) -> dict[str, Tensor]:
    """The first training samples, ``count`` or as many as there are."""
    parts: list[dict[str, Tensor]] = []
    for batch in training_batches(trainer, key):
        size = len(batch[key]) if key in batch else 0
        parts.append({name: v for name, v in batch.items() if isinstance(v, Tensor) and len(v) == size})
        count -= size
        if count <= 0 or not size:
            break
    names = parts[0] if parts else {}
    return {name: torch.cat([part[name] for part in parts]) for name in names}


_RISE = 1.1  # of the spread between two looks: more is no collapse


class _Look(NamedTuple):
    """Measures of a batch's embeddings (N, D)."""

    spread: float  # of their directions, 1 if even
    rank: float  # effective
    scale: float  # root of the mean variance

    @classmethod
    def at(cls, rows: Tensor) -> "_Look":
        return cls(feature_spread(rows), rank_me(rows), rows.var(0).mean().sqrt().item())


class EmbeddingCollapse(pl.Callback, metaclass=RenamedOptions):
    """Warns once, within the epoch, when a batch's embeddings become one point or a few dimensions, shrink to a part of
    the directions that the untrained network's had, or grow without end.

    For modules that keep ``embeddings`` (views, samples, D) of their last step and may have a ``remedy``; idle with
    others. ``train/embedding_rank``, the effective rank (RankMe), is logged.

    Args:
        every_n_steps: Batches between two looks; the last batch of an epoch is looked at, too.
        least_spread: Spread of the directions below which they have collapsed, 0 to 1; 1 is even.
        least_rank: Effective rank below which they have collapsed, as a share of the greatest possible, 0 to 1.
        least_kept: Spread below which, at two looks running, they are collapsing unless it rises again, as dino's does,
            as a share of that of the first batch, 0 to 1.
        most_growth: Growth of their deviation since the first batch above which the training diverges, more than 1.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(
        self,
        every_n_steps: int = 50,
        least_spread: float = 0.05,
        least_rank: float = 0.02,
        least_kept: float = 0.6,
        most_growth: float = 100.0,
    ) -> None:
        at_least(1, every_n_steps=every_n_steps)
        between(0, 1, least_spread=least_spread, least_rank=least_rank, least_kept=least_kept)
        more_than(1, most_growth=most_growth)
        self.every_n_steps, self.least_spread, self.least_rank = every_n_steps, least_spread, least_rank
        self.least_kept, self.most_growth = least_kept, most_growth
        self._forget()

    def _forget(self) -> None:
        self._first: _Look | None = None  # of the untrained network
        self._narrow = math.nan  # spread at the last look, where its directions were narrowed
        self._warned = False

    def state_dict(self) -> dict[str, Any]:
        """The first look, so that a resumed run compares with it."""
        return {"first": self._first and list(self._first), "narrow": self._narrow, "warned": self._warned}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the looks of the run that is resumed."""
        self._first = state["first"] and _Look(*state["first"])
        self._narrow, self._warned = state["narrow"], state["warned"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Forget an earlier training's looks."""
        if trainer.global_step == 0:
            self._forget()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        embeddings = getattr(pl_module, "embeddings", None)
        if not isinstance(embeddings, Tensor):
            return
        started = trainer.global_step <= 1 and self._first is None
        due = (batch_idx + 1) % self.every_n_steps == 0 or trainer.is_last_batch
        if not (due or started) or not embeddings.isfinite().all():
            return
        rows = embeddings[0].float()
        look = _Look.at(rows)
        self._first = look if started else self._first
        if due:
            pl_module.log("train/embedding_rank", look.rank, rank_zero_only=True)
            sign = self._sign(look, min(rows.shape))
            if sign and trainer.is_global_zero and not self._warned:
                self._warned = True
                remedy = getattr(pl_module, "remedy", "try a lower `lr`")
                log.warning("the embeddings have %s by step %d: %s", sign, trainer.global_step, remedy)

    def _sign(self, look: _Look, most: int) -> str:
        """What has become of the embeddings, "" if nothing; ``most`` is the greatest rank possible."""
        spread, rank, scale = look
        fewest = 1 + self.least_rank * (most - 1)  # 1 is the least that there is
        if spread < self.least_spread or rank < fewest:
            return f"collapsed (spread {spread:.3g}, 1 is even; rank {rank:.3g} of {most})"
        if self._first is None:
            return ""
        before, self._narrow = self._narrow, spread if spread < self.least_kept * self._first.spread else math.nan
        if self._narrow <= _RISE * before:
            untrained = f"untrained {self._first.spread:.3g}"
            return f"collapsed in part (spread {spread:.3g}, {untrained}; rank {rank:.3g} of {most})"
        grown = scale / self._first.scale if self._first.scale else 1.0
        return f"grown {grown:,.0f}-fold" if grown > self.most_growth else ""
