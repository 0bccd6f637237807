import logging
import re

import pytest
import torch
from conftest import quiet_trainer
from PIL import Image

from callbacks.by_technique.contrastive import EmbeddingCollapse, Views, pixel_pairing
from datamodules.images import Digits
from zoo import ContrastiveModule, PCAModule

SMALL = {"input_shape": (1, 8, 8), "network": {"name": "conv", "width": 8}, "projector": [32, 16], "mirrored": False}


def fit(folder, module, *callbacks, **options):
    quiet_trainer(folder, callbacks=list(callbacks), limit_val_batches=0, **options).fit(module, Digits(batch_size=64))


def test_views_are_drawn_before_the_first_step(tmp_path, capsys, caplog):
    with caplog.at_level(logging.WARNING):
        fit(tmp_path, ContrastiveModule(**SMALL, local_views=0), Views(), limit_train_batches=1)
    (file,) = tmp_path.rglob("views.png")
    assert Image.open(file).size[0] == 700
    assert re.search(r"raw pixels alone pair [\d.]+ % of 256 views rightly \(chance 0\.4 %\)", capsys.readouterr().out)
    assert "alike" not in caplog.text


def test_views_that_pixels_alone_pair_are_warned_of(tmp_path, caplog):
    recipe = {"name": "handwriting", "scale": [0.95, 1.0], "rotate": 1, "shear": 1, "shift": 0}
    fit(tmp_path, ContrastiveModule(**SMALL, recipe=recipe), Views(), limit_train_batches=1)
    assert "the views are too alike" in caplog.text and "smaller crops" in caplog.text


def test_modules_without_views_have_no_figure(tmp_path):
    fit(tmp_path, PCAModule(input_shape=(1, 8, 8), n_components=4), Views(), EmbeddingCollapse())
    assert not [*tmp_path.rglob("views.png")]


def test_pairing_by_pixels():
    first = torch.eye(5)
    assert pixel_pairing(first, first + 0.1) == 1
    assert pixel_pairing(first, first.roll(1, 0)) == 0
    assert pixel_pairing(first, torch.cat([first[:2], first[2:].flip(0)])) == pytest.approx(0.6)


COLLAPSES = {
    "byol": ({"predictor": [], "momentum": 0.0}, "byol needs its predictor"),
    "simsiam": ({"lr": 3.0, "predictor": [16]}, "a lower `lr`: 0.004 is usual"),
}


@pytest.mark.parametrize("method", COLLAPSES)
def test_a_collapse_is_told_with_its_remedy(method, tmp_path, caplog):
    options, remedy = COLLAPSES[method]
    module = ContrastiveModule(**{**SMALL, **options}, method=method)

    class Collapsed(torch.nn.Module):
        def forward(self, x):
            return 1 + 1e-3 * x

    getattr(module, "target_projector", module.projector).layers.append(Collapsed())
    fit(tmp_path, module, EmbeddingCollapse(every_n_steps=5), limit_train_batches=6)
    (record,) = [record for record in caplog.records if "have collapsed at step 5" in record.getMessage()]
    assert remedy in record.getMessage()


def test_what_is_healthy_is_not_warned_of(tmp_path, caplog):
    fit(tmp_path, ContrastiveModule(**SMALL), EmbeddingCollapse(every_n_steps=5))
    assert "collapsed" not in caplog.text
