"""What a resumed run, a test and a prediction take from their checkpoint."""

import pytest
import yaml

OWN_DATA = """
import lightning.pytorch as pl, torch
from torch.utils.data import DataLoader, TensorDataset
class Data(pl.LightningDataModule):
    def loader(self):
        x = torch.rand(48, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        return DataLoader(TensorDataset(x, (x.mean((1, 2, 3)) > 0.5).long()), batch_size=16)
    train_dataloader = val_dataloader = test_dataloader = predict_dataloader = loader
"""
QUICK = ("--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false")


@pytest.mark.long
def test_data_that_say_no_shape_need_none_from_a_checkpoint_on(train, tmp_path):
    (tmp_path / "mine.py").write_text(OWN_DATA)
    own = ("--module", "pca", "--data", "mine.Data", *QUICK)
    done = train("fit", *own, "--module.input_shape=[1,8,8]", "--module.n_components=3")
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs/pca-data/1"
    for command in ("test", "predict"):
        done = train(command, *own, "--ckpt_path", run)
        assert done.returncode == 0, done.stderr
        assert command == "predict" or f"--module.backbone {run}/encoder" in done.stdout
    for options in (("fit", *own), ("fit", "--config", run / "config_full.yaml", *QUICK)):
        done = train(*options, "--ckpt_path", run, "--trainer.max_epochs=2")
        assert done.returncode == 0, done.stderr
    for number in "123":
        for file in ("config", "config_full"):
            config = yaml.safe_load((run.parent / number / f"{file}.yaml").read_text())
            assert config["model"]["init_args"]["input_shape"] == [1, 8, 8]
