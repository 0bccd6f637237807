import math

import pytest
from run_folders import SCRATCH, accuracy, found, pretrained, write_run
from scipy import stats

from callbacks.run.comparison import judge, report
from callbacks.run.run_files import read_run
from callbacks.run.run_groups import grouped, leading
from zoo.core.findings import NO, NOT_SHOWN, UNKNOWN, YES
from zoo.functional.intervals import independent_difference

MINE, SCRATCH_VALUES = [0.93, 0.95, 0.94], [0.90, 0.91, 0.92]


def judged(*folders):
    groups = grouped([read_run(folder) for folder in folders])
    return groups, judge(groups, leading(groups))


def seeds(folder, options, values, first=0):
    return [
        write_run(folder / str(i), accuracy(value), options, seed=first + i, curves=False)
        for i, value in enumerate(values)
    ]


def test_runs_are_named_by_the_options_in_which_they_differ(tmp_path):
    runs = [
        write_run(tmp_path / "a/1", accuracy(0.911), SCRATCH),
        write_run(tmp_path / "a/2", accuracy(0.886), pretrained("probe")),
        write_run(tmp_path / "a/3", accuracy(0.886), pretrained("lp_ft")),
    ]
    groups, _ = judged(*runs)
    names = [
        "from scratch, mode full",
        "from autoencoder-digits/1, mode probe",
        "from autoencoder-digits/1, mode lp_ft",
    ]
    assert [group.label for group in groups] == names
    assert [group.baseline for group in groups] == [True, False, False]
    assert set(groups[0].options) == {"model.init_args.backbone", "model.init_args.mode"}


def test_techniques_are_named_first_and_options_of_one_alone_are_no_difference(tmp_path):
    options = [
        {"epochs": 1, "model": {"class_path": "zoo.modules.pca.PCAModule", "init_args": {"components": 16}}},
        {"epochs": 8, "model": {"class_path": "zoo.modules.vqvae.VQVAEModule", "init_args": {"codes": 64}}},
    ]
    runs = [write_run(tmp_path / str(i), accuracy(0.9), chosen) for i, chosen in enumerate(options)]
    for run in runs:
        (run / "config.yaml").write_text("seed_everything: 0\n")
    assert [group.label for group in judged(*runs)[0]] == ["model PCA, epochs 1", "model VQVAE, epochs 8"]


def test_where_only_the_seed_differs_runs_are_one_group_with_students_interval(tmp_path):
    groups, _ = judged(*seeds(tmp_path / "a", SCRATCH, SCRATCH_VALUES), *seeds(tmp_path / "b", pretrained(), MINE))
    assert [len(group.runs) for group in groups] == [3, 3]
    expected = stats.ttest_1samp(MINE, 0).confidence_interval()
    assert groups[1].interval("accuracy") == pytest.approx((expected.low, expected.high))
    assert groups[1].mean("accuracy") == pytest.approx(0.94)


def test_the_same_seed_twice_is_one_seed(tmp_path):
    """Else the interval of a run and its repetition would be without width."""
    runs = [write_run(tmp_path / name / "1", accuracy(0.9), SCRATCH) for name in "ab"]
    groups, _ = judged(*runs, *seeds(tmp_path / "c", pretrained(), [0.95]))
    assert len(groups[0].runs) == 2 and groups[0].by_seed("accuracy") == {"0": 0.9}
    assert groups[0].interval("accuracy") == accuracy(0.9)[0].interval


def test_seeds_that_agree_are_paired(tmp_path):
    _, found = judged(*seeds(tmp_path / "a", SCRATCH, SCRATCH_VALUES), *seeds(tmp_path / "b", pretrained(), MINE))
    interval = stats.ttest_rel(MINE, SCRATCH_VALUES).confidence_interval()
    assert found.verdict.answer == (YES if interval.low > 0 else NOT_SHOWN)
    half = (interval.high - interval.low) / 2
    assert "3 seeds, paired" in found.verdict.reason and found.band == pytest.approx((0.91 - half, 0.91 + half))


