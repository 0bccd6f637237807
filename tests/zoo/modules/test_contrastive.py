"""The step of all eight methods: views, targets, momentum, export; two processes are one."""

import math
import pickle

import lightning.pytorch as pl
import pytest
import torch
from conftest import quiet_trainer
from torch.utils.data import DataLoader

from datamodules.images import Digits
from zoo import ContrastiveModule
from zoo.functional import contrastive as losses
from zoo.functional.contrastive_methods import METHODS
from zoo.io.encoder import load_encoder, save_encoder

SMALL = {"input_shape": (1, 8, 8), "network": {"name": "conv", "width": 16}, "projector": [16, 12]}
WITH_TARGET = [name for name, method in METHODS.items() if method.momentum is not None]
IMAGES = torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def small(method="lejepa", **options):
    """A module of a network without batch norm, in which samples meet in the heads and the loss alone."""
    predictor = {"predictor": [8, 12]} if METHODS[method].predictor else {}
    torch.manual_seed(0)
    return ContrastiveModule(**{**SMALL, **predictor, "method": method, **options})


def batch_of(images, index=None):
    return {"input": images, "index": torch.arange(len(images)) if index is None else index}


def fit(module, batches, **options):
    trainer = quiet_trainer(**options)
    trainer.fit(module, DataLoader(batches, batch_size=None))
    return trainer


@pytest.mark.parametrize("method", METHODS)
def test_a_few_steps_change_every_trainable_weight(method):
    module = small(method)
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    fit(module, [batch_of(IMAGES)] * 4, log_every_n_steps=1)
    moved = {name for name, p in module.named_parameters() if not torch.equal(p, before[name])}
    assert moved == set(before)  # the target's, too, by its momentum


@pytest.mark.parametrize("method", METHODS)
def test_more_views_and_smaller_ones(method):
    module = small(method, network={"name": "cifar_resnet", "width": 8}, global_views=3, local_views=2)
    stacks = module.views(batch_of(IMAGES))
    assert [tuple(stack.shape) for stack in stacks] == [(3, 12, 1, 8, 8), (2, 12, 1, 4, 4)]
    loss, logs = module.loss(batch_of(IMAGES))
    loss.backward()
    assert loss.isfinite() and 0 < logs["spread"] < 2


def test_views_are_a_function_of_the_sample_alone():
    module = small()
    (views,) = module.views(batch_of(IMAGES))
    order = torch.randperm(12)
    (others,) = module.views(batch_of(IMAGES[order][:5], order[:5]))
    torch.testing.assert_close(others, views[:, order[:5]], rtol=0, atol=0)
    assert not torch.equal(views[0], views[1])


def test_views_of_the_batch_are_taken_as_they_are():
    views = torch.rand(4, 3, 1, 8, 8)
    (stack,) = small().views({"views": views})
    torch.testing.assert_close(stack, views.transpose(0, 1), rtol=0, atol=0)


def test_views_are_made_of_pixels_and_normalised_as_the_input():
    normalisation = {"mean": [0.3], "std": [0.4]}
    plain, normalised = small(recipe="grey"), small(recipe="grey", normalisation=normalisation)
    (expected,) = plain.views(batch_of(IMAGES))
    (views,) = normalised.views(batch_of((IMAGES - 0.3) / 0.4))
    torch.testing.assert_close(views, (expected - 0.3) / 0.4, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match=r"expected in \[0, 1\] after normalisation, these are in \[0"):
        small(normalisation=normalisation).views(batch_of(IMAGES * 5))


def test_more_views_of_the_batch_than_the_option_says_are_all_targets():
    views, module = torch.rand(6, 3, 1, 8, 8), small("simclr")
    loss, _ = module.loss({"views": views})
    expected, _ = small("simclr", global_views=3).loss({"views": views})
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("method", METHODS)
def test_a_module_goes_to_another_process(method):
    other = pickle.loads(pickle.dumps(small(method)))
    torch.testing.assert_close(other.encode(IMAGES), small(method).encode(IMAGES))


def test_colours_of_grey_images_are_said_to_do_nothing(caplog):
    small(recipe="photo")
    assert "images of one channel have no colours" in caplog.text


def test_the_loss_of_byol_written_out():
    """Both ways of two views, the target's networks in train mode and without gradient."""
    module = small("byol").train()
    (views,) = module.views(batch_of(IMAGES))
    stacked = views.flatten(0, 1)
    prediction = module.predictor(module.projector(module.encoder(stacked))).unflatten(0, (2, 12))
    target = module.target_projector(module.twin(stacked)).unflatten(0, (2, 12)).detach()
    cosine = torch.nn.functional.cosine_similarity(prediction, target.flip(0), dim=2)
    loss, _ = module.loss(batch_of(IMAGES))
    torch.testing.assert_close(loss, (2 - 2 * cosine).mean())
    grads = torch.autograd.grad(loss, [*module.encoder.parameters()])
    expected = torch.autograd.grad((2 - 2 * cosine).mean(), [*module.encoder.parameters()])
    for one, other in zip(grads, expected, strict=True):
        torch.testing.assert_close(one, other)


