"""Signals that stop the program, wherever it is."""

import signal

import pytest

from zoo.core import stop


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_line_and_the_shells_status(number, status, capfd):
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as error, stop.listening():
        signal.raise_signal(number)
    assert error.value.code == status and signal.getsignal(number) is before and stop.received() is None
    assert (
        f"stopped by {'Ctrl-C' if number == signal.SIGINT else signal.Signals(number).name}\n" in capfd.readouterr().err
    )


def test_an_interruption_that_a_library_made_an_error_of(capfd):
    with pytest.raises(SystemExit) as error, stop.listening():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("initialization failed") from None
    assert error.value.code == 130 and "initialization" not in capfd.readouterr().err


def test_other_errors_and_ignored_signals_stay_what_they_are(monkeypatch):
    with pytest.raises(ValueError), stop.listening():
        raise ValueError
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    try:
        with stop.listening():
            signal.raise_signal(signal.SIGHUP)
            assert stop.received() is None
    finally:
        signal.signal(signal.SIGHUP, before)
