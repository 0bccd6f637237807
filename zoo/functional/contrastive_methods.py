"""The methods of joint-embedding pretraining as a table: heads, loss and defaults of each."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from torch import Generator, Tensor

from zoo.functional import contrastive as losses

Terms = tuple[Tensor, dict[str, Tensor]]  # the loss, and what to log
_WEIGHT_BATCH = 128  # for which LeJEPA's weight is stated: its statistic grows with the batch


class Method(NamedTuple):
    """A method as plain values; those with the name of an option are its default, None where there is no such thing.

    ``loss`` gives the loss and what to log from the method itself, predictions (V, N, D) (embeddings, where there is no
    predictor), targets (G, N, D), the targets' centre if there is one, and a generator for what is random in it.
    """

    remedy: str  # for a collapse: its usual cause, and what to do
    loss: Callable[[Any, Tensor, Tensor, Any, Generator], Terms]
    projector: Sequence[int]
    predictor: Sequence[int] | None = None
    last_norm: bool = False  # whether a batch norm ends the projector
    predicted_norm: bool = False  # and the predictor
    stopped: bool = False  # whether targets have no gradient
    momentum: float | None = None  # of the target network
    temperature: float | None = None
    target_temperature: float | None = None
    prototypes: int | None = None
    weight: float | None = None
    regulariser: str | None = None
    directions: int | None = None
    decoupled: bool | None = None
    lr: float = 4e-3
    lr_rule: Literal["linear", "sqrt"] = "linear"
    constant_predictor: bool = False  # whether the predictor's rate does not fall


# Each method's loss. They have names, since a module that goes to another process is pickled.


def _simclr(m: Any, z: Tensor, t: Tensor, *_: Any) -> Terms:
    return losses.nt_xent(z, m.temperature, len(t), m.decoupled), {}


def _vicreg(m: Any, z: Tensor, t: Tensor, *_: Any) -> Terms:
    return losses.vicreg(z, covariance=m.weight, global_views=len(t)), {}


def _barlow(m: Any, z: Tensor, t: Tensor, *_: Any) -> Terms:
    return losses.barlow_twins(z, m.weight, len(t)), {}


def _byol(m: Any, z: Tensor, t: Tensor, *_: Any) -> Terms:
    return 2 + 2 * losses.negative_cosine(z, t), {}


def _simsiam(m: Any, z: Tensor, t: Tensor, *_: Any) -> Terms:
    return losses.negative_cosine(z, t), {}


def _mocov3(m: Any, z: Tensor, t: Tensor, *_: Any) -> Terms:
    return losses.info_nce(z, t, m.temperature), {}


def _dino(m: Any, z: Tensor, t: Tensor, centre: Any, _: Any) -> Terms:
    return losses.dino(z, t, centre, m.temperature, m.target_temperature), {}


def _lejepa(m: Any, z: Tensor, t: Tensor, _: Any, generator: Generator) -> Terms:
    _, samples, dim = z.shape
    directions = losses.unit_directions(dim, m.directions, generator)
    weight = min(1.0, m.weight * _WEIGHT_BATCH / samples)
    return losses.lejepa(z, directions, weight, m.regulariser, len(t))


# Widths are 1/4 to 1/16 of the papers', which had ResNet-50 and batches of thousands. Momenta are those for short
# trainings: the papers' 0.996 is for hundreds of epochs.
METHODS: dict[str, Method] = {
    "simclr": Method(
        "negatives do not push: a lower `temperature` or `lr`",
        _simclr,
        (512, 128),
        temperature=0.5,
        decoupled=False,
        lr_rule="sqrt",
    ),
    "vicreg": Method(
        "the variance term does not hold: a lower `lr`, or a larger batch",
        _vicreg,
        (512, 512, 512),
        weight=1.0,
    ),
    "barlow": Method(
        "correlations do not hold: a lower `lr`, or a larger `weight`",
        _barlow,
        (512, 512, 512),
        weight=5e-3,
    ),
    "byol": Method(
        "targets and predictor do not hold: a lower `lr`, a `momentum` nearer to 1, and a `predictor`",
        _byol,
        (512, 128),
        (512, 128),
        stopped=True,
        momentum=0.99,
    ),
    "simsiam": Method(
        "the predictor does not hold, or targets have a gradient: a lower `lr`, and a `predictor`",
        _simsiam,
        (512, 512, 512),
        (128, 512),
        last_norm=True,
        stopped=True,
        constant_predictor=True,
    ),
    "mocov3": Method(
        "negatives do not push: a lower `temperature` or `lr`",
        _mocov3,
        (512, 512, 128),
        (512, 128),
        last_norm=True,
        predicted_norm=True,
        stopped=True,
        momentum=0.99,
        temperature=0.2,
    ),
    "dino": Method(
        "the centre does not hold: a lower `lr`, a `momentum` nearer to 1, a lower `target_temperature`",
        _dino,
        (512, 512, 128),
        stopped=True,
        momentum=0.99,
        temperature=0.1,
        target_temperature=0.04,
        prototypes=1024,
    ),
    "lejepa": Method(
        "the regulariser does not hold: a larger `weight`, a lower `lr`, or `regulariser` visreg",
        _lejepa,
        (512, 512, 64),
        weight=0.05,
        regulariser="sigreg",
        directions=256,
    ),
}


def with_options(name: str, given: Mapping[str, Any]) -> Method:
    """A method with the options that were given, those that are not None, in place of its own.

    Raises:
        ValueError: an option that the method does not have, or that is out of its range; names it.
    """
    own = METHODS[name]
    chosen = {option: given[option] for option in Method._fields if given.get(option) is not None}
    for option, value in chosen.items():
        if getattr(own, option) is None:
            raise ValueError(f"method {name!r} has no {option}: leave it out, or take another `method`")
        for number in value if isinstance(value, list | tuple) else [value]:
            if isinstance(number, int | float) and not isinstance(number, bool):
                _check(option, number)
    return own._replace(**chosen)


def _check(option: str, number: float) -> None:
    low_is_allowed = option in ("weight", "momentum")
    if not (number >= 0 if low_is_allowed else number > 0):
        raise ValueError(f"{option} must be {'0 or more' if low_is_allowed else 'more than 0'}; got {number}")
    if option == "momentum" and not number <= 1:
        raise ValueError(f"momentum must be 0 to 1; got {number}")
