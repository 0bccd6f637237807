import json

import pytest

from callbacks.figures import FigureText
from callbacks.run.run_files import flat, read_curves, read_run, stage_of
from zoo.core.findings import Finding, Headline, answer_of, to_plain


def test_half_a_line_and_no_numbers_are_passed_over(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,train/loss,val/loss\n0,1,2.5,\n0,2,oops,3.0\n1,3,1.5,nan\n1,4")
    curves = read_curves(path)
    assert curves["train/loss"] == [(1, 2.5), (3, 1.5)] and curves["val/loss"][0] == (2, 3.0)
    path.write_text("")
    assert read_curves(path) == {}


def test_folders_that_are_no_runs_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        read_run(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"holds no run\.json and no metrics\.csv"):
        read_run(tmp_path)
    (tmp_path / "metrics.csv").write_text("epoch,step,val/loss\n0,1,2.5\n")
    (tmp_path / "run.json").write_text('{"status": "fin')
    with pytest.raises(ValueError, match=r"run\.json is damaged .*: delete it"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    "metric, stage, name",
    [
        ("test/mse", "test", "mse"),
        ("lr-AdamW", "", "lr-AdamW"),
        ("val_loss", "", "val_loss"),
        ("val/loss/dataloader_idx_1", "val", "loss/dataloader_idx_1"),
        ("norms/weight", "", "norms/weight"),
        ("train/", "", "train/"),
    ],
)
def test_a_metric_is_parted_into_stage_and_name(metric, stage, name):
    assert stage_of(metric) == (stage, name)


def test_the_last_values_of_the_most_telling_stage(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,val/loss,lr-AdamW\n1,3,0.1\n2,2,0.05\n")
    run = read_run(tmp_path)
    assert (run.stage, run.metrics("val"), run.metrics("")) == ("val", {"loss": 2.0}, {"lr-AdamW": 0.05})
    (tmp_path / "metrics.csv").write_text("step,val/loss,test/loss\n1,3,\n2,2,\n3,,4\n")
    assert read_run(tmp_path).stage == "test"


def test_options_are_flat_and_strange_files_have_none(tmp_path):
    (tmp_path / "config_full.yaml").write_text(
        "model:\n  class_path: a.B\n  init_args:\n    lr: 0.1\n    sizes: []\nx: 1\n"
    )
    (tmp_path / "config.yaml").write_text("x: 1\n")
    run = read_run(tmp_path)
    assert run.options == {"model.class_path": "a.B", "model.init_args.lr": 0.1, "model.init_args.sizes": [], "x": 1}
    assert run.changed == {"x": 1} and flat({}) == {} and flat([1]) == {}
    (tmp_path / "config.yaml").write_text("x: !!python/tuple [1]\n{")
    assert read_run(tmp_path).changed == {}


def test_a_run_that_failed_before_it_began_has_its_reason(tmp_path):
    (tmp_path / "error.log").write_text("Traceback ...\n  File x\nValueError: no such <column>\n")
    run = read_run(tmp_path)
    assert run.status == "stopped: ValueError: no such <column>" and not run.complete


def test_answers_of_this_version_are_read_and_others_left(tmp_path):
    answer = answer_of(Headline(), [Finding("features", "probe", 0.5, "")])
    plain = to_plain(answer)
    (tmp_path / "run.json").write_text(json.dumps({"answer": plain}))
    assert read_run(tmp_path).answer == answer
    one = plain["findings"][0]
    reference = {"title": "a", "value": 1, "interval": None, "chance": None, "baseline": True}
    changes = [{"future": 1}, {"value": "a"}, {"meaning": None}, {"interval": ["a", "b"]}, {"interval": [1]}]
    changes += [
        {"samples": "9"},
        {"references": [{**reference, "chance": "x"}]},
        {"references": [{"title": "a"}]},
        {"unit": 5},
    ]
    strange = [{**plain, "findings": [{**one, **change}]} for change in changes] + [[], 3]
    for other in (*strange, {}, None, {"question": 1, "answer": "", "reason": "", "findings": []}):
        (tmp_path / "run.json").write_text(json.dumps({"answer": other}))
        assert read_run(tmp_path).answer is None


def test_what_is_said_of_figures_is_read_and_nonsense_left(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"figures": {"a": ["A", "look", 3], "b": 7, "c": ["x"]}}))
    run = read_run(tmp_path)
    assert run.figure_text("a") == FigureText("A", "look", 3)
    assert [run.figure_text(name).rank for name in ("b", "c", "not_there")] == [1000] * 3
    assert run.figure_text("not_there").title == "not there"


def test_a_row_that_is_none_ends_the_table(tmp_path):
    (tmp_path / "metrics.csv").write_bytes(
        b"step,val/loss\n1,2.0\n\x00\xff,3\n2,1.0\n" + b'3,"' + b"x" * 200_000 + b'"\n4,5\n'
    )
    assert read_curves(tmp_path / "metrics.csv") == {"val/loss": [(1, 2.0), (2, 1.0)]}


def test_a_configuration_that_would_grow_without_end_is_not_read(tmp_path):
    lines = ["a0: &a0 {x: 1, y: 2}"] + [
        f"a{i}: &a{i} {{{', '.join(f'k{j}: *a{i - 1}' for j in range(9))}}}" for i in range(1, 12)
    ]
    (tmp_path / "config.yaml").write_text("\n".join(lines))
    assert read_run(tmp_path).options == {}
    (tmp_path / "config.yaml").write_text("a: &a {x: 1}\nb: *a\n")
    assert read_run(tmp_path).options == {"a.x": 1, "b.x": 1}
