"""A Python that has everything imported, and forks a copy of itself for every script that it is to run.

Most of the time of a short command goes into imports. ``WarmInterpreter.run`` takes them once and is otherwise like
``subprocess.run([sys.executable, script, *arguments])``: each script has its own process, working folder, environment,
``sys.argv``, ``sys.path``, output, exit status and process group; or several of them as one job, as a cluster's
launcher would start it. What starts further processes by running itself again and whatever is to be seen of a start
itself want a fresh interpreter.

Run as a script, this file is that Python: it reads one request a line, and answers with the process id, then with the
status.
"""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

LATER = (
    *("zoo.io.convert", "matplotlib.pyplot", "sklearn.datasets", "sklearn.linear_model", "sklearn.neighbors"),
    "pytest",  # which the tests' own modules import
)
TRAINER = "lightning.pytorch.trainer.trainer.Trainer"


class WarmInterpreter:
    """Runs scripts in forked copies of one Python with everything imported.

    Args:
        root: folder of the project, as ``PYTHONPATH``.
    """

    def __init__(self, root: Path) -> None:
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed by close)
        # One thread, since a fork has none of the others; no GPU, since it cannot be shared with a fork.
        environment = {**os.environ, "PYTHONPATH": str(root), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            cwd=root,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            start_new_session=True,  # Ctrl-C is for the tests, which then close it
        )

    def run(
        self,
        script: Path,
        arguments: list[str],
        cwd: Path,
        environment: dict[str, str],
        timeout: float,
        processes: int = 1,
    ) -> subprocess.CompletedProcess[str]:
        """As ``subprocess.run`` with captured text; of several processes the first status that is not 0.

        Raises:
            subprocess.TimeoutExpired: it took longer; it and what it started have been killed.
        """
        with tempfile.NamedTemporaryFile("r") as out, tempfile.NamedTemporaryFile("r") as err:
            argv = [str(script), *arguments]
            request = {"argv": argv, "cwd": str(cwd), "environment": environment, "processes": processes}
            self._send({**request, "out": out.name, "err": err.name})
            pid = self._receive()
            try:
                in_time = bool(select.select([self.process.stdout], [], [], timeout)[0])
            except BaseException:  # Ctrl-C
                _kill_group(pid)
                raise
            if not in_time:
                _kill_group(pid)
            status = self._receive()
            if not in_time:
                raise subprocess.TimeoutExpired(argv, timeout, out.read(), err.read())
            return subprocess.CompletedProcess(argv, status, out.read(), err.read())

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.communicate()
        self.log.close()

    def _send(self, request: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # the missing answer tells
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()

    def _receive(self) -> int:
        """The next line of the answer, which must not be read ahead of: ``select`` would not see it."""
        assert self.process.stdout is not None
        line = b""
        while not line.endswith(b"\n"):
            if not (byte := os.read(self.process.stdout.fileno(), 1)):
                self.log.seek(0)
                raise RuntimeError(f"the warm interpreter has ended:\n{self.log.read()}")
            line += byte
        return int(line)


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError):  # it has just ended
        os.killpg(pid, signal.SIGKILL)


def preload() -> dict[str, str]:
    """Import what commands need, and read the options of all classes from their sources; compute nothing, so that there
    is neither a thread nor a used random state.

    In a command's own order: ``Union[int, float]`` and ``Union[float, int]`` are the same to Python, which keeps that
    which it met first, and whether an option's 3 is an int depends on it.

    Returns:
        Variables that imports have set in the environment.
    """
    import gc
    import importlib

    from zoo.cli.options import signature
    from zoo.registry import CALLBACKS, CHECKPOINT, DATA, MODULES, REPORT

    before = dict(os.environ)
    importlib.import_module("zoo.cli.lightning")
    paths = [entry.path for table in (MODULES, DATA) for entry in table.values()] + [*CALLBACKS.values(), REPORT]
    for name in (*(path.rpartition(".")[0] for path in paths), *LATER):
        importlib.import_module(name)
    for path in (*paths, TRAINER, CHECKPOINT):
        signature(path)
    gc.freeze()  # a collection would write to every object, and so copy the memory that forks share
    return {name: value for name, value in os.environ.items() if name not in before}


def serve() -> dict[str, Any] | None:
    """Answer requests until there are none; a request in the copy that is to run it."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for line in sys.stdin.buffer:
        pid = os.fork()
        if pid == 0:
            answers.close()
            return json.loads(line)
        with suppress(ProcessLookupError, PermissionError):  # both do it: whoever comes first
            os.setpgid(pid, pid)
        print(pid, file=answers)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), file=answers)
    return None


def become(request: dict[str, Any], variables: dict[str, str]) -> None:
    """Turn this process into what ``python script arguments`` would be, up to its first line."""
    import importlib

    os.setpgid(0, 0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(os.open(request["out"], os.O_WRONLY), 1)
    os.dup2(os.open(request["err"], os.O_WRONLY), 2)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update({**variables, **request["environment"]})
    sys.argv = request["argv"]
    sys.path[0] = str(Path(sys.argv[0]).resolve().parent)
    importlib.invalidate_caches()


def multiply(processes: int) -> list[int]:
    """Become one of several processes that Lightning takes for one job; the first gets the others' ids."""
    import socket

    from lightning.fabric.utilities.rank_zero import rank_zero_only

    if processes == 1:
        return []
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "NODE_RANK": "0"}
    os.environ["LOCAL_RANK"], others = "0", []
    for rank in range(1, processes):
        if (pid := os.fork()) == 0:
            os.environ["LOCAL_RANK"], rank_zero_only.rank = str(rank), rank  # which an import would have read
            return []
        others.append(pid)
    return others


def seed() -> None:
    """Each start has random numbers of its own."""
    import random

    import numpy as np
    import torch

    random.seed()
    np.random.seed()
    torch.default_generator.seed()


def run_script() -> int:
    """Run ``sys.argv`` as the main script; the status with which an interpreter would end."""
    import runpy

    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return error.code or 0
        print(error.code, file=sys.stderr)
        return 1
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        return 130 if isinstance(error, KeyboardInterrupt) else 1
    return 0


def end(status: int) -> None:
    """End as an interpreter does, without taking some thousand modules apart, which takes longer than many commands."""
    import atexit
    import threading

    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status & 0xFF)


if __name__ == "__main__":
    sys.path.pop(0)  # the tests' own modules are not for scripts
    set_by_imports = preload()
    sys.path.insert(0, "")
    if request := serve():
        become(request, set_by_imports)
        others = multiply(request["processes"])
        seed()
        statuses = [run_script()] + [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in others]
        end(next(filter(None, statuses), 0))
