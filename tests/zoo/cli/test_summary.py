import lightning.pytorch as pl
from torch import nn

from zoo.cli import summary
from zoo.core.gradient_free import GradientFreeModule
from zoo.modules.autoencoder import AutoencoderModule


class Plain(pl.LightningModule):
    """Of somebody who knows nothing of this project."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.frozen = nn.Linear(3, 2).requires_grad_(False)


def test_what_is_trained_is_said_by_the_module_or_counted():
    assert summary.training_summary(Plain()) == "8 parameters"
    assert summary.training_summary(GradientFreeModule()) == "no gradients"


def test_a_plain_module_exports_nothing(tmp_path):
    assert summary.export(Plain(), tmp_path, {}) == []
    assert not list(tmp_path.iterdir())


def test_the_encoder_and_what_the_technique_exports_itself(tmp_path):
    class Own(AutoencoderModule):
        def export_artifacts(self, folder):
            (folder / "own").touch()
            return [("own", f"{folder}/own")]

    rows = summary.export(Own(input_shape=(1, 8, 8)), tmp_path, {"seed": 1})
    assert rows == [("encoder", f"{tmp_path}/encoder/"), ("own", f"{tmp_path}/own")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["encoder", "own"]
