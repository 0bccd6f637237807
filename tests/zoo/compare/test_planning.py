"""What a plan is made of, and what may be added to one that exists."""

import pytest
import torch

from zoo import save_encoder
from zoo.cli.compare import _typed, request
from zoo.compare.cells import Folder
from zoo.compare.plan import write_plan
from zoo.compare.planning import planned
from zoo.compare.pool import read_data
from zoo.compare.request import Asked, Request
from zoo.networks.encoder import Encoder

DATA = "--data vectors --data.source iris --steps 5 --tuning_steps 5 "


def plan(out, arguments, options=()):
    """The plan of arguments, which is written, as the command makes it."""
    asked, words, techniques, _ = request([*(DATA + arguments).split(), "--out", str(out)])
    techniques = tuple(e._replace(options=_typed(e.path, "module", w) if w else {}) for e, w in techniques)
    asked = asked._replace(techniques=techniques, data_options=_typed(asked.data, "data", words))
    made = planned(asked, read_data(asked.data, asked.data_options), None, print)
    write_plan(made, Folder(out))
    return made


def test_weights_are_compared_with_their_own_network_from_scratch_where_it_is_another(tmp_path):
    for name, spec in {"same": "mlp", "other": {"name": "mlp", "widths": [8]}}.items():
        save_encoder(Encoder(spec, (4,)), tmp_path / name)
    spec = {"name": "projection", "components": 2}
    save_encoder(Encoder(spec, (4,)), tmp_path / "linear")
    names = ",".join(str(tmp_path / name) for name in ("same", "other", "linear"))
    made = plan(tmp_path / "out", f"--data.standardise false --labels 3 --modules {names}")
    assert [entry.own_network for entry in made.techniques] == [False, True, False]
    assert len(made.own_from_scratch(made.techniques[1], 3)) == 3


def test_weights_that_have_changed_are_refused(tmp_path):
    save_encoder(encoder := Encoder("mlp", (4,)), tmp_path / "weights")
    arguments = f"--data.standardise false --labels 3 --modules {tmp_path}/weights"
    assert plan(tmp_path / "out", arguments) == plan(tmp_path / "out", arguments)
    with torch.no_grad():
        next(encoder.parameters()).add_(1e-3)
    save_encoder(encoder, tmp_path / "weights")
    with pytest.raises(ValueError, match="weights has other weights in the comparison that is there"):
        plan(tmp_path / "out", arguments)


def test_a_plan_with_labels_added_is_that_of_all_at_once(tmp_path):
    plan(tmp_path / "out", "--labels 3 --modules pca")
    added = plan(tmp_path / "out", "--labels 9 --modules pca")
    assert (added.labels, added.further) == ((3, 9), (18, 36))
    assert added == plan(tmp_path / "anew", "--labels 3,9 --modules pca")
    assert plan(tmp_path / "out", "--labels 3 --modules pca") == added


def test_a_technique_that_does_not_work_with_the_common_network_is_told(tmp_path):
    """A transformer has no decoder of the autoencoder's; a map has no network at all."""
    paths = {"autoencoder": "zoo.modules.autoencoder.AutoencoderModule", "som": "zoo.modules.som.SOMModule"}
    techniques = tuple(Asked(name, path) for name, path in paths.items())
    asked = Request("datamodules.images.Digits", {}, techniques, (1,), steps=1, out=tmp_path, network="vit")
    data, lines = read_data(asked.data, {}), []
    planned(asked, data, None, lines.append)
    assert lines == ['autoencoder does not work with --network vit, and keeps "conv"']
    planned(asked._replace(network="conv"), data, None, lines.append)
    assert len(lines) == 1


def test_seeds_share_encoders_where_there_are_fewer_and_weights_always(tmp_path):
    made = plan(tmp_path / "out", "--labels 3 --modules pca --seeds 5 --pretrainings 2")
    weights = made.techniques[0]._replace(path="", weights="somewhere")
    assert [made.shared(made.techniques[0], seeds) for seeds in (2, 3, 5)] == [0, 2, 2]
    assert [made.shared(weights, seeds) for seeds in (1, 3)] == [0, 1]
    assert made._replace(pretrainings=0).shared(made.techniques[0], 5) == 0


@pytest.mark.parametrize(
    ("before", "now", "looks"),
    [("5", "3", [5]), ("3", "5", [5]), ("3..12", "5", [5]), ("5", "3..12", [3, 5, 8, 12])],
)
def test_seeds_of_a_plan_that_exists(before, now, looks, tmp_path):
    plan(tmp_path / "out", f"--labels 3 --modules pca --seeds {before}")
    made = plan(tmp_path / "out", f"--labels 3 --modules pca --seeds {now}")
    assert [count for count, _ in made.looks] == looks


class Sized:
    """A class with an option that JSON has no type of."""

    def __init__(self, sizes: tuple[int, int] = (1, 2)) -> None:
        self.sizes = sizes


def test_options_are_what_the_plan_holds_when_it_is_read_again():
    assert _typed(f"{__name__}.Sized", "module", ["--module.sizes=[3,4]"]) == {"sizes": [3, 4]}