def test_other_seeds_are_compared_as_two_samples(tmp_path):
    first, second = seeds(tmp_path / "a", SCRATCH, SCRATCH_VALUES), seeds(tmp_path / "b", pretrained(), MINE, first=7)
    _, found = judged(*first, *second)
    interval = stats.ttest_ind(MINE, SCRATCH_VALUES, equal_var=False).confidence_interval()
    assert interval.low > 0 and found.verdict.answer == YES and "3 and 3 seeds" in found.verdict.reason
    assert found.band[1] - 0.91 == pytest.approx((interval.high - interval.low) / 2)


@pytest.mark.parametrize("mine, answer", [(0.93, NOT_SHOWN), (0.99, YES), (0.80, NO)])
def test_one_seed_is_judged_by_the_test_samples_and_says_so(tmp_path, mine, answer):
    runs = (
        write_run(tmp_path / "a/1", accuracy(0.911), SCRATCH),
        write_run(tmp_path / "a/2", accuracy(mine), pretrained()),
    )
    _, found = judged(*runs)
    chance = independent_difference(mine, 359, 0.911, 359)
    assert found.question == "Did pretraining pay?" and found.verdict.answer == answer
    assert f"359 images, one seed: a difference of {round(chance * 359)} is chance" in found.verdict.reason
    assert found.band == pytest.approx((0.911 - chance, 0.911 + chance))
    assert any("Run more seeds" in note for note in found.notes)


def test_one_seed_of_a_number_without_samples_shows_nothing(tmp_path):
    runs = [write_run(tmp_path / f"a/{i}", found()[1:2], {"x": i}) for i in (1, 2)]
    _, one = judged(*runs)
    assert one.verdict.answer == NOT_SHOWN and "which difference is chance is not known" in one.verdict.reason


def test_less_may_be_better(tmp_path):
    def mse(value):
        return [found()[1]._replace(value=value)]

    runs = [write_run(tmp_path / f"a/{s}", mse(0.02 + s / 1000), SCRATCH, seed=s) for s in range(3)]
    runs += [write_run(tmp_path / f"b/{s}", mse(0.01 + s / 1100), pretrained(), seed=s) for s in range(3)]
    _, one = judged(*runs)
    assert one.verdict.answer == YES and one.verdict.reason.startswith("from scratch, mode full 0.021, from auto")


def test_without_a_baseline_the_two_best_are_compared(tmp_path):
    values = {"0.1": 0.8, "0.01": 0.93, "0.001": 0.5}
    groups, one = judged(*(write_run(tmp_path / lr / "1", accuracy(v), {"lr": float(lr)}) for lr, v in values.items()))
    assert one.question == "Do the runs differ?" and one.verdict.answer == YES
    assert one.verdict.reason.startswith("lr 0.1 80.0 %, lr 0.01 93.0 % (359 images")
    assert any("best of 3" in note for note in one.notes) and not any(group.baseline for group in groups)


def test_failed_runs_are_marked_with_their_reason_and_left_out(tmp_path):
    runs = [
        write_run(tmp_path / "a/1", accuracy(0.911), SCRATCH),
        write_run(tmp_path / "a/2", accuracy(0.1), pretrained(), status="stopped: the loss is not finite"),
        write_run(tmp_path / "a/3", (), pretrained("lora"), curves=False, status="interrupted"),
    ]
    (tmp_path / "a/4").mkdir()
    (tmp_path / "a/4/error.log").write_text("ValueError: no backbone\n")
    groups, one = judged(*runs, tmp_path / "a/4")
    assert one.verdict.answer == UNKNOWN and "only from scratch, mode full has a result" in one.verdict.reason
    assert groups[1].mean("accuracy") is None
    out = tmp_path / "all.html"
    said = report([str(run) for run in (*runs, tmp_path / "a/4")], str(out))
    text = out.read_text()
    for expected in ("stopped: the loss is not finite", "interrupted", "stopped: ValueError: no backbone", "a/3"):
        assert expected in text
    assert said.endswith(f"open in a browser: {out}")


