import numpy as np
import torch
from conftest import quiet_trainer
from PIL import Image
from torch.utils.data import DataLoader

from callbacks.by_technique.masked_autoencoder import MaskedImages
from callbacks.features.reconstruction import Reconstruction
from callbacks.figures import image_rows
from callbacks.samples.grid import SampleGrid
from datamodules.images import Digits
from zoo import AutoencoderModule, MaskedAutoencoderModule

SMALL = {"name": "vit", "width": 32, "depth": 1}


def test_masked_rebuilt_and_original_are_drawn(tmp_path):
    callbacks = [MaskedImages(columns=5), SampleGrid(), Reconstruction()]
    fit = quiet_trainer(tmp_path, callbacks=callbacks)
    fit.fit(MaskedAutoencoderModule((1, 8, 8), SMALL), Digits())
    fit.test(fit.lightning_module, Digits(), verbose=False)
    assert [path.name for path in tmp_path.glob("*.png")] == ["masked.png"]  # and no grid as if all were rebuilt
    assert not [name for name in fit.callback_metrics if "reconstruction" in name]  # PCA saw what was hidden
    image = np.asarray(Image.open(tmp_path / "masked.png").convert("RGB"))
    assert min(image.shape[:2]) > 150 and image.std() > 10


def test_visible_patches_are_shown_and_hidden_ones_grey(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("callbacks.by_technique.masked_autoencoder.image_rows",
                        lambda rows, title: drawn.append(rows) or image_rows(rows, title))  # fmt: skip
    x = torch.rand(8, 3, 8, 8)
    loader = DataLoader(x, batch_size=8)  # which do not number their samples
    quiet_trainer(tmp_path, callbacks=[MaskedImages()]).fit(MaskedAutoencoderModule((3, 8, 8), SMALL), loader, loader)
    assert list(drawn[-1]) == ["masked", "rebuilt", "original"]
    masked, rebuilt, original = drawn[-1].values()
    grey = masked == 0.6
    assert grey.float().mean() == 0.75 and torch.equal(original, x)
    assert torch.equal(masked[~grey], x[~grey]) and torch.equal(rebuilt[~grey], x[~grey])
    assert not torch.equal(rebuilt[grey], x[grey])


def test_it_is_idle_with_others(tmp_path):
    x = DataLoader(torch.rand(8, 1, 8, 8), batch_size=8)
    module = AutoencoderModule((1, 8, 8), network={"name": "conv", "width": 8})
    quiet_trainer(tmp_path, callbacks=[MaskedImages()]).fit(module, x, x)
    assert not list(tmp_path.glob("*.png"))
