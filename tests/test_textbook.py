"""The loop on each technique's page computes what the module computes: same losses, and same weights after them."""

import copy
import re

import lightning.pytorch as pl
import numpy as np
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
from zoo.functional.masked_autoencoder import split_patches
from zoo.functional.randomness import seed_generator
from zoo.functional.som import initial_units
from zoo.networks.encoder import Encoder
from zoo.registry import MODULES

SHAPE = (1, 8, 8)
STEPS, BATCH, CLASSES = 5, 8, 3
SMALL = {"name": "conv", "width": 16}


def page_loop(name, **given):
    """Names after the page's block has run on what it is said to be given."""
    text = (ROOT / "docs" / "techniques" / f"{name}.md").read_text()
    (code,) = re.findall(r"## The textbook loop\n.*?```python\n(.*?)```", text.partition("\n## Run it\n")[0], re.S)
    exec(compile(code, f"{name}.md", "exec"), given)
    return given


class Losses(pl.Callback):
    """Every step's logged loss."""

    def __init__(self):
        self.values = []

    def on_train_batch_end(self, trainer, *_):
        self.values.append(trainer.callback_metrics["train/loss"].item())


def trained(module, batches, epochs=1):
    """Every step's loss of our module, trained on the batches by Lightning."""
    losses = Losses()
    fit = quiet_trainer(max_epochs=epochs, log_every_n_steps=1, callbacks=[losses])
    fit.fit(module, DataLoader(batches, batch_size=None))
    assert len(losses.values) == epochs * len(batches)
    return losses.values


def images(seed=0, shape=SHAPE):
    return torch.rand(STEPS, BATCH, *shape, generator=torch.Generator().manual_seed(seed))


def labels():
    return torch.randint(0, CLASSES, (STEPS, BATCH), generator=torch.Generator().manual_seed(0))


def made(technique, *args, **options):
    """A module twice, from the same start."""
    pl.seed_everything(0, verbose=False)
    module = technique(*args, **options)
    return module, copy.deepcopy(module)


def assert_same(ours, page, losses, page_losses, rtol=1e-5, atol=2e-6):
    """Both modules have learned something, and the same.

    Weights may differ by a thousandth of one of Adam's steps, which are gradients over their own size: where one nearly
    vanishes it is rounding that is divided. So norms of several channels, whose biases do not cancel.
    """
    assert losses == pytest.approx(page_losses, rel=rtol) and losses[0] != losses[-1]
    theirs = dict(page.named_parameters())
    for name, value in ours.named_parameters():
        torch.testing.assert_close(value, theirs[name], rtol=rtol, atol=atol, msg=lambda m, n=name: f"{n}: {m}")


def test_autoencoder():
    module, fresh = made(AutoencoderModule, SHAPE, network=SMALL, latent_dim=3)
    x = images()
    losses = trained(module, [{"input": b} for b in x])
    page = page_loop("autoencoder", module=fresh, batches=list(x), seed=0)
    assert_same(module, fresh, losses, page["losses"])


def test_vqvae():
    module, fresh = made(VQVAEModule, SHAPE, network=SMALL, codes=6, code_dim=4)
    codes = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)) / 4
    for either in (module, fresh):  # the paper revives no codes: all are in use at the start
        either.quantiser.codebook.copy_(codes)
        either.quantiser.sums.copy_(codes)
        either.quantiser.counts.fill_(1.0)
    x = images()
    losses = trained(module, [{"input": b} for b in x])
    page = page_loop("vqvae", module=fresh, batches=list(x))
    assert_same(module, fresh, losses, page["losses"])
    torch.testing.assert_close(module.quantiser.codebook, fresh.quantiser.codebook, rtol=1e-5, atol=1e-6)
    assert not torch.equal(module.quantiser.codebook, codes)


def test_masked():
    options = {"network": {"name": "vit", "width": 32, "depth": 2}, "class_tokens": 2, "schedule": "constant"}
    module, fresh = made(MaskedAutoencoderModule, SHAPE, lr=1e-3, **options)
    x, index = images(), torch.arange(STEPS * BATCH).view(STEPS, BATCH)
    losses = trained(module, [{"input": b, "index": i} for b, i in zip(x, index, strict=True)])
    masks = [split_patches(i, (4, 4), module.hparams.mask_ratio, module._seed, 0) for i in index]
    page = page_loop("masked", module=fresh, batches=list(x), masks=masks)
    assert_same(module, fresh, losses, page["losses"], atol=1e-5)


def test_gan():
    critic = {"name": "dcgan", "width": 4}
    options = {"network": critic, "generator": {**critic, "norm": "none"}, "latent_dim": 5, "ema": 0.0}
    module, fresh = made(GANModule, SHAPE, **options)
    x = images()
    losses = trained(module, [{"input": b} for b in x])
    page = page_loop("gan", module=fresh, batches=list(x), seed=0)
    assert_same(module, fresh, losses, page["losses"])


