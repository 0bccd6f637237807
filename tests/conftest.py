"""What many tests need: where the project is, ways to run commands and scripts, real data; and which tests are long."""

import functools
import importlib.metadata
import inspect
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

# Tests run beside each other: more threads than that only wait for one another. Before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import lightning.pytorch as pl
import pytest
import torch
from lightning.fabric.utilities import registry
from lightning.pytorch.utilities import model_helpers
from warm_interpreter import WarmInterpreter

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ["ZOO_TEST_DATA"]) if os.environ.get("ZOO_TEST_DATA") else None  # public data sets
LONG = pytest.StashKey[int]()  # how many long tests were left out

# Lightning searches the installed packages with every trainer and, with every checkpoint, the sources of all that led
# there; PyTorch the driver with every step. None of it changes here, and together it is a twentieth of the tests' time.
registry.entry_points = functools.cache(importlib.metadata.entry_points)
model_helpers.inspect = SimpleNamespace(stack=functools.partial(inspect.stack, 0))
if not torch.cuda.is_available():
    os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_addoption(parser):
    parser.addoption(
        "--long", action="store_true", help="run the tests that are marked long, too (-m long: these alone)"
    )


def pytest_collection_modifyitems(config, items):
    """Leave long tests out unless they are asked for."""
    if config.option.long or "long" in config.option.markexpr:
        return
    left_out = [item for item in items if item.get_closest_marker("long")]
    config.stash[LONG] = len(left_out)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


def pytest_sessionfinish(session):
    """With pytest-xdist it is a worker that knows how many were left out."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["long"] = session.config.stash.get(LONG, 0)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    """Of pytest-xdist: a worker has ended."""
    node.config.stash[LONG] = getattr(node, "workeroutput", {}).get("long", 0)  # each has collected all tests


def pytest_terminal_summary(terminalreporter, config):
    if count := config.stash.get(LONG, 0):
        terminalreporter.write_line(f"{count} long tests were left out: python -m pytest -n 2 --long runs them, too")


def quiet_trainer(folder=None, **options):
    """A Trainer on the CPU for one epoch that logs, saves and shows nothing unless told.

    It validates before training only where there are callbacks, which must not take that for a validation.
    """
    quiet = {
        "max_epochs": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 2 if options.get("callbacks") else 0,
    }
    return pl.Trainer(default_root_dir=folder, accelerator="cpu", **{**quiet, **options})


@pytest.fixture(scope="session")
def warm_interpreter():
    """A Python with everything imported, which forks for each script; it starts when first asked for."""
    warm = WarmInterpreter(ROOT)
    yield warm
    warm.close()


@pytest.fixture(scope="session")
def run_python(request):
    """Run ``python script arguments`` in a folder; returns the finished process with its text.

    ``fresh`` starts a new interpreter, for what is to be seen of a start (imports, processes that run the script again,
    variables that are read by imports); otherwise it is a fork of one that has everything imported, or as many
    ``processes`` as a cluster's launcher would start.
    """

    def run(script, *arguments, cwd, timeout=300, fresh=False, processes=1, **environment):
        arguments = [str(argument) for argument in arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", **environment}
        if not fresh and sys.platform == "linux":  # elsewhere libraries do not stand a fork
            warm = request.getfixturevalue("warm_interpreter")
            return warm.run(Path(script), arguments, cwd, environment, timeout, processes)
        return subprocess.run(
            [sys.executable, str(script), *arguments],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return run


@pytest.fixture
def run_script(run_python, tmp_path):
    """``run_python`` in an empty folder, unless another is named."""

    def run(script, *arguments, **options):
        return run_python(script, *arguments, **{"cwd": tmp_path, **options})

    return run


@pytest.fixture
def train(run_script):
    """Run ``python train.py ...`` in an empty folder, as ``run_script`` does."""

    def run(*arguments, **options):
        return run_script(ROOT / "train.py", *arguments, **options)

    return run


@pytest.fixture
def two_processes(run_python, request, tmp_path):
    """Run a program in two processes of one job (DDP), with the test's folder to import from.

    ``{folder!r}`` in its text is the test's temporary folder, and other names in braces are what is said of them.
    """

    def run(text, **names):
        paths = [str(folder) for folder in (request.path.parent, ROOT / "tests", ROOT)]
        begin = f"import sys\nsys.path[:0] = {paths!r}\nimport torch\ntorch.set_num_threads(1)\n"
        script = tmp_path / "two.py"
        script.write_text(begin + text.format(folder=str(tmp_path), **names))
        done = run_python(script, cwd=tmp_path, processes=2)
        assert done.returncode == 0, done.stderr

    return run


@pytest.fixture
def real_data():
    """The folder of public data sets; tests that need it are skipped by name where there is none."""
    if DATA is None or not DATA.is_dir():
        pytest.skip("needs the public data sets: set ZOO_TEST_DATA to the folder that has them")
    return DATA
