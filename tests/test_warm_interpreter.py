"""The warm interpreter's forks are as good as fresh ones: same weights, same text, same ends."""

import os
import re
import subprocess
import sys
import time

import pytest
import torch
from conftest import ROOT

IRIS = ("--module=autoencoder", "--module.network=mlp", "--data=vectors", "--data.source=iris")
SKIPGRAM = pytest.param(("--module=skipgram",), id="skipgram", marks=(pytest.mark.long, pytest.mark.nightly))
QUICK = ("--trainer.max_epochs=2", "--trainer.limit_train_batches=3")


@pytest.fixture
def both(run_script, tmp_path):
    """Run a script's text, or a file, fresh and forked, each in a folder of its own."""

    def run(script, *arguments, **environment):
        done = []
        for fresh in (True, False):
            folder = tmp_path / ("fresh" if fresh else "forked")
            folder.mkdir(exist_ok=True)
            path = script
            if isinstance(script, str):
                path = folder / "script.py"
                path.write_text(script)
            done.append(run_script(path, *arguments, cwd=folder, fresh=fresh, **environment))
        return done

    return run


def files(folder):
    return {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("what", [pytest.param(IRIS, id="autoencoder", marks=pytest.mark.long), SKIPGRAM])
def test_the_same_command_does_the_same(both, what, tmp_path):
    fresh, forked = both(ROOT / "train.py", *what, *QUICK)
    assert fresh.returncode == forked.returncode == 0, fresh.stderr + forked.stderr
    without_time = re.compile(r" +(\d+ min )?\d+ s$", re.M)  # at the end of the line that names the run
    texts = [without_time.sub("", done.stdout).splitlines() for done in (fresh, forked)]
    assert texts[0] == texts[1] and fresh.stderr == forked.stderr
    first, second = (files(tmp_path / name) for name in ("fresh", "forked"))
    assert first.keys() == second.keys()
    for name in first:
        if name.endswith("last.ckpt"):
            weights = [torch.load(each[name], weights_only=True)["state_dict"] for each in (first, second)]
            assert weights[0].keys() == weights[1].keys()
            assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())
        if name.endswith((".yaml", "metrics.csv")):
            assert first[name].read_text() == second[name].read_text()


SEEN = """
import logging, os, random, sys, threading, warnings
import mine
import numpy, torch
print(mine.VALUE, __name__, sys.argv[1:], os.path.basename(sys.argv[0]), os.path.basename(os.getcwd()))
print(os.path.basename(sys.path[0]), os.environ["SAID"], os.environ["PYTHONPATH"])
print(torch.get_num_threads(), threading.active_count(), sys.stdin.read())
print(logging.getLogger().handlers, logging.getLogger().level, sys.modules["__main__"].__file__ == sys.argv[0])
print("to the other", file=sys.stderr)
sys.stdout.flush()
os.system("echo from a process of its own")
"""


def test_a_script_sees_the_same(both, tmp_path):
    for name in ("fresh", "forked"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.py").write_text("VALUE = 5")
    fresh, forked = both(SEEN, "a", "--b=c d", SAID="so")
    assert fresh.returncode == 0, fresh.stderr
    assert forked.stdout.replace("forked", "fresh") == fresh.stdout
    assert forked.stderr == fresh.stderr


@pytest.mark.parametrize(
    "end, status",
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("sys.exit('why')", 1),
        ("1 / 0", 1),
        ("atexit.register(print, 'late')", 0),
        ("threading.Timer(0.2, print, ['later']).start()", 0),
        ("os.kill(os.getpid(), signal.SIGKILL)", -9),
        ("os._exit(4)", 4),
    ],
)
def test_scripts_end_the_same(both, end, status):
    fresh, forked = both(f"import atexit, os, signal, sys, threading\nprint('begun', flush=True)\n{end}\n")
    assert forked.returncode == fresh.returncode == status
    assert forked.stdout == fresh.stdout
    assert forked.stderr.splitlines()[-1:] == fresh.stderr.splitlines()[-1:]  # the traceback has other files


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has forks here")
def test_what_takes_too_long_is_ended_with_what_it_started(run_script, tmp_path):
    (tmp_path / "long.py").write_text(
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(100)'])\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"
    )
    with pytest.raises(subprocess.TimeoutExpired) as error:
        run_script(tmp_path / "long.py", timeout=2)
    child = int(error.value.stdout)
    deadline = time.monotonic() + 10
    while running(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not running(child)
    (tmp_path / "next.py").write_text("print('next')")
    assert run_script(tmp_path / "next.py").stdout == "next\n"


def running(pid):
    """Whether a process is there and has not ended; one whose parent has gone may stay as a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")


def test_one_script_leaves_nothing_to_the_next(run_script, tmp_path):
    (tmp_path / "first.py").write_text(
        "import os, random, sys, torch\n"
        "os.environ['LEFT'] = '1'\n"
        "os.chdir('/')\n"
        "sys.left = torch.left = 1\n"
        "torch.manual_seed(3)\n"
    )
    (tmp_path / "second.py").write_text(
        "import numpy, os, random, sys, torch\n"
        "assert 'LEFT' not in os.environ and not hasattr(sys, 'left') and not hasattr(torch, 'left')\n"
        "print(os.getcwd(), torch.initial_seed(), random.random(), numpy.random.rand())\n"
    )
    assert run_script(tmp_path / "first.py").returncode == 0
    second, third = (run_script(tmp_path / "second.py").stdout.split() for _ in range(2))
    assert second[0] == third[0] == str(tmp_path.resolve())
    assert all(a != b for a, b in zip(second[1:], third[1:], strict=True))  # as from start to start
