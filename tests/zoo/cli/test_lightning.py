"""Which options a run has, and files and names of before a renaming."""

from pathlib import Path

import pytest
import yaml

from zoo.registry import MODULES

FIXTURES = Path(__file__).parent / "fixtures"
UNMEASURED = ("--trainer.limit_val_batches=0", "--trainer.limit_test_batches=0")
OWN = {name for entry in MODULES.values() for name in entry.callbacks}
SUBCLASS = """
from zoo.modules.som import SOMModule
class Mine(SOMModule):
    pass
"""


def groups(done):
    """Of a printed configuration."""
    assert done.returncode == 0, done.stderr
    return set(yaml.safe_load(done.stdout))


def test_options_of_a_techniques_callbacks_are_there_for_it_alone(train, tmp_path):
    (tmp_path / "mine.py").write_text(SUBCLASS)
    (tmp_path / "file.yaml").write_text(
        "model: {class_path: mine.Mine}\ndata: {class_path: datamodules.images.Digits}\n"
    )
    own = set(MODULES["som"].callbacks)
    assert not groups(train("--module", "autoencoder", "--print_config")) & OWN
    assert groups(train("--module", "som", "--print_config", "--som_map.planes=3")) & OWN == own
    assert groups(train("fit", "--config", "file.yaml", "--print_config")) & OWN == own  # a subclass, in a file
    done = train("fit", "--help")
    assert "--sample_grid.rows" in done.stdout and not any(f"--{name}." in done.stdout for name in OWN)
    done = train("--module", "som", "--help")
    assert "--som_map.planes" in done.stdout and "--sample_grid" not in done.stdout


@pytest.mark.parametrize("file", sorted(FIXTURES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_complete_file_of_before_is_accepted(train, file):
    done = train("fit", "--config", file, "--print_config")
    assert groups(done) >= {"model", "data", "training_animation"} and "is now called" in done.stderr


def test_a_complete_file_of_before_still_trains(train, tmp_path):
    old = ("--data.crop=1", "--training_film.side=5")
    done = train("fit", "--config", FIXTURES / "som-before-renaming.yaml", *old, *UNMEASURED)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("'crop' of Digits is now called 'shift'") == 1
    config = yaml.safe_load((tmp_path / "runs/som-digits/1/config.yaml").read_text())
    assert config["data"]["init_args"] == {"shift": 1} and config["training_animation"] == {"side": 5}


def test_a_checkpoints_options_of_before_are_told_their_new_names(train, tmp_path):
    """Hyperparameters in a checkpoint have the names of the version that wrote it."""
    (tmp_path / "mine.py").write_text(
        "from zoo.modules.pca import PCAModule\n"
        "class Mine(PCAModule):\n"
        "    def __init__(self, speed: int = 1, **options):\n"
        "        super().__init__(**options)\n"
    )
    quick = ("--data=digits", "--trainer.max_epochs=1", "--trainer.limit_train_batches=1", *UNMEASURED)
    assert (done := train("fit", "--model=mine.Mine", *quick, "--model.speed=7")).returncode == 0, done.stderr
    text = (tmp_path / "mine.py").read_text().replace("speed", "tempo")
    (tmp_path / "mine.py").write_text(
        text.replace("(PCAModule):\n", '(PCAModule):\n    renamed = {"speed": "tempo"}\n')
    )
    done = train("fit", "--ckpt_path=runs/mine-digits/1/checkpoints/last.ckpt", *quick, "--print_config")
    assert done.returncode == 0 and "'speed' of Mine is now called 'tempo'" in done.stderr, done.stderr
    assert yaml.safe_load(done.stdout)["model"]["init_args"]["tempo"] == 7


def test_a_file_may_name_the_class_of_a_network(train, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self, width: int = 8):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(64, width))\n"
        "        self.feature_dim = width\n"
        "        print('built, width', width)\n"
    )
    network = "{class_path: mine.Net, init_args: {width: 12}}"
    (tmp_path / "file.yaml").write_text(
        f"model: {{class_path: {MODULES['autoencoder'].path}, init_args: {{network: {network}}}}}\n"
        "data: {class_path: datamodules.images.Digits}\n"
    )
    done = train("fit", "--config", "file.yaml", "--trainer.fast_dev_run=1")
    assert done.returncode == 0 and "built, width 12" in done.stdout, done.stderr
    for spec in ("mlp", "{name: mlp, hidden: [12]}"):
        done = train("--module", "autoencoder", "--module.network", spec, "--print_config")
        assert yaml.safe_load(done.stdout)["model"]["init_args"]["network"] == yaml.safe_load(spec), done.stderr
