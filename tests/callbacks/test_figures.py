import io
import re

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from conftest import quiet_trainer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from PIL import Image
from sklearn.decomposition import PCA

from callbacks.by_technique.pca import scree
from callbacks.features.latent_map import LatentMap, principal_plane
from callbacks.figures import FigureCallback, image_rows, save_figure
from callbacks.predictions.figures import confusion, precision_bars
from callbacks.samples.grid import SampleGrid
from datamodules.images import Digits
from zoo import AutoencoderModule
from zoo.cli.shorthand import load
from zoo.core.batch import class_labels
from zoo.registry import CALLBACKS, MODULES

FIGURES = ("reconstructions", "samples", "interpolations")


def fit(folder, module, callbacks, epochs=1, data=None):
    trainer = quiet_trainer(folder, max_epochs=epochs, limit_train_batches=1, callbacks=callbacks)
    trainer.fit(module, data or Digits())
    return trainer


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB"))


def test_all_grids_are_drawn_at_the_end_and_hold_images(tmp_path):
    fit(tmp_path, AutoencoderModule((1, 8, 8)), [SampleGrid(), LatentMap()])
    for name in (*FIGURES, "latent_map"):
        image = pixels(tmp_path / f"{name}.png")
        assert min(image.shape[:2]) > 200 and image.std() > 10
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_the_first_row_is_the_originals(tmp_path, monkeypatch):
    grid, seen = SampleGrid(columns=5), {}
    monkeypatch.setattr(grid, "_figure", lambda images, title: seen.setdefault(title.split(",")[0], images))
    monkeypatch.setattr("callbacks.figures.save_figure", lambda *_: None)
    data = Digits(normalise="standard")
    module = AutoencoderModule((1, 8, 8))
    fit(tmp_path, module, [grid], data=data)
    expected = data.splits["val"].images[:5].float() / 255
    torch.testing.assert_close(seen["inputs above"][:5], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("every, drawn", [(2, [2, 4, 5]), (0, [5]), (1, [1, 2, 3, 4, 5])])
def test_figures_are_drawn_when_due(tmp_path, every, drawn):
    class Watch(SampleGrid):
        def draw(self, trainer, module):
            seen.append(trainer.current_epoch + 1)

    seen = []
    fit(tmp_path, AutoencoderModule((1, 8, 8)), [Watch(every_n_epochs=every)], epochs=5)
    assert seen == drawn


def test_drawing_does_not_change_the_training(tmp_path):
    states = []
    for callbacks in ([], [SampleGrid(every_n_epochs=1), LatentMap(every_n_epochs=1)]):
        pl.seed_everything(0, verbose=False)
        module = AutoencoderModule((1, 8, 8))
        fit(tmp_path, module, callbacks, epochs=2)
        states.append(module.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_tensorboard_gets_the_figures(tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    loggers = [CSVLogger(tmp_path, "a", "1"), TensorBoardLogger(tmp_path, "b", "1")]
    trainer = quiet_trainer(tmp_path, limit_train_batches=2, callbacks=[SampleGrid(), LatentMap()], logger=loggers)
    trainer.fit(AutoencoderModule((1, 8, 8)), Digits())
    events = reader.EventAccumulator(str(tmp_path / "b" / "1"), size_guidance={"images": 0})
    events.Reload()
    assert sorted(events.Tags()["images"]) == sorted((*FIGURES, "latent_map"))
    shown = events.Images("reconstructions")[-1]
    image = np.asarray(Image.open(io.BytesIO(shown.encoded_image_string)))
    assert shown.step == 2 and np.array_equal(image, pixels(tmp_path / "a" / "1" / "reconstructions.png"))


def test_every_figure_says_what_to_look_at():
    """Of all callbacks that draw: those named by the files that they say they write."""
    paths = [*CALLBACKS.values(), *(path for entry in MODULES.values() for path in entry.callbacks.values())]
    drawing = [cls for cls in map(load, paths) if issubclass(cls, FigureCallback)]
    assert len(drawing) >= 8
    for cls in drawing:
        named = set(re.findall(r"``(\w+)\.png``", cls.__doc__))
        assert named == set(cls.figures), cls
        assert all(
            text.title and text.look.endswith((".", "?")) and len(text.look) < 160 for text in cls.figures.values()
        )


def test_modules_that_lack_what_is_needed_get_no_figures(tmp_path):
    class Bare(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(64, 1)

        def training_step(self, batch, batch_idx):
            return self.layer(batch["input"].flatten(1)).mean()

        def validation_step(self, batch, batch_idx):
            pass

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    fit(tmp_path, Bare(), [SampleGrid(), LatentMap()])
    assert not list(tmp_path.glob("*.png"))


def test_without_a_prior_there_are_no_samples(tmp_path):
    fit(tmp_path, AutoencoderModule((1, 8, 8), variant="plain"), [SampleGrid()])
    assert sorted(p.name for p in tmp_path.glob("*.png")) == ["interpolations.png", "reconstructions.png"]


def test_the_plane_is_scikit_learns():
    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)) * torch.tensor([5.0, 3, 1, 1, 1, 1])
    plane, share = principal_plane(x)
    pca = PCA(2).fit(x.numpy())
    reference = torch.from_numpy(pca.transform(x.numpy())).float()
    torch.testing.assert_close(plane.abs(), reference.abs(), atol=1e-4, rtol=1e-4)
    assert share == pytest.approx(pca.explained_variance_ratio_.sum(), rel=1e-5)


def test_a_space_of_one_dimension_has_a_map():
    plane, share = principal_plane(torch.arange(5.0).view(5, 1))
    assert plane[:, 1].tolist() == [0] * 5 and share == pytest.approx(1.0)


@pytest.mark.parametrize(
    "make", [lambda: SampleGrid(columns=1), lambda: LatentMap(points=2), lambda: LatentMap(-1 + 5, -1)]
)
def test_impossible_options_are_refused(make):
    with pytest.raises(ValueError, match="got"):
        make()


def test_labels_of_other_tasks_are_no_classes():
    x = torch.zeros(3, 2)
    assert class_labels({"input": x, "label": torch.tensor([1, -1, 0])}).tolist() == [1, -1, 0]
    for others in ({}, {"label": torch.zeros(3, 2)}, {"label": torch.zeros(3)}):
        assert class_labels({"input": x, **others}).tolist() == [-1] * 3


def test_dollar_signs_in_names_are_no_mathematics(tmp_path):
    names = ["$100", "$\\frac", "a$b$", "<b>&", "$$"]
    save_figure(
        confusion(torch.eye(5), torch.arange(5), names), tmp_path, "confusion"
    )  # "$\\frac" is an error if it is
    save_figure(precision_bars(torch.eye(5), torch.eye(5).long(), names), tmp_path, "precision")
    levels = scree(torch.tensor([0.9, 0.09, 0.01]), 2)
    save_figure(levels, tmp_path, "scree")
    assert any("mathdefault" in text.get_text() and text.get_parse_math() for text in levels.axes[0].get_yticklabels())


def test_rows_of_images_are_what_they_say_and_smaller_ones_are_stretched():
    first, second = torch.rand(2, 4, 1, 8, 6)
    small = torch.full((4, 1, 4, 3), 0.25)
    (axes,) = image_rows({"first": first, "second": second, "small": small}, "a title").axes
    shown = torch.as_tensor(np.array(axes.images[0].get_array()))[..., 0]
    for row, images in enumerate((first, second, torch.full_like(first, 0.25))):
        torch.testing.assert_close(shown[1 + 9 * row : 9 + 9 * row, 1:7], images[0, 0])
    assert [text.get_text() for text in axes.get_yticklabels()] == ["first", "second", "small"]
