"""A technique needs a registry entry and nothing else: the suite of all techniques passes with no more.

If this fails and nothing is wrong with the example, something in the project names techniques outside the registry.
"""

from pathlib import Path

import pytest
import torch
from test_common import *  # noqa: F403 (its tests and fixtures)
from test_common import first_batch

from example_technique import ENTRY, NAME
from zoo.registry import MODULES


def pytest_generate_tests(metafunc):
    if "name" in metafunc.fixturenames:
        metafunc.parametrize("name", [NAME], scope="module")


@pytest.fixture(scope="module", autouse=True)
def registration():
    """The entry, while these tests run; in programs, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODULES, NAME, ENTRY)
        yield "from example_technique import register; register()"


@pytest.fixture
def train(run_script):
    def run(*arguments, **options):
        return run_script(Path(__file__).with_name("train.py"), *arguments, **options)

    return run


def test_it_is_listed_and_has_help(train):
    assert f"  {NAME}" in train("list").stdout
    assert "--module.latent_dim" in train("--module", NAME, "--help").stdout


def test_a_linear_autoencoder_cannot_beat_principal_components(trained):
    x = first_batch(trained.data)["input"].flatten(1)
    centred = x - x.mean(0)
    with torch.no_grad():
        loss, _ = trained.module.eval().loss({"input": centred.view(-1, 1, 8, 8)})
    least = torch.linalg.svdvals(centred)[trained.module.hparams.latent_dim :].square().sum() / len(x)
    assert loss >= least
