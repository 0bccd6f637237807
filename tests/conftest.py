"""What many tests need: where the project is, a way to run its command line, and real data if they are at hand."""

import os
import subprocess
import sys
from pathlib import Path

# Tests run beside each other: more threads than that only wait for one another. Before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import lightning.pytorch as pl
import pytest

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("ZOO_TEST_DATA", ROOT.parent / "shared" / "data"))


def quiet_trainer(folder=None, **options):
    """A Trainer on the CPU for one epoch that logs, saves and shows nothing unless told."""
    quiet = {
        "max_epochs": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return pl.Trainer(default_root_dir=folder, accelerator="cpu", **{**quiet, **options})


@pytest.fixture
def train(tmp_path):
    """Run ``python train.py ...`` in an empty folder; returns the finished process with its text."""

    def run(*arguments, timeout=300, **environment):
        return subprocess.run(
            [sys.executable, str(ROOT / "train.py"), *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return run


@pytest.fixture
def real_data():
    """The folder of public data sets; tests that need it are skipped by name where there is none."""
    if not DATA.is_dir():
        pytest.skip(f"needs the public data sets under {DATA} (set ZOO_TEST_DATA)")
    return DATA