def test_contrastive():
    """BYOL: the target's weights are compared, too."""
    heads = {"projector": [12, 6], "predictor": [10, 6]}
    rate = {"lr": 2e-3, "weight_decay": 0.0, "schedule": "constant"}
    module, fresh = made(ContrastiveModule, SHAPE, method="byol", network=SMALL, momentum=0.9, **heads, **rate)
    views = torch.stack([images(0), images(1)], 2).double()  # (steps, B, 2, C, H, W)
    module, fresh = module.double(), fresh.double()  # Adam and batch norms of few rows enlarge rounding errors
    losses = trained(module, [{"views": b} for b in views])
    start = copy.deepcopy(fresh.target)
    page = page_loop("contrastive", module=fresh, batches=list(views))
    assert_same(module, fresh, losses, page["losses"])
    moved = [torch.equal(p, q) for p, q in zip(module.target.parameters(), start.parameters(), strict=True)]
    assert not any(moved)


def test_pca():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 7, generator=generator) @ torch.randn(7, 7, generator=generator) + 3
    x = x.double()
    module, _ = made(PCAModule, (7,), n_components=3)
    trained(module, [{"input": b} for b in x.split(20)])
    page = page_loop("pca", x=x.numpy(), k=3)
    found = {
        "mean_": page["mean"],
        "components_": page["components"],
        "explained_variance_": page["explained_variance"],
        "explained_variance_ratio_": page["explained_variance_ratio"],
        "noise_variance_": page["noise_variance"],
    }
    for name, value in found.items():
        np.testing.assert_allclose(getattr(module, name).numpy(), value, rtol=1e-9, atol=1e-9, err_msg=name)
    np.testing.assert_allclose(module.encode(x.float()).numpy(), page["codes"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(module.reconstruct(x.float()).numpy(), page["reconstructed"], rtol=1e-4, atol=1e-4)


def test_som():
    x = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    rows, columns, epochs = 4, 3, 6
    module, _ = made(SOMModule, (4,), rows=rows, columns=columns)
    losses = trained(module, [{"input": x}], epochs)
    units = initial_units("pca", x, rows, columns)
    page = page_loop(
        "som", x=x.double().numpy(), units=units.double().numpy(), rows=rows, columns=columns, epochs=epochs
    )
    assert losses == pytest.approx(page["errors"], rel=1e-5)
    np.testing.assert_allclose(module.units.numpy(), page["units"], rtol=1e-4, atol=1e-5)


def test_skipgram():
    vocabulary = {f"word{i}": 20 - i for i in range(10)}
    generator = torch.Generator().manual_seed(0)
    sentences = torch.randint(0, 10, (3, 2, 7), generator=generator)  # batches, sentences, words
    options = {"dim": 6, "window": 3, "block_size": 4, "shared_negatives": 8}
    module, fresh = made(SkipGramModule, vocabulary, **options)
    losses = trained(module, [{"tokens": batch} for batch in sentences])
    noise = []
    for step in range(len(sentences)):
        seed_generator(torch.device("cpu"), 0, 0, step, 0)
        noise.append(fresh._noise(2 * 2).view(2, 2, 8).long())  # two blocks in a row, of four words and of three
    page = page_loop("skipgram", module=fresh, batches=list(sentences), noise=noise)
    assert_same(module, fresh, losses, page["losses"])


def pairs():
    return [{"input": x, "label": y} for x, y in zip(images(), labels(), strict=True)]


def test_finetune():
    pl.seed_everything(0, verbose=False)
    module, fresh = made(FinetuneModule, SHAPE, CLASSES, backbone=Encoder(SMALL, SHAPE), mode="full")
    losses = trained(module, pairs())
    page = page_loop("finetune", module=fresh, batches=list(zip(images(), labels(), strict=True)))
    assert_same(module, fresh, losses, page["losses"])


def test_distill(tmp_path):
    pl.seed_everything(1, verbose=False)
    teacher = FinetuneModule(SHAPE, CLASSES, backbone=SMALL, mode="full")
    fit = quiet_trainer(max_epochs=1)
    fit.fit(teacher, DataLoader(pairs(), batch_size=None))
    fit.save_checkpoint(tmp_path / "teacher.ckpt")
    options = {"kd_weight": 1.0, "dkd_weight": 0.0, "schedule": "constant", "train_baseline": False}
    networks = {"teacher": str(tmp_path / "teacher.ckpt"), "backbone": SMALL}
    module, fresh = made(DistillModule, SHAPE, CLASSES, **networks, **options)
    losses = trained(module, pairs())
    page = page_loop(
        "distill", module=fresh, teacher=teacher.eval(), batches=list(zip(images(), labels(), strict=True))
    )
    assert_same(module, fresh, losses, page["losses"])


def test_adapt():
    shape = (3, 8, 8)
    module, fresh = made(AdaptModule, shape, CLASSES, backbone=SMALL, method="coral", schedule="constant")
    sources = list(zip(images(0, shape), labels(), images(1, shape), strict=True))
    losses = trained(module, [{"input": x, "label": y, "target": t} for x, y, t in sources])
    page = page_loop("adapt", module=fresh, batches=sources)
    assert_same(module, fresh, losses, page["losses"])


def test_every_page_s_loop_is_tested():
    assert {f"test_{name}" for name in MODULES} <= set(globals())


def test_the_loops_are_small():
    for name in MODULES:
        text = (ROOT / "docs" / "techniques" / f"{name}.md").read_text()
        loop = text.partition("## The textbook loop\n")[2].partition("```python\n")[2].partition("```")[0]
        assert 0 < len(loop.splitlines()) <= 30, name
