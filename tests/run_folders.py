"""Folders of runs, written by hand: for tests of what is made of them."""

import json

import numpy as np
import yaml
from PIL import Image

from zoo.core.findings import COUNT, NUMBER, PERCENT, Finding, Headline, Reference, answer_of, to_plain
from zoo.functional.intervals import wilson

SCRATCH = {
    "model": {"class_path": "zoo.modules.finetune.FinetuneModule", "init_args": {"backbone": "", "mode": "full"}}
}


def pretrained(mode="probe"):
    """Options of a run that builds on another."""
    return {"model": {**SCRATCH["model"], "init_args": {"backbone": "runs/autoencoder-digits/1", "mode": mode}}}


def found(probe=0.953):
    """Findings of several groups and units."""
    baselines = (
        Reference("raw pixels", 0.964, wilson(346, 359), 4 / 359, True),
        Reference("PCA of the same size", 0.925, wilson(332, 359), 0.02, True),
        Reference("untrained", 0.808, wilson(290, 359)),
    )
    interval = wilson(round(probe * 359), 359)
    return (
        Finding("features", "linear probe", probe, "right answers; more is better", PERCENT, 359, interval, baselines,
                metric="probe"),
        Finding("reconstruction", "MSE", 0.0095, "mean squared error", NUMBER, 359, None, (Reference("PCA", 0.0113),),
                False, "mse", "a pixel"),
        Finding("samples", "FID", 7.9, "distance; less is better", higher_is_better=False, metric="fid"),
        Finding("samples", "classes reached", 10, "classes with a sample", COUNT, metric="modes", note="of 10"),
        Finding("copies", "copies", 0.0, "samples that are copies", PERCENT, metric="memorised"),
    )  # fmt: skip


def accuracy(value, error=0.1):
    """Findings of a classifier, without a baseline in the same run."""
    interval = wilson(round(value * 359), 359)
    return (
        Finding("accuracy", "test accuracy", value, "right answers", PERCENT, 359, interval, metric="accuracy"),
        Finding("accuracy", "calibration error", error, "gap", NUMBER, 359, higher_is_better=False, metric="ece"),
    )


def write_run(folder, findings=(), options=None, seed=0, curves=True, figures=(), **facts):
    """A run's folder; ``facts`` go into run.json."""
    folder.mkdir(parents=True)
    if curves:
        lines = ["step,train/loss,val/loss,val/probe,val/probe_pixels,lr-AdamW,test/probe,test/other"]
        lines += [f"{step},{3 / step},{4 / step},{0.2 * step},0.9,0.01,," for step in range(1, 5)]
        (folder / "metrics.csv").write_text("\n".join([*lines, "5,,,,,,0.953,0.123456", ""]))
    for name in figures:
        noise = np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)
        Image.fromarray(noise).save(folder / f"{name}.png")
    if options is not None:
        text = yaml.safe_dump({"seed_everything": seed, **options})
        (folder / "config.yaml").write_text(text)
        (folder / "config_full.yaml").write_text(text + "trainer: {max_epochs: 3, devices: auto}\n")
    known = {"status": "finished", "seed": str(seed), "title": "finetune on digits", "noun": "images", "seconds": 51.2}
    answer = {"answer": to_plain(answer_of(Headline(), findings, "images"))} if findings else {}
    (folder / "run.json").write_text(json.dumps({**known, **answer, **facts}))
    return folder
