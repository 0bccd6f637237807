import logging
import re
from typing import ClassVar

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
    (record,) = [record for record in caplog.records if "the embeddings have collapsed" in record.getMessage()]
    assert "by step 5" in record.getMessage() and remedy in record.getMessage()


def test_what_is_healthy_is_not_warned_of(tmp_path, caplog):
    fit(tmp_path, ContrastiveModule(**SMALL), EmbeddingCollapse(every_n_steps=5))
    assert "collapsed" not in caplog.text


class Given(ContrastiveModule):
    """A module whose embeddings are made: directions around one, by ``narrowing`` of the step, and ``growth``."""

    narrowing: ClassVar = staticmethod(lambda step: 1.0)
    growth: ClassVar = staticmethod(lambda step: 1.0)

    def loss(self, batch):
        loss, logs = super().loss(batch)
        rows = torch.randn(2, 64, 16, generator=torch.Generator().manual_seed(0)) * self.narrowing(self.global_step)
        rows[..., 0] += 1
        self.embeddings = rows * self.growth(self.global_step)
        return loss, logs


@pytest.mark.parametrize(
    ("sign", "made", "step"),
    [
        ("collapsed in part", {"narrowing": lambda step: 0.1 if step else 1.0}, 4),
        ("grown 1,000-fold", {"growth": lambda step: 1e3 if step else 1.0}, 2),
        ("", {"narrowing": lambda step: 0.1 if step == 1 else 1.0}, 0),  # at one look alone
        ("", {"narrowing": lambda step: 0.04 * 1.5**step if step else 1.0}, 0),  # it rises again
        ("", {"growth": lambda step: 90.0 if step else 1.0}, 0),
    ],
)
def test_embeddings_are_compared_with_those_of_the_untrained_network(sign, made, step, tmp_path, caplog):
    module = type("Given", (Given,), {name: staticmethod(f) for name, f in made.items()})(**SMALL)
    fit(tmp_path, module, EmbeddingCollapse(every_n_steps=2), limit_train_batches=7)
    told = [record.getMessage() for record in caplog.records if "the embeddings have" in record.getMessage()]
    assert sign in told[0] and f"by step {step}:" in told[0] if sign else not told


def test_a_resumed_run_remembers_the_untrained_network(tmp_path, caplog):
    module = type("Given", (Given,), {"narrowing": staticmethod(lambda step: 0.1 if step else 1.0)})
    first = EmbeddingCollapse(every_n_steps=7)
    fit(tmp_path, module(**SMALL), first, limit_train_batches=7)
    assert "collapsed" not in caplog.text  # one look
    second = EmbeddingCollapse(every_n_steps=7)
    second.load_state_dict(first.state_dict())
    trainer = type("Trainer", (), {"global_step": 14, "is_last_batch": True, "is_global_zero": True})
    resumed = module(**SMALL)
    resumed.log = lambda *_, **__: None
    resumed.embeddings = torch.randn(1, 64, 16) * 0.1 + torch.eye(16)[0]
    second.on_train_start(trainer, resumed)
    second.on_train_batch_end(trainer, resumed, None, None, 6)
    assert "collapsed in part" in caplog.text