class Momenta(pl.Callback):
    """Of each optimiser's step, the momentum by which a weight of the target moved."""

    def __init__(self):
        self.values, self.before = [], None

    def on_train_batch_start(self, trainer, module, *_):
        if self.before is None:
            self.before = self.target(module)

    def target(self, module):
        return next(module.target.parameters()).detach().clone()

    def on_train_batch_end(self, trainer, module, *_):
        now, online = self.target(module), next(module.online.parameters()).detach()
        if trainer.global_step > len(self.values):
            self.values.append(1 - ((now - self.before).norm() / (online - self.before).norm()).item())
            self.before = now


@pytest.mark.parametrize("accumulated", [1, 4])
def test_momentum_counts_the_optimisers_steps(accumulated):
    module, momenta = small("byol", momentum=0.5, lr=0.05), Momenta()
    batches = [batch_of(IMAGES)] * (4 * accumulated)
    fit(module, batches, accumulate_grad_batches=accumulated, callbacks=[momenta], max_epochs=2)
    expected = [losses.target_momentum(step, 8, 0.5) for step in range(8)]
    # the first step has no rate (warm-up), so that target and trained network are still one
    assert momenta.values[1:] == pytest.approx(expected[1:], abs=1e-4)
    assert expected[4] == pytest.approx(1 - 0.5 * (math.cos(math.pi / 2) + 1) / 2)


def test_the_centre_moves_after_the_loss_that_uses_it():
    module = small("dino")
    first, _ = module.loss(batch_of(IMAGES))
    assert module.centre.mean.abs().max() > 0
    with torch.no_grad():
        moved = module.centre.mean.clone()
        second, _ = module.loss(batch_of(IMAGES))
    assert not torch.equal(first, second)
    module.centre.mean.zero_()
    again, _ = module.loss(batch_of(IMAGES))
    torch.testing.assert_close(again, first)
    torch.testing.assert_close(module.centre.mean, moved)
    module.eval().loss(batch_of(IMAGES))
    torch.testing.assert_close(module.centre.mean, moved)


@pytest.mark.parametrize("method", WITH_TARGET)
def test_the_target_is_kept_if_that_is_wanted(method, tmp_path):
    module = small(method, export="target", momentum=0.9, lr=0.05)
    fit(module, [batch_of(IMAGES)] * 4)
    online, target = next(module.online.parameters()), next(module.target.parameters())
    assert online.requires_grad and not target.requires_grad and not torch.equal(online, target)
    save_encoder(module.encoder, tmp_path / "encoder")
    loaded = load_encoder(tmp_path / "encoder")
    assert torch.equal(next(loaded.parameters()), target)
    names = set(loaded.state_dict())
    assert not [name for name in names if "projector" in name or "twin" in name]


def test_the_predictor_of_simsiam_keeps_its_rate():
    module = small("simsiam")
    trainer = fit(module, [batch_of(IMAGES)] * 5)
    rates = {
        group["constant_lr"]: group["lr"] for group in trainer.optimizers[0].param_groups if "constant_lr" in group
    }
    assert rates[True] == pytest.approx(4e-3)
    assert trainer.optimizers[0].param_groups[0]["lr"] < 1e-4


def test_sigreg_is_logged_between_its_two_reference_values():
    trainer = fit(small(), [batch_of(IMAGES)] * 2, log_every_n_steps=1)
    logged = {name: value.item() for name, value in trainer.callback_metrics.items()}
    assert logged["train/sigreg_normal"] == pytest.approx(1.053, abs=1e-3)
    assert logged["train/sigreg_collapsed"] == pytest.approx(0.402 * 12, abs=0.01)
    assert logged["train/sigreg"] > 0


TWO = """
import torch
from torch.nn.parallel import DistributedDataParallel
from test_contrastive import IMAGES, METHODS, batch_of, small
import os
rank = int(os.environ["LOCAL_RANK"])
images = torch.cat([IMAGES, IMAGES.flip(2), IMAGES.flip(3)])[:32]

def step(method, own):
    module = small(method, recipe="handwriting").train()
    loss, _ = module.loss(batch_of(images[own], torch.arange(32)[own]))
    loss.backward()
    grads = {{name: p.grad for name, p in module.named_parameters() if p.grad is not None}}
    return loss.detach(), grads

one = {{method: step(method, slice(32)) for method in METHODS}}
torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
for method, (loss, grads) in one.items():
    ours, mine = step(method, slice(rank, 32, 2))
    torch.testing.assert_close(ours, loss, rtol=1e-5, atol=1e-5, msg=method)
    assert mine.keys() == grads.keys()
    for name, grad in mine.items():
        torch.distributed.all_reduce(grad)
        bound = 1e-5 * max(1.0, grads[name].abs().max().item())
        torch.testing.assert_close(grad / 2, grads[name], rtol=1e-5, atol=bound, msg=lambda m: method + name + m)
torch.distributed.destroy_process_group()
"""