def test_a_failed_seed_is_no_part_of_the_mean(tmp_path):
    failed = write_run(tmp_path / "b/9", accuracy(0.0), pretrained(), seed=9, status="stopped: killed")
    groups, _ = judged(
        *seeds(tmp_path / "a", SCRATCH, SCRATCH_VALUES), *seeds(tmp_path / "b", pretrained(), MINE), failed
    )
    assert len(groups[1].runs) == 4 and groups[1].mean("accuracy") == pytest.approx(0.94)


def test_other_data_and_versions_are_said(tmp_path):
    first = write_run(tmp_path / "a/1", accuracy(0.9), SCRATCH, data_fingerprint="a", versions="torch 2.6")
    second = write_run(tmp_path / "a/2", accuracy(0.9), pretrained(), data_fingerprint="b", versions="torch 2.7")
    notes = " ".join(judged(first, second)[1].notes)
    assert "same data" in notes and "same versions" in notes


def test_runs_of_before_there_were_answers_are_compared_by_what_they_logged(tmp_path):
    runs = [write_run(tmp_path / f"a/{i}", (), {"lr": i}) for i in (1, 2)]
    (runs[1] / "metrics.csv").write_text("step,test/probe\n1,0.5\n")
    groups, one = judged(*runs)
    assert leading(groups).metric == "probe" and one.verdict.answer == NOT_SHOWN
    assert one.verdict.reason.startswith("lr 2 50.0 %, lr 1 95.3 %")


def test_runs_of_unknown_options_stand_by_themselves(tmp_path):
    groups, _ = judged(*(write_run(tmp_path / f"a/{i}", accuracy(0.9), None) for i in (1, 2)))
    assert [group.label for group in groups] == ["a/1", "a/2"]


def test_values_that_are_not_finite_have_no_mean(tmp_path):
    runs = [write_run(tmp_path / f"a/{i}", (), {"lr": i}) for i in (1, 2)]
    (runs[1] / "metrics.csv").write_text("step,test/probe\n1,nan\n")
    groups, one = judged(*runs)
    assert groups[1].mean("probe") is None and one.verdict.answer == UNKNOWN
    assert not any(math.isnan(value) for value in groups[1].by_seed("probe").values())


def test_the_page_and_the_terminal_say_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = [*seeds(tmp_path / "a", SCRATCH, SCRATCH_VALUES), *seeds(tmp_path / "b", pretrained(), MINE)]
    said, line = report([str(run) for run in runs]).split("\n")
    assert line == "open in a browser: report.html" and said.startswith("Did pretraining pay? ")
    text = (tmp_path / "report.html").read_text().replace("\N{NO-BREAK SPACE}", " ")
    answer, _, reason = said.removeprefix("Did pretraining pay? ").partition(". ")
    assert f"<b>{answer}.</b> {reason}" in text and "94.0 % (91.5 % to 96.5 %)" in text and "a/0, 1, 2" in text


def test_the_same_run_twice_is_one_run(tmp_path):
    run = str(write_run(tmp_path / "a/1", found()))
    said = report([run, run])
    assert said.startswith("Did pretraining pay? Not shown. Linear probe 95.3 %") and f"{run}/report.html" in said


def test_a_folder_is_no_page(tmp_path):
    run = write_run(tmp_path / "a/1", found())
    with pytest.raises(ValueError, match="is a folder: name a file"):
        report([str(run)], str(tmp_path))


def test_forty_runs_are_within_the_weight(tmp_path):
    runs = [write_run(tmp_path / f"a/{i}", found(), {"lr": i}, figures=("one", "two")) for i in range(40)]
    for run in runs:
        rows = [f"{step},{step % 7},{step % 5},{step % 3}" for step in range(1500)]
        (run / "metrics.csv").write_text("\n".join(["step,train/loss,val/loss,val/probe", *rows, ""]))
    report([str(run) for run in runs], str(tmp_path / "all.html"))
    assert (tmp_path / "all.html").stat().st_size < 2_000_000


def test_names_that_are_not_utf_8_do_not_stop_a_page(tmp_path):
    run = write_run(tmp_path / "a/1", found(), command="python train.py --data.root photos\udcff")
    report([str(run)])
    assert b"photos?" in (run / "report.html").read_bytes()
