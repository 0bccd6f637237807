"""A comparison's parts: progress, and what failed."""

import pytest
import torch

from datamodules.tabular import Vectors
from zoo.compare import run
from zoo.compare.cells import PIXELS, UNTRAINED, Cell, Folder
from zoo.compare.outcome import Answers, Reported
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


@pytest.mark.parametrize(("labels", "begin"), [(1, "with 1 label a class "), (2, "with 2 labels a class ")])
def test_warnings_say_with_how_many_labels(labels, begin, tmp_path):
    """All test samples are right, and labels of iris's 36 a class overlap."""
    data, made = Vectors("iris"), plan(labels=(labels,))
    data.setup()
    folder, count = Folder(tmp_path), len(data.labels_of("test"))
    way = Cell("first", "probe", 0.0, labels)
    for seed in range(3):
        folder.write(way._replace(seed=seed), {"right": "ff" * -(-count // 8), "samples": count})
    row = Reported(made.techniques[0], labels, way, way, way, way, way)
    found = run.warnings(data, Answers(folder, 3, torch.ones(count, dtype=torch.bool)), [row])
    assert found and all(text.startswith(begin) for text in found)
