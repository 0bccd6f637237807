"""What every task has, and a task of one's own."""

import lightning.pytorch as pl
import pytest
import torch
from conftest import quiet_trainer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from zoo import FinetuneModule
from zoo.tasks.base import TASKS, Task, index_of_names, make_task

LABELS = {
    "classification": torch.tensor([0, 2, 1, -1, 2, 0]),
    "multilabel": torch.tensor([[1.0, 0, 1], [0, 1, 1], [0, 0, 0], [float("nan")] * 3, [1, 1, 0], [0, 1, 0]]),
    "regression": torch.tensor([[1.0, 2, 3], [0, 1, 1], [4, 0, 2], [float("nan")] * 3, [1, 1, 5], [3, 1, 0]]),
}


@pytest.mark.parametrize("name", TASKS)
def test_each_has_head_loss_prediction_score_and_probe(name):
    torch.manual_seed(0)
    task, labels, features = make_task(name, 3), LABELS[name], torch.randn(6, 4)
    output = task.head(4)(features)
    assert output.shape == (6, 3)
    labelled = labels >= 0 if labels.ndim == 1 else ~labels.isnan().any(1)
    torch.testing.assert_close(task.loss(output, labels), task.loss(output[labelled], labels[labelled]))
    prediction = task.predict(output)
    metrics = task.metrics()
    target = labels[labelled] if task.scaled else labels[labelled].long()
    metrics.update(prediction[labelled], target)
    assert metrics.compute()["score"].ndim == 0
    weight, bias = task.probe(features[labelled], labels[labelled], 0.1)
    assert weight.shape == (3, 4) and bias.shape == (3,)
    assert task.decide(prediction).shape == labels.shape
    torch.testing.assert_close(task.kd_loss(output, output, 2.0), torch.tensor(0.0), atol=1e-6, rtol=0)


def test_probes_are_scikit_learns():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 4, generator=generator)
    labels = (x[:, 0] > 0).long() + (x[:, 1] > 0.5).long()
    weight, bias = make_task("classification", 3).probe(x, labels, 0.05)
    scaler = StandardScaler().fit(x)
    theirs = LogisticRegression(C=1 / (2 * 0.05 * len(x)), max_iter=5000).fit(scaler.transform(x), labels)
    found = nn.functional.linear(x, weight, bias).softmax(1)
    torch.testing.assert_close(
        found, torch.tensor(theirs.predict_proba(scaler.transform(x))).float(), atol=2e-3, rtol=0
    )
    y = x @ torch.randn(4, 2, generator=generator) + 3
    weight, bias = make_task("regression", 2).probe(x, y, 0.1)
    theirs = Ridge(alpha=0.1 * len(x)).fit(scaler.transform(x), y)
    expected = torch.tensor(theirs.predict(scaler.transform(x))).float()
    torch.testing.assert_close(nn.functional.linear(x, weight, bias), expected, atol=1e-4, rtol=1e-4)


def test_unknown_tasks_are_named():
    with pytest.raises(ValueError, match=r"unknown task 'clasification' .did you mean 'classification'"):
        make_task("clasification", 3)
    with pytest.raises(ValueError, match=r"there is no task at 'zoo\.tasks\.base\.Nothing'"):
        make_task("zoo.tasks.base.Nothing", 3)
    with pytest.raises(ValueError, match=r"'torch\.nn\.Linear' is no task"):
        make_task("torch.nn.Linear", 3)
    with pytest.raises(ValueError, match="the data have classes that the head lacks: emu; it has cat, owl"):
        index_of_names(["owl", "emu"], ["cat", "owl"], "head")


class Tagging(Task):
    """A class for each place of a map, as segmentation has it: a head on unpooled features, and no probe."""

    unpooled = True

    def labelled(self, labels):
        return labels.flatten(1).amin(1) >= 0

    def head(self, features):
        return nn.LazyConv2d(self.outputs, 1)

    def loss(self, output, labels, class_weight=None, smoothing=0.0):
        return nn.functional.cross_entropy(output, labels)

    def predict(self, output):
        return output.softmax(1)

    def metrics(self):
        return MetricCollection({"score": MulticlassAccuracy(self.outputs, average="micro")})


def test_a_task_of_ones_own_by_import_path(tmp_path):
    """Dense labels (B, h, w) on the maps of the encoder: bright places or dark ones."""
    pl.seed_everything(0, verbose=False)
    x = torch.rand(128, 1, 16, 16).round()
    y = (nn.functional.avg_pool2d(x, 4)[:, 0] > 0.5).long()
    loader = DataLoader(TensorDataset(x, y), 32)
    path = f"{__name__}.Tagging" if __name__ != "__main__" else ""
    module = FinetuneModule((1, 16, 16), 2, task=path, backbone={"name": "conv", "width": 16, "stages": 2}, lr=5e-3)
    module.head(module.encoder.forward_features(x[:1]))  # the lazy layer takes its shape
    fit = quiet_trainer(tmp_path, max_epochs=15)
    fit.fit(module, loader, loader)
    assert fit.callback_metrics["val/score"] > 0.8
    fit.save_checkpoint(tmp_path / "a.ckpt")
    torch.load(tmp_path / "a.ckpt", weights_only=True)


@pytest.mark.parametrize("kind", ["classification", "multilabel", "regression"])
def test_weighted_scores_are_those_of_samples_that_are_repeated(kind):
    torch.manual_seed(0)
    task, counts = make_task(kind, 3), torch.randint(0, 3, (4, 40))
    counts[0] = 1
    prediction = torch.rand(40, 3).mul(8).round() / 8  # some are equal
    labels = {
        "classification": torch.randint(3, (40,)),
        "multilabel": torch.randint(2, (40, 3)),
        "regression": 2 + torch.randn(40, 3),
    }[kind]
    found = task.weighted_score(prediction, labels, counts.double())
    for row, score in zip(counts, found, strict=True):
        metric = task.metrics()["score"]
        metric.update(prediction.repeat_interleave(row, 0), labels.repeat_interleave(row, 0))
        assert score.item() == pytest.approx(metric.compute().item(), rel=1e-3)
