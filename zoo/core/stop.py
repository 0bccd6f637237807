"""Signals that ask the program to stop: Ctrl-C, a scheduler's SIGTERM, the SIGHUP of a closed terminal."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_received: list[int] | None = None  # within ``listening``


def received() -> int | None:
    """The first signal that asked this program to stop; None where none did."""
    return _received[0] if _received else None


def status() -> int:
    """Exit status of a program that a signal stopped, as shells give it: 130 after Ctrl-C, 143 after SIGTERM."""
    return 128 + (received() or signal.SIGINT)


def name() -> str:
    """What stopped the program, for messages."""
    number = received() or signal.SIGINT
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


def note(number: int) -> None:
    """Remember a signal; at the third the program ends at once, whatever it does. In a notebook nothing of it."""
    if _received is not None:
        _received.append(number)
        if len(_received) > 2:
            os._exit(status())


def say(text: str) -> None:
    """A line on the standard error stream of the first process, from within a signal handler, where ``print`` may not
    be called (it may be what was interrupted)."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        os.write(2, f"\n{text}\n".encode())


def stop_now(number: int, frame: Any) -> None:
    """Signal handler: say so in a line, and unwind.

    Raises:
        KeyboardInterrupt: always.
    """
    first = not _received
    note(number)
    if first:
        say(f"stopped by {name()}")
    raise KeyboardInterrupt


def handle(handler: Any) -> dict[int, Any]:
    """Let a handler take these signals, but no SIGHUP that is ignored (``nohup``); the handlers of before, {} off the
    main thread, where none can be set."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    hangup = getattr(signal, "SIGHUP", None)
    heard = [number for number in SIGNALS if number != hangup or signal.getsignal(number) != signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in heard}


def restore(handlers: dict[int, Any]) -> None:
    """Put handlers of before back."""
    for number, handler in handlers.items():
        if handler is not None:  # one that was not set from Python
            signal.signal(number, handler)


@contextmanager
def listening() -> Iterator[None]:
    """Within it, a signal ends the program in one line, with the exit status that is a shell's for it.

    Raises:
        SystemExit: in place of whatever a signal led to: libraries turn an interruption into errors of their own.
    """
    global _received
    _received, previous = [], handle(stop_now)
    try:
        yield
    except BaseException:
        if not _received:
            raise
        raise SystemExit(status()) from None
    finally:
        restore(previous)
        _received = None
