"""Every metric that a run logs is in the table of its technique's page."""

import csv
import re

import pytest
import torch
from conftest import ROOT, quiet_trainer
from torch.utils.data import DataLoader

from zoo import (
    AdaptModule,
    AutoencoderModule,
    ContrastiveModule,
    DistillModule,
    FinetuneModule,
    GANModule,
    MaskedAutoencoderModule,
    PCAModule,
    SkipGramModule,
    SOMModule,
    VQVAEModule,
)
from zoo.registry import MODULES

SHAPE, CLASSES = (1, 8, 8), 3
SMALL = {"name": "conv", "width": 8}
DISTILLED = {"backbone": SMALL, "teacher": {"name": "conv", "width": 8}, "teacher_epochs": 1}
LAYERS = {"layers": {"trunk.1": "trunk.1"}}
# By technique: class, the first arguments, and options in which what is logged differs.
RUNS = [
    ("autoencoder", AutoencoderModule, (SHAPE,), {"network": SMALL, "learn_std": True, "test_samples": 2}),
    ("autoencoder", AutoencoderModule, (SHAPE,), {"network": SMALL, "variant": "iwae"}),
    ("autoencoder", AutoencoderModule, (SHAPE,), {"network": SMALL, "variant": "sparse"}),
    ("autoencoder", AutoencoderModule, (SHAPE,), {"network": SMALL, "variant": "contractive"}),
    ("vqvae", VQVAEModule, (SHAPE,), {"network": SMALL}),
    ("masked", MaskedAutoencoderModule, (SHAPE,), {"network": {"name": "vit", "width": 16, "depth": 1}}),
    ("gan", GANModule, (SHAPE,), {"network": {"name": "dcgan", "width": 4}}),
    ("contrastive", ContrastiveModule, (SHAPE,), {"network": SMALL, "projector": [16, 12]}),
    ("contrastive", ContrastiveModule, (SHAPE,), {"network": SMALL, "projector": [16, 12], "method": "lejepa"}),
    ("contrastive", ContrastiveModule, (SHAPE,), {"network": SMALL, "method": "lejepa", "regulariser": "visreg"}),
    ("contrastive", ContrastiveModule, (SHAPE,), {"network": SMALL, "projector": [16, 12], "method": "dino"}),
    ("pca", PCAModule, (SHAPE,), {"n_components": 3}),
    ("som", SOMModule, (SHAPE,), {"rows": 3, "columns": 3}),
    ("skipgram", SkipGramModule, ({f"word{i}": 9 - i for i in range(8)},), {"dim": 4}),
    ("finetune", FinetuneModule, (SHAPE, CLASSES), {"backbone": SMALL}),
    ("finetune", FinetuneModule, (SHAPE, CLASSES), {"backbone": SMALL, "task": "multilabel"}),
    ("finetune", FinetuneModule, (SHAPE, 2), {"backbone": SMALL, "task": "regression"}),
    ("distill", DistillModule, (SHAPE, CLASSES), {**DISTILLED, "kd_weight": 1.0, "rkd_weight": 1.0}),
    ("distill", DistillModule, (SHAPE, CLASSES), {**DISTILLED, **LAYERS, "hint_weight": 1.0, "attention_weight": 1.0}),
    ("adapt", AdaptModule, (SHAPE, CLASSES), {"method": "dann"}),
]


def explained(name):
    """Names in the first and the last column of a page's table: metrics, and those that they are compared with."""
    section = (ROOT / "docs" / "techniques" / f"{name}.md").read_text().partition("## What is logged\n")[2]
    rows = [re.split(r" \| ", line) for line in section.partition("\n## ")[0].splitlines() if line.startswith("| `")]
    assert len(rows) >= 5 and all(len(row) == 5 and all(cell.strip(" |") for cell in row) for row in rows)
    return {found for row in rows for cell in (row[0], row[-1]) for found in re.findall(r"`(\w+)`", cell)}


def batch(task):
    """Of eight samples, with all that any technique looks at."""
    generator = torch.Generator().manual_seed(0)
    labels = {
        "classification": torch.arange(8) % CLASSES,
        "multilabel": torch.randint(0, 2, (8, CLASSES), generator=generator).float(),
        "regression": torch.randn(8, 2, generator=generator),
    }
    images = torch.rand(2, 8, *SHAPE, generator=generator)
    words = torch.randint(0, 8, (2, 9), generator=generator)
    return {"input": images[0], "target": images[1], "label": labels[task], "tokens": words}


@pytest.mark.parametrize("name, technique, given, options", RUNS)
def test_what_a_module_logs_is_explained_on_its_page(name, technique, given, options):
    torch.manual_seed(0)
    loader = DataLoader([batch(options.get("task", "classification"))], batch_size=None)
    fit = quiet_trainer(log_every_n_steps=1)
    module = technique(*given, **options)
    fit.fit(module, loader, loader)
    logged = set(fit.callback_metrics)
    fit.test(module, loader, verbose=False)
    logged |= set(fit.callback_metrics)
    assert {"train/loss", "val/loss", "test/loss"} <= logged
    missing = {metric.partition("/")[2] for metric in logged} - explained(name)
    assert not missing, f"{name}.md does not explain {sorted(missing)}"


def test_every_loss_of_distillation_is_explained():
    """Some need a datamodule that numbers its samples."""
    assert set(DistillModule(SHAPE, CLASSES, **DISTILLED)._teacher_weights()) < explained("distill")


def test_every_technique_is_looked_at():
    assert {name for name, *_ in RUNS} == set(MODULES)


@pytest.mark.long
@pytest.mark.nightly
@pytest.mark.parametrize("name", MODULES)
def test_what_a_run_logs_is_explained_on_its_page(name, train, tmp_path):
    """The module's metrics and those of all callbacks that a run of the command line has."""
    short = ["--trainer.max_epochs", "1"] + (["--module.teacher_epochs", "1"] if name == "distill" else [])
    done = train("--module", name, *short)
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.rglob("metrics.csv")
    with path.open() as file:
        logged = next(csv.reader(file))
    missing = {metric.partition("/")[2] for metric in logged if "/" in metric} - explained(name)
    assert not missing, f"{name}.md does not explain {sorted(missing)}"
