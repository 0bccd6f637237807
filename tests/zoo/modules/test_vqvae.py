import lightning.pytorch as pl
import pytest
import torch
from conftest import quiet_trainer
from torch.utils.data import DataLoader, TensorDataset

from datamodules.images import Digits
from zoo import VQVAEModule

SHAPE = (1, 8, 8)


def digits():
    data = Digits()
    data.setup()
    return data.splits["train"].images.float() / 255


def test_it_learns_and_uses_its_vocabulary():
    pl.seed_everything(0, verbose=False)
    module, x = VQVAEModule(SHAPE, codes=64), digits()
    trainer = quiet_trainer(max_epochs=40)
    loader = DataLoader(TensorDataset(x), batch_size=128, shuffle=True)
    trainer.fit(module, loader, DataLoader(TensorDataset(x), batch_size=500))
    error = module.eval().reconstruct(x).sub(x).square().mean()
    assert error < 0.25 * x.var(0).mean()
    assert trainer.callback_metrics["val/perplexity"] > 16


def test_words_say_all_that_the_decoder_needs():
    module, x = VQVAEModule((3, 16, 24), codes=32).train(), torch.rand(5, 3, 16, 24)
    module.loss({"input": x})  # fills the codebook
    words = module.eval().code_indices(x)
    assert words.shape == (5, 4, 6) and words.max() < 32
    vectors = module.quantiser.codebook[words]  # (B, h, w, code_dim)
    torch.testing.assert_close(module.decoder(vectors.movedim(-1, 1).flatten(1)), module.reconstruct({"input": x}))
    assert module.encode(x).shape == (5, 16 * 4 * 6)
    assert module.interpolate(x[:2], x[2:4], 3).shape == (2, 3, 3, 16, 24)


@pytest.mark.parametrize("options, message", [
    ({"codes": 0}, "codes must be"), ({"decay": 1.0}, "decay must be"), ({"network": "mlp"}, "needs a grid"),
])  # fmt: skip
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        VQVAEModule(SHAPE, **options)
