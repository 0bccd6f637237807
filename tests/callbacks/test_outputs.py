import lightning.pytorch as pl
import pytest
import torch
from conftest import quiet_trainer
from torch.utils.data import DataLoader, TensorDataset

from callbacks.features.evaluation import Representation
from callbacks.features.latent_map import LatentMap
from callbacks.figures import evaluated
from callbacks.outputs import features_of, has_features, predictions_of
from callbacks.predictions.evaluation import Classification
from zoo.core.batch import StepOutputs


class Counts:
    """Encodes and classifies, and counts how often."""

    def __init__(self):
        self.encoded = self.classified = 0

    def encode(self, x):
        self.encoded += 1
        return 2 * x

    def classify(self, x):
        self.classified += 1
        return x.softmax(1)

    def to_head_labels(self, labels):
        return labels - 1


X = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
BATCH = {"input": X, "label": torch.tensor([1, 2, 3, 1, 2, 0])}


def test_returned_features_are_read_and_nothing_is_encoded():
    module, features = Counts(), torch.randn(6, 2, 2).half()
    found = features_of(module, StepOutputs(features=features), BATCH)
    assert torch.equal(found, features.flatten(1).float()) and module.encoded == 0


def test_missing_features_are_encoded_once_and_kept_for_the_next():
    module, outputs = Counts(), StepOutputs(loss=torch.zeros(()))
    first, second = features_of(module, outputs, BATCH), features_of(module, outputs, BATCH)
    assert torch.equal(first, 2 * X) and torch.equal(first, second)
    assert module.encoded == 1 and outputs.keys() == {"loss", "features"}


@pytest.mark.parametrize("outputs", [None, torch.zeros(()), [], {"features": X[:, :1], "prediction": X[:, 0]}])
def test_steps_of_other_people_return_what_they_like(outputs):
    module = Counts()
    assert torch.equal(features_of(module, outputs, BATCH), 2 * X)
    predictions, labels = predictions_of(module, outputs, BATCH)
    assert torch.equal(predictions, X.softmax(1)) and torch.equal(labels, BATCH["label"] - 1)


def test_the_input_is_asked_for_by_the_modules_key():
    module = Counts()
    module.input_key = "views"
    assert torch.equal(features_of(module, None, {"views": X}), 2 * X)
    assert evaluated(module, (X, X[:, 0])).keys() == {"views", "label"}


def test_rows_of_a_running_text_are_no_samples():
    module = Counts()
    assert has_features(module) and not has_features(object())
    module.input_key = "tokens"
    assert not has_features(module)


def test_returned_predictions_are_read_and_missing_ones_kept():
    module, prediction, label = Counts(), torch.rand(6, 3), torch.zeros(6, dtype=torch.long)
    found = predictions_of(module, StepOutputs(prediction=prediction, label=label), BATCH)
    assert torch.equal(found[0], prediction) and torch.equal(found[1], label) and module.classified == 0
    outputs = StepOutputs()
    for _ in range(2):
        assert torch.equal(predictions_of(module, outputs, BATCH)[1], BATCH["label"] - 1)
    assert module.classified == 1


def test_batches_of_anybodys_loader():
    module = Counts()
    assert evaluated(module, BATCH) is BATCH
    assert evaluated(module, X).keys() == {"input"}
    assert evaluated(module, [X, X, X]).keys() == {"input", "label"}
    assert evaluated(module, 3) == {"input": 3}


class Step(pl.LightningModule):
    """Its evaluation step returns what it is told to, and counts how often it encodes."""

    def __init__(self, returns):
        super().__init__()
        self.layer, self.returns, self.count = torch.nn.Linear(3, 4), returns, 0
        self.save_hyperparameters({"task": "classification", "class_names": ["a", "b", "c", "d"]})

    def encode(self, x):
        self.count += 1
        return self.layer(x)

    def classify(self, x):
        return self.encode(x).softmax(1)

    def validation_step(self, batch, batch_idx):
        x, label = batch
        if self.returns == "all":
            features = self.encode(x)
            return StepOutputs(features=features, prediction=features.softmax(1), label=label)
        return StepOutputs() if self.returns == "nothing" else None


@pytest.mark.parametrize("returns, times", [("all", 4), ("nothing", 4 + 4), (None, 3 * 4)])
def test_all_callbacks_together_encode_a_batch_once(returns, times, tmp_path):
    """Beside what the step encodes: nothing; or of two that ask, features and predictions once; or each for itself.

    What is compared with (labelled training data) does not exist here.
    """
    x, y = torch.randn(40, 3), torch.arange(40) % 4
    module = Step(returns)
    watchers = [LatentMap(), Representation(), Classification()]
    trainer = quiet_trainer(tmp_path, callbacks=watchers)
    trainer.validate(module, DataLoader(TensorDataset(x, y), 10), verbose=False)
    assert module.count == times
    assert {path.name for path in tmp_path.glob("*.png")} == {"latent_map.png", "confusion.png", "calibration.png"}
    assert "val/rank_me" in trainer.callback_metrics
