"""The entry point, which chooses the command; help, lists and usage errors need no heavy import."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import zoo.cli.clock  # noqa: F401  # first: it notes when the program began
from zoo.cli.commands import COMMANDS, command_usage, example_run, usage, version
from zoo.cli.help import option_help
from zoo.cli.shorthand import SUBCOMMANDS, UsageError, expand_argv, option_value, options_of, take
from zoo.cli.usage import check_usage
from zoo.core import stop
from zoo.core.suggest import did_you_mean
from zoo.registry import DATA, MODULES

_OTHER_WORDS = {"train": "fit", "run": "fit", "eval": "test", "evaluate": "test", "ls": "list"}


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command line; the exit status is 2 for a usage error, 1 for others, 130 after Ctrl-C, 143 after SIGTERM."""
    with stop.listening():
        _main(argv)


def _main(argv: Sequence[str] | None) -> None:
    argv = list(sys.argv[1:] if argv is None else argv)
    prog = "zoo" if Path(sys.argv[0]).stem == "zoo" else "python train.py"
    try:
        if not argv or argv[0] in ("-h", "--help", "help"):
            print(usage(prog), flush=True)
        elif argv[0] in ("-V", "--version"):
            print(f"pretraining-zoo {version()}")
        elif argv[0] in COMMANDS and {"-h", "--help"} & set(argv):
            print(command_usage(prog, argv[0]))
        elif argv[0] in COMMANDS:
            print(COMMANDS[argv[0]](argv[1:]))
        else:
            _lightning(argv, prog)
    except BrokenPipeError:  # of "| head"
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (UsageError, ValueError, OSError) as error:
        if stop.received():
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        if package not in ("torch", "lightning"):
            raise
        text = f"error: {package} is not installed for {sys.executable}: activate the environment that has it, or"
        print(f"{text} run pip install -e . in the project's folder", file=sys.stderr)
        sys.exit(1)


def _lightning(argv: Sequence[str], prog: str) -> None:
    """A command of Lightning's CLI, or the options of a module."""
    _check_command(argv)
    if option_value(argv, "--module") and {"-h", "--help"} & set(argv):
        command = next((word for word in argv if word in SUBCOMMANDS), "fit")
        print(option_help(prog, command, *options_of(argv)))
        return
    if str(Path.cwd()) not in sys.path:  # so that --model my_file.MyModule works, from the console script too
        sys.path.append(str(Path.cwd()))
    argv = _with_checkpoint_file(argv)
    flag = "--module" if any(a.startswith("--module") for a in argv) else "--model"
    if not {"-h", "--help"} & set(argv):
        check_usage(expand_argv(argv), flag)  # usage errors are reported before any slow import
    arguments = expand_argv(argv, _checkpoint(option_value(argv, "--ckpt_path")))
    from zoo.cli.lightning import run

    run(arguments, prog, flag)


def _check_command(argv: Sequence[str]) -> None:
    first, known = argv[0], [*COMMANDS, *SUBCOMMANDS]
    if first in MODULES or first in DATA:
        flag = "--module" if first in MODULES else "--module NAME --data"
        raise UsageError(f"{first!r} is no command; say {flag} {first}")
    if first in _OTHER_WORDS:
        raise UsageError(f"{first!r} is no command (did you mean {_OTHER_WORDS[first]!r}?)")
    if not first.startswith("-") and first not in known:
        raise UsageError(f"{first!r} is no command{did_you_mean(first, known)}; there are: {', '.join(known)}")
    sources = ("--module", "--model", "--config", "-c", "--ckpt_path", "-h", "--help")
    if first not in SUBCOMMANDS and first[:1] == "-" and first.partition("=")[0] in ("-m", "--modul", "--modules"):
        raise UsageError(f"unknown option {first.partition('=')[0]!r} (did you mean '--module'?)")
    if first in SUBCOMMANDS and not any(a.partition("=")[0] in sources for a in argv):
        raise UsageError(f"say which technique: {first} --module NAME ({', '.join(MODULES)})")
    if not set(argv) & set(SUBCOMMANDS) and option_value(argv, "--module") is None:
        raise UsageError(f"say which technique, --module NAME ({', '.join(MODULES)}), or see --help")


def _with_checkpoint_file(argv: Sequence[str]) -> list[str]:
    """Arguments with a run's folder after ``--ckpt_path`` as its checkpoint: the best one, or to go on the newest.

    Raises:
        UsageError: a command that needs a trained network, without one.
    """
    path = option_value(argv, "--ckpt_path")
    command = next((word for word in argv if word in SUBCOMMANDS), "fit")
    told = path or option_value(argv, "--config") or option_value(argv, "-c") or {"-h", "--help"} & set(argv)
    if command != "fit" and not told and not any(word.startswith("--print_config") for word in argv):
        raise UsageError(
            f"{command} needs a trained network: --ckpt_path {example_run()} (a run's folder or a checkpoint)"
        )
    if path is None or not Path(path).is_dir():
        return list(argv)
    from zoo.core.checkpoint import checkpoint_in

    rest = list(argv)
    take(rest, "--ckpt_path")
    return [*rest, f"--ckpt_path={checkpoint_in(path, resume=command == 'fit')}"]


def _checkpoint(path: str | None) -> dict[str, Any] | None:
    """The checkpoint's contents; None for words by which Lightning finds one itself."""
    if path in (None, "last", "best", "hpc", "registry") or "://" in str(path):
        return None
    from zoo.core.checkpoint import read_checkpoint

    return read_checkpoint(str(path))