@pytest.mark.long
def test_loss_and_gradients_of_two_processes_are_those_of_one(two_processes):
    two_processes(TWO)


TRAINED = """
import torch
from test_contrastive import Digits, METHODS, quiet_trainer, small
options = {{"max_steps": 20, "max_epochs": -1, "limit_val_batches": 0, "precision": "64-true"}}
for method in METHODS:
    module = small(method, optimizer="sgd", lr=0.1)  # Adam makes a step of any rounding error
    fit = quiet_trainer({folder!r}, devices=2, strategy="ddp", **options)
    fit.fit(module, Digits(batch_size=16))
    fit.save_checkpoint({folder!r} + "/" + method + ".ckpt")
"""


@pytest.mark.long
def test_after_twenty_steps_weights_of_two_processes_are_those_of_one(two_processes, tmp_path):
    """In float64: batch norms enlarge float32's rounding from step to step."""
    two_processes(TRAINED)
    for method in METHODS:
        module = small(method, optimizer="sgd", lr=0.1)
        fit = quiet_trainer(max_steps=20, max_epochs=-1, limit_val_batches=0, precision="64-true")
        fit.fit(module, Digits(batch_size=32))
        two = torch.load(tmp_path / f"{method}.ckpt", weights_only=True)["state_dict"]
        for name, value in module.state_dict().items():
            torch.testing.assert_close(
                two[name], value, rtol=1e-6, atol=1e-6, msg=lambda m, n=(method, name): f"{n} {m}"
            )


def test_a_checkpoint_of_another_method_is_named(tmp_path):
    trainer = quiet_trainer(max_steps=1, limit_val_batches=0)
    trainer.fit(small("byol"), Digits(batch_size=64))
    trainer.save_checkpoint(tmp_path / "byol.ckpt")
    with pytest.raises(ValueError, match="this checkpoint is of method byol, not simclr: take `method` byol"):
        quiet_trainer(max_steps=2).fit(small("simclr"), Digits(batch_size=64), ckpt_path=tmp_path / "byol.ckpt")


@pytest.mark.parametrize("method", [name for name in METHODS if name != "lejepa"])
def test_resumed_it_is_as_unbroken(method, tmp_path):
    """Targets, centre and predictor included; in the middle of an epoch, at the end of ``max_steps``."""

    def trained(steps, checkpoint=None):
        module, data = small(method), Digits(batch_size=256)
        trainer = quiet_trainer(max_steps=12, max_epochs=-1, limit_val_batches=0, callbacks=[StopAt(steps)])
        trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
        trainer.save_checkpoint(tmp_path / "a.ckpt")
        return module.state_dict()

    whole = trained(12)
    trained(7)
    resumed = trained(12, tmp_path / "a.ckpt")
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, rtol=0, atol=0, msg=lambda m, n=name: n + m)


class StopAt(pl.Callback):
    def __init__(self, steps):
        self.steps = steps

    def on_train_batch_end(self, trainer, *_):
        trainer.should_stop = trainer.global_step == self.steps


WRONG = {
    "a batch of one has nothing": lambda: small().loss(batch_of(IMAGES[:1])),
    "views are compared": lambda: small(global_views=1),
    "'vicreg' has no temperature": lambda: small("vicreg", temperature=0.1),
    "'simclr' has no target network": lambda: small("simclr", export="target"),
    "temperature must be more than 0": lambda: small("simclr", temperature=0.0),
    "momentum must be .*1": lambda: small("byol", momentum=1.5),
    "projector must be more than 0": lambda: small(projector=[8, 0]),
    "cannot take local views of 4 x 4": lambda: small(local_views=2),
    "local_scale must be two shares": lambda: small(local_scale=[0.5, 0.2]),
    "local_size must be 1 or more": lambda: small(local_size=0),
    "views are made of images": lambda: ContrastiveModule((13,)),
    "images of 5 channels have no red": lambda: ContrastiveModule((5, 8, 8), recipe="photo"),
    "unknown recipe 'foto' .did you mean 'photo'": lambda: small(recipe="foto"),
    "input_shape is": lambda: small().loss(batch_of(torch.rand(4, 1, 9, 9))),
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_input_is_named(message):
    with pytest.raises(ValueError, match=message):
        WRONG[message]()


@pytest.mark.parametrize("method", METHODS)
def test_images_of_one_colour_give_a_finite_loss(method):
    module = small(method)
    loss, _ = module.loss(batch_of(torch.full((4, 1, 8, 8), 0.5)))
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in module.parameters() if p.grad is not None)
