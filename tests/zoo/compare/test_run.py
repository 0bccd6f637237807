"""A comparison's parts: progress, and what failed."""

import pytest

from datamodules.tabular import Vectors
from zoo.compare import run
from zoo.compare.cells import PIXELS, UNTRAINED, Cell, Folder
from zoo.compare.plan import Entry, Plan
from zoo.compare.trainings import Work

OWN = '{"name": "mlp", "widths": [8]}'


def plan(**changes):
    entries = Entry("first", "a.First", network='"mlp"', seconds=99.0), Entry("second", "a.Second", network=OWN)
    values = {"labels": (3,), "further": (), "seeds": 3, "first_seeds": 3, "pretrainings": 0, "network": '"mlp"'}
    values |= {"data": "", "data_options": {}, "fingerprint": "", "techniques": entries, "tuning": {"steps": 10}}
    values |= {"length": "5 steps", "longer": 5, "worth": 1.0, "precision": "32-true", "threads": 1}
    return Plan(**{**values, **changes})


def test_progress_is_of_what_is_missing_and_long_trainings_count_more(tmp_path, monkeypatch):
    made, lines, now = Work(plan(), Folder(tmp_path), None), [], [0.0]
    monkeypatch.setattr(run.time, "monotonic", lambda: now[0])
    every = list(dict.fromkeys(made.plan.expected_cells))
    for cell in every[2:]:
        if cell.mode != "pretrain":
            made.folder.write(cell, {})
    missing = [cell for cell in every if cell.mode == "pretrain"]
    progress = run.Progress(made, lines.append)
    assert progress.total == len(missing) == 6
    for cell in sorted(missing, key=lambda cell: cell.source)[:3]:  # 100 s each as planned; then 3 s are left
        now[0] += 200
        progress(cell)
    assert lines[-1] == "3 of about 6 trainings, 10 min gone, about 6 s left: first-pretrain-seed2"


def test_a_technique_fails_where_its_own_network_does():
    failed = {Cell(UNTRAINED, "full", 1e-3, 3, 0, OWN): "no room", Cell("second", "full", 1e-3, 3, 0): "later"}
    assert run._failed(plan(), failed) == {"second": "no room"}
    for cell in (Cell(UNTRAINED, "full", 1e-3, 3, 0, '"mlp"'), Cell(PIXELS, "probe", 0.0, 3, 0)):
        with pytest.raises(ValueError, match="what needs no pretraining failed: no room"):
            run._failed(plan(), {cell: "no room"})


def test_where_all_pretrainings_fail_nothing_else_is_trained(tmp_path, monkeypatch):
    data = Vectors("iris")
    data.setup()
    asked = []
    monkeypatch.setattr(
        run, "runner", lambda *_: lambda tasks: asked.extend(tasks) or {tasks[i][0]: "no" for i in (0, 1)}
    )
    outcome = run.compare(Work(plan(), Folder(tmp_path), data), None, print)
    assert outcome.failures == {"first": "no", "second": "no"} and outcome.rows == []
    assert {cell.mode for cell, _ in asked} == {"pretrain"}
