from types import SimpleNamespace

import pytest
import torch
from conftest import quiet_trainer
from torch.utils.data import DataLoader, TensorDataset

from datamodules.images import Digits
from zoo import AutoencoderModule
from zoo.core.counts import caveat_of, count_labelled, noun_of, number_of_samples, sample_counts, title_of


@pytest.mark.parametrize(("labels", "count"), [
    (None, 0), (torch.tensor([0, -1, 3]), 2), (torch.tensor([0.5, float("nan")]), 1),
    (torch.tensor([[0.0, 1.0], [float("nan")] * 2]), 1),
])  # fmt: skip
def test_labelled(labels, count):
    assert count_labelled(labels) == count


def test_anybodys_loader_is_counted_as_far_as_it_says():
    assert number_of_samples(DataLoader(TensorDataset(torch.zeros(7, 2)), batch_size=3)) == 7
    assert number_of_samples([1, 2]) is None and number_of_samples(None) is None

    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(range(3))

    assert number_of_samples(DataLoader(Stream())) is None


def test_while_a_run_trains_and_tests(tmp_path):
    found = {}

    class Counted(AutoencoderModule):
        def on_train_end(self):
            found["fit"] = sample_counts(self.trainer)

        def on_test_end(self):
            found["test"] = sample_counts(self.trainer)

    data = Digits(labels_per_class=5)
    trainer = quiet_trainer(tmp_path, max_epochs=1, limit_train_batches=1)
    trainer.fit(Counted((1, 8, 8)), data)
    trainer.test(trainer.lightning_module, data, verbose=False)
    assert found["fit"] == {"training": 1295, "validation": 143, "labelled": 50}
    assert found["test"]["test"] == 359


def test_titles_and_nouns():
    assert title_of(AutoencoderModule((1, 8, 8)), Digits()) == "autoencoder (VAE) on Digits"
    assert title_of(AutoencoderModule((1, 8, 8), variant="denoising"), None) == "autoencoder (denoising)"
    assert noun_of(Digits()) == "images" and noun_of(None) == "samples"


def test_a_test_that_chose_the_checkpoint_is_said():
    assert "validation chose" in caveat_of(SimpleNamespace(test_is_validation=True))
    assert caveat_of(Digits()) == caveat_of(None) == ""
