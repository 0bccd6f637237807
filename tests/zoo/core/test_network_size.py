import pytest
import torch
from conftest import quiet_trainer
from torch.utils.data import DataLoader

from zoo import AutoencoderModule, PCAModule
from zoo.core.network_size import check_network_size

MADE = {
    "mlp": (AutoencoderModule, {"network": "mlp", "latent_dim": 2}, {"latent_dim": 10**11}),
    "wide": (
        AutoencoderModule,
        {"network": "mlp", "latent_dim": 2},
        {"network": {"name": "mlp", "widths": [10**9] * 2}},
    ),
    "inputs": (AutoencoderModule, {"network": "mlp", "latent_dim": 2}, {"input_shape": (10**7, 10**7)}),
    "components": (PCAModule, {"n_components": 2}, {"input_shape": (10**7,), "n_components": 10**6}),
}


def saved(folder, cls, options):
    module = cls((4,), **options)
    trainer = quiet_trainer(folder, max_epochs=1)
    trainer.fit(module, DataLoader(torch.rand(20, 4), batch_size=10))
    trainer.save_checkpoint(folder / "a.ckpt")
    return torch.load(folder / "a.ckpt", weights_only=True)


@pytest.mark.parametrize("name", MADE)
def test_a_network_far_larger_than_its_file_is_refused_before_memory_is_taken(tmp_path, name):
    cls, options, changed = MADE[name]
    checkpoint = saved(tmp_path, cls, options)
    check_network_size("a.ckpt", checkpoint, cls)
    cls.load_from_checkpoint(tmp_path / "a.ckpt")
    checkpoint["hyper_parameters"].update(changed)
    torch.save(checkpoint, tmp_path / "huge.ckpt")
    with pytest.raises(ValueError, match=r"huge\.ckpt is damaged: its hyper_parameters are of a network of [\d,]+ num"):
        cls.load_from_checkpoint(tmp_path / "huge.ckpt")


@pytest.mark.parametrize("value, says", [(-3, "latent_dim must be more"), ("x", "latent_dim must be a whole")])
def test_a_wrong_option_is_named_with_its_file(tmp_path, value, says):
    checkpoint = saved(tmp_path, AutoencoderModule, {"network": "mlp"})
    checkpoint["hyper_parameters"]["latent_dim"] = value
    torch.save(checkpoint, tmp_path / "wrong.ckpt")
    with pytest.raises((ValueError, TypeError), match=rf"wrong\.ckpt: {says}"):
        AutoencoderModule.load_from_checkpoint(tmp_path / "wrong.ckpt")


def test_an_error_of_any_kind_is_named_with_its_file(tmp_path):
    class Fails(AutoencoderModule):
        def __init__(self, fails=False, **options):
            super().__init__(**options)
            self.save_hyperparameters({"fails": fails})
            if fails:
                b"\xff".decode()  # its exception is a ValueError of five arguments

    module = Fails(input_shape=(4,), network="mlp")
    trainer = quiet_trainer(tmp_path, max_epochs=1)
    trainer.fit(module, DataLoader(torch.rand(20, 4), batch_size=10))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    Fails.load_from_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=r"a\.ckpt: 'utf-8' codec can't decode byte 0xff"):
        Fails.load_from_checkpoint(tmp_path / "a.ckpt", fails=True)
