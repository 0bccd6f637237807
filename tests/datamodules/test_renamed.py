"""Options and names under the names that they had before work as they did, and are told their new ones."""

import logging

import pytest
import torch

from datamodules.corpus import Corpus
from datamodules.domains import Domains
from datamodules.folder import Folder
from datamodules.images import Digits
from datamodules.noise import Noise
from datamodules.tabular import Vectors

SENTENCES = [["a", "b"], ["c", "d"]]
RENAMED = [
    (Digits, {}, {"crop": 2}, {"shift": 2}),
    (Digits, {}, {"views": 3}, {"augmentation_period": 3}),
    (Domains, {}, {"crop": 2}, {}),
    (Folder, {"root": ".", "labels": "a.csv"}, {"kind": "regression"}, {"task": "regression"}),
    (Folder, {"root": "."}, {"crop": 3}, {"shift": 3}),
    (Vectors, {"source": "a.csv"}, {"kind": "multilabel"}, {"task": "multilabel"}),
    (Corpus, {"sentences": SENTENCES}, {"unit": "file"}, {"sentence_boundary": "file"}),
    (Corpus, {"sentences": SENTENCES}, {"sample": 0.5}, {"subsample_threshold": 0.5}),
]


@pytest.mark.parametrize("cls, given, old, attributes", RENAMED)
def test_old_option_works_and_is_told_its_new_name(cls, given, old, attributes, caplog, monkeypatch):
    monkeypatch.setattr("zoo.core.renamed._told", set())
    with caplog.at_level(logging.WARNING):
        data = cls(**given, **old)
    assert {name: getattr(data, name) for name in attributes} == attributes
    (name,) = old
    assert f"option {name!r} of {cls.__name__} is now called" in caplog.text


def test_both_domains_get_an_old_option():
    data = Domains(crop=2)
    assert data.source.shift == data.target.shift == 2


def test_the_kind_of_noise_stays(caplog):
    with caplog.at_level(logging.WARNING):
        assert Noise(kind="normal").kind == "normal"
    assert not caplog.text


def test_a_signature_under_its_old_name():
    data = Digits(flip=True, augmentation_period=3)
    data.setup()
    assert data.replay == {**data.augmentation_signature, "views": 3}
    assert not hasattr(Noise(), "replay")


def test_folders_of_teacher_outputs_stay_valid():
    """Their fingerprints were made with the old names, which stay within them."""
    data = Digits(shift=1, jitter=0.2, augmentation_period=2)
    data.setup()
    changes = {"crop": 1, "flip": False, "rotate": 0.0, "jitter": 0.2}
    signature = data.augmentation_signature
    assert signature["augmentation"] == {**changes, "seed": 0, "batch_size": 128, "views": 2}
    assert signature["data"].keys() == {"pictures", "binarise", "normalise"}


def test_shifted_as_before():
    def inputs(**options):
        data = Digits(**options)
        data.setup()
        return next(iter(data.train_dataloader()))["input"]

    assert torch.equal(inputs(crop=2), inputs(shift=2))


def test_classes_and_methods_under_their_old_names():
    from datamodules.base import SplitDataModule
    from datamodules.loader import PartedData
    from datamodules.tabular import Tabular

    assert PartedData is SplitDataModule and Tabular is Vectors
    assert Vectors().parts is not None and Noise.pictures is Noise.images

    class Mine(Digits):
        def read_new(self):
            return self.read()["val"]

    mine, theirs = Mine(), Digits()
    mine.setup("predict")
    theirs.setup("predict")
    assert len(mine.splits["predict"].images) < len(theirs.splits["predict"].images)
    assert torch.equal(theirs.read_new().images, theirs.splits["predict"].images)
