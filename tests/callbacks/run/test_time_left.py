from types import SimpleNamespace

import pytest
from lightning.pytorch.callbacks import Timer

from callbacks.run import time_left
from callbacks.run.time_left import TimeLeft
from zoo.core.duration import duration


class Clock:
    now = 0.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(time_left, "time", clock)
    return clock


class Trainer:
    """As much of a trainer as is asked, that goes through batches of a second, with validation after each epoch."""

    def __init__(self, clock, size, epochs=-1, steps=-1, accumulate=1, validation=0.0, callbacks=(), first_epoch=0):
        self.clock, self.size, self.max_epochs, self.max_steps = clock, size, epochs, steps
        self.accumulate_grad_batches, self.validation, self.callbacks = accumulate, validation, list(callbacks)
        self.current_epoch, self.num_training_batches = first_epoch, size
        self.global_step = first_epoch * size // accumulate
        self.done = SimpleNamespace(processed=0)
        progress = SimpleNamespace(current=self.done)
        self.fit_loop = SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress))
        self.left = TimeLeft()
        self.left.start(self)

    def go(self, batches):
        for _ in range(batches):
            if self.done.processed == self.size:
                self.current_epoch, self.done.processed = self.current_epoch + 1, 0
            self.clock.now += 1
            self.done.processed += 1
            self.global_step += self.done.processed % self.accumulate_grad_batches == 0
            self.left.count_batch()
            if self.done.processed == self.size:
                self.clock.now += self.validation
        return self.left.text(self)


def test_epochs(clock):
    trainer = Trainer(clock, 10, epochs=10)
    assert trainer.go(1) == "" and trainer.go(1) == "2 min left"  # 98 s
    assert trainer.go(50) == "48 s left" and trainer.left.where(trainer) == "epoch 6/10"
    assert trainer.left.share(trainer) == pytest.approx(0.52) and trainer.go(48) == "0 s left"


def test_validation_is_part_of_it(clock):
    trainer = Trainer(clock, 10, epochs=4, validation=10.0)
    assert trainer.go(21) == "38 s left"  # 20 batches took 40 s, 19 are to come; they will take 39


@pytest.mark.parametrize("accumulate", [1, 4])
def test_steps(clock, accumulate):
    trainer = Trainer(clock, 8, steps=100, accumulate=accumulate)
    trainer.go(40 * accumulate)
    assert trainer.left.where(trainer) == "step 40/100"
    assert trainer.left.text(trainer) == f"{accumulate} min left"


def test_whichever_ends_first(clock):
    trainer = Trainer(clock, 10, epochs=3, steps=1000)
    assert trainer.go(5) == "25 s left" and trainer.left.where(trainer) == "epoch 1/3"
    trainer = Trainer(clock, 10, epochs=300, steps=30)
    assert trainer.go(5) == "25 s left" and trainer.left.where(trainer) == "step 5/30"


def test_a_resumed_run_counts_its_own_batches(clock):
    trainer = Trainer(clock, 10, epochs=4, first_epoch=2)
    assert trainer.go(10) == "10 s left" and trainer.left.share(trainer) == 0.5
    trainer = Trainer(clock, 10, steps=40, first_epoch=2)
    assert trainer.go(10) == "10 s left" and trainer.left.where(trainer) == "step 30/40"


def test_streams_of_unknown_length_are_known_after_an_epoch(clock):
    trainer = Trainer(clock, 10, epochs=3)
    trainer.num_training_batches = float("inf")
    assert trainer.go(10) == "" and trainer.left.share(trainer) is None
    assert trainer.go(5) == "15 s left"


def test_a_limit_of_time_counts(clock, monkeypatch):
    timer = Timer({"minutes": 5})
    monkeypatch.setattr(timer, "time_remaining", lambda: 7.0)
    assert Trainer(clock, 10, epochs=100, callbacks=[timer]).go(5) == "7 s left"
    assert Trainer(clock, 10, callbacks=[timer]).go(5) == "7 s left"


@pytest.mark.parametrize(
    "seconds, text", [(0.2, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (119, "2 min"), (3570, "1 h 00 min"),
                      (4800, "1 h 20 min"), (360000, "100 h 00 min")],
)  # fmt: skip
def test_durations(seconds, text):
    assert duration(seconds) == text
