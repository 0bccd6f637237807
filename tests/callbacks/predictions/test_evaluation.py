from types import SimpleNamespace

import pytest
import torch
from conftest import quiet_trainer
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score
from torch.utils.data import DataLoader, TensorDataset

from callbacks.predictions.evaluation import Classification
from callbacks.predictions.figures import calibration, confusion, precision_bars, scatter
from datamodules.images import Digits
from zoo import AutoencoderModule, FinetuneModule

SHAPE = (1, 8, 8)


def figures_of(folder, module, data, **options):
    callback = Classification(**options)
    quiet_trainer(folder, callbacks=[callback]).test(module, data, verbose=False)
    return sorted(path.name for path in folder.glob("*.png"))


def test_the_most_confident_mistakes_are_shown(tmp_path, monkeypatch):
    torch.manual_seed(0)
    module = FinetuneModule(SHAPE, 10, backbone={"name": "conv", "width": 8}).eval()
    shown = {}
    monkeypatch.setattr(
        "callbacks.predictions.evaluation.wrong_images",
        lambda x, p, y, names: shown.update(x=x, p=p, y=y) or scatter(torch.rand(3, 1), torch.rand(3, 1), ["a"]),
    )
    found = figures_of(tmp_path, module, Digits(batch_size=50), images=7)
    assert found == ["calibration.png", "confusion.png", "wrong.png"]
    data = Digits()
    data.setup()
    x, y = data.splits["test"].images / 255, data.splits["test"].labels
    p = module.classify(x).detach()
    wrong = p.argmax(1) != y
    order = p[wrong].amax(1).argsort(descending=True)[:7]
    torch.testing.assert_close(shown["x"], x[wrong][order])
    torch.testing.assert_close(shown["p"], p[wrong][order])
    assert torch.equal(shown["y"], y[wrong][order])


@pytest.mark.parametrize(("task", "figure"), [("multilabel", "precision.png"), ("regression", "predicted.png")])
def test_other_tasks_have_figures_of_their_own(task, figure, tmp_path):
    x, y = torch.randn(60, 5), (torch.rand(60, 3) > 0.5).float()
    y[0] = float("nan")
    module = FinetuneModule((5,), 3, task=task, backbone="mlp")
    assert figures_of(tmp_path, module, DataLoader(TensorDataset(x, y), 25)) == [figure]


def test_idle_where_nothing_is_classified_or_labelled(tmp_path):
    assert figures_of(tmp_path, AutoencoderModule(SHAPE), Digits()) == []
    module = FinetuneModule(SHAPE, 10, backbone="conv")
    unlabelled = DataLoader(TensorDataset(torch.rand(9, *SHAPE), torch.full((9,), -1)), 4)
    assert figures_of(tmp_path, module, unlabelled) == []


@pytest.mark.parametrize(
    ("label", "figures"), [(torch.arange(20) % 3, ["calibration.png", "confusion.png"]), (torch.rand(20, 3), [])]
)
def test_a_task_of_ones_own_has_figures_if_its_labels_are_classes(label, figures, tmp_path):
    module = FinetuneModule((5,), 3, backbone="mlp")
    callback = Classification()
    trainer = SimpleNamespace(is_global_zero=True, world_size=1, loggers=[])
    module.hparams.task = "mine.Task"
    outputs = {"prediction": torch.rand(20, 3), "label": label}
    callback.folder = tmp_path
    callback.collect(module, {"input": torch.randn(20, 5), "label": label}, 0, outputs)
    callback.draw(trainer, module)
    assert sorted(path.name for path in tmp_path.iterdir()) == figures


def test_idle_where_a_module_says_no_task(tmp_path):
    class Own(AutoencoderModule):
        def classify(self, x):
            raise AssertionError

    assert figures_of(tmp_path, Own(SHAPE), Digits()) == []


def test_what_never_occurs_has_no_precision():
    p, y = torch.rand(50, 3), torch.randint(2, (50, 3))
    y[:, 1] = 0
    axes = precision_bars(p, y, ["a", "b", "c"]).axes[0]
    expected = [average_precision_score(y[:, i], p[:, i]) for i in (0, 2)]
    assert [axes.patches[i].get_width() for i in (0, 2)] == pytest.approx(expected, abs=1e-6)
    assert f"mean {sum(expected) / 2:.3f}" in axes.get_title()


def test_bars_are_scikit_learns_curve():
    torch.manual_seed(0)
    p, y = (3 * torch.randn(500, 2)).softmax(1), torch.randint(2, (500,))
    bars = list(calibration(p, y).axes[0].patches)
    sure, right = p.amax(1), (p.argmax(1) == y).float()
    expected, _ = calibration_curve(right, sure, n_bins=15)
    assert [bar.get_height() for bar in bars] == pytest.approx(expected.tolist(), abs=1e-6)


def test_every_count_is_written():
    y = torch.tensor([0, 0, 0, 1, 2])
    said = torch.nn.functional.one_hot(torch.tensor([0, 0, 1, 1, 0]), 3).float()
    figure = confusion(said, y, ["ant", "bee", "cat"])
    numbers = {text.get_position()[::-1]: text.get_text() for text in figure.axes[0].texts}
    assert numbers == {(0, 0): "2", (0, 1): "1", (1, 1): "1", (2, 0): "1"}
    assert "accuracy 60.0% on 5 samples" in figure.axes[0].get_title()


def test_an_option_under_its_old_name(caplog, monkeypatch):
    monkeypatch.setattr("zoo.core.renamed._told", set())
    with caplog.at_level("WARNING"):
        assert Classification(pictures=3).images == 3
    assert "option 'pictures' of Classification is now called 'images'" in caplog.text
    with pytest.raises(ValueError, match="images must be 1 or more"):
        Classification(images=0)
