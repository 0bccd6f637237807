import sys

import lightning.pytorch as pl
import pytest
import torch
from conftest import quiet_trainer
from torch.utils.data import DataLoader, TensorDataset

from zoo import MaskedAutoencoderModule, load_encoder, save_encoder
from zoo.functional.masked_autoencoder import patch_targets
from zoo.functional.patches import patchify
from zoo.networks.low_rank import add_low_rank

SHAPE = (1, 8, 8)
SMALL = {"name": "vit", "width": 32, "depth": 2}


def made(shape=SHAPE, **options):
    pl.seed_everything(0, verbose=False)
    return MaskedAutoencoderModule(shape, **{"network": SMALL, **options})


def batch(size=6, shape=SHAPE):
    generator = torch.Generator().manual_seed(0)
    return {"input": torch.rand(size, *shape, generator=generator), "index": torch.arange(size) * 7}


def naive_loss(module, x, index):
    """Image by image, with the tokens put back in their places and answers for all, as MAE's own code does it."""
    trunk, decoder, total = module.encoder.trunk, module.decoder, []
    epoch = module.current_epoch if module.training else -1
    for image, number in zip(x[:, None], index[:, None], strict=True):
        visible, hidden = (w[0] for w in module._split(number, epoch))
        tokens = trunk.embed(image)[:, visible]
        if trunk.embed.class_tokens is not None:
            tokens = torch.cat([trunk.embed.class_tokens, tokens], 1)
        for i in range(trunk.depth):
            tokens = getattr(trunk, f"block{i}")(tokens)
        tokens = decoder.embed(trunk.norm(tokens))
        k = trunk.num_class_tokens
        full = decoder.mask_token.repeat(1, len(visible) + len(hidden), 1)
        full[0, visible] = tokens[0, k:]
        full = torch.cat([tokens[:, :k], full + decoder.positions], 1)
        answers = decoder.head(decoder.norm(decoder.blocks(full)))[0, k:]
        target = patch_targets(patchify(image, trunk.patch)[0], module.hparams.normalise_targets)
        total.append((answers - target)[hidden].square().mean())
    return torch.stack(total).mean()


@pytest.mark.parametrize("options", [{}, {"class_tokens": 0}, {"class_tokens": 3, "normalise_targets": False},
                                     {"mask_block": 2, "mask_ratio": 0.5}])  # fmt: skip
def test_the_loss_is_that_of_tokens_put_back_in_their_places(options):
    module, b = made((3, 8, 12), **options), batch(shape=(3, 8, 12))
    for mode in (True, False):
        loss, logs = module.train(mode).loss(b)
        torch.testing.assert_close(loss, naive_loss(module, b["input"], b["index"]), rtol=1e-5, atol=1e-6)
        assert logs["explained"] < 1


def test_the_encoder_sees_visible_patches_only():
    module, b = made(mask_ratio=0.6), batch()
    seen = []
    module.encoder.trunk.block0.register_forward_hook(lambda layer, inputs, output: seen.append(inputs[0].shape))
    module.loss(b)
    assert seen == [(6, 1 + int(16 * (1 - 0.6)), 32)]
    hidden = module.hidden_pixels(b)
    other = torch.where(hidden, torch.rand_like(b["input"]), b["input"])
    tokens = [module._encode_visible(x, module._split(b["index"], -1)[0]) for x in (b["input"], other)]
    assert torch.equal(*tokens) and hidden.float().mean().item() == pytest.approx(10 / 16)


def test_masks_are_the_samples_and_the_epochs():
    """Whatever the batch: half batches have the losses of the whole one; evaluation always has the same masks."""
    module, b = made().eval(), batch()
    whole = module.loss(b)[0]
    halves = [module.loss({k: v[i::2] for k, v in b.items()})[0] for i in range(2)]
    torch.testing.assert_close(torch.stack(halves).mean(), whole)
    assert module.loss(b)[0] == whole
    assert module.train().loss(b)[0] != whole


@pytest.mark.long
def test_it_learns_what_hidden_patches_show():
    """Five images, over and over: which one it is can be told from what is visible, and what is hidden follows."""
    module = made(network={**SMALL, "heads": 4}, decoder_width=32, lr=2e-2)
    x = torch.randn(5, *SHAPE)[torch.randint(0, 5, (512,))]
    trainer = quiet_trainer(max_epochs=20)
    trainer.fit(module, DataLoader(TensorDataset(x), batch_size=32), DataLoader(x, batch_size=128))
    assert trainer.callback_metrics["val/explained"] > 0.8
    rebuilt, hidden = module.eval().reconstruct(x[:64]), module.hidden_pixels(x[:64])
    assert torch.equal(rebuilt[~hidden], x[:64][~hidden])
    assert (rebuilt - x[:64]).square()[hidden].mean() < 0.2 * x.var()


def test_rebuilt_patches_have_their_own_mean_and_deviation():
    module, b = made().eval(), batch()
    with torch.no_grad():
        module.decoder.head.weight.zero_()
        module.decoder.head.bias.copy_(torch.tensor([-1.5, -0.5, 0.5, 1.5]) / 1.6667**0.5)
    rows, true = patchify(module.reconstruct(b), 2), patchify(b["input"], 2)
    torch.testing.assert_close(rows.mean(2), true.mean(2))
    torch.testing.assert_close(rows.std(2), true.std(2), rtol=1e-3, atol=1e-3)


def test_answers_for_a_share_of_the_hidden_patches():
    module, b = made(predict=0.5), batch()
    asked = []
    module.decoder.register_forward_hook(lambda layer, inputs, output: asked.append(output.shape))
    module.loss(b)
    assert asked == [(6, 6, 4)]
    asked.clear()
    assert module.reconstruct(b).shape == (6, *SHAPE)
    assert asked == [(6, 6, 4)] * 2  # all of them, as many at once as in training


def test_features_of_other_sizes():
    module = made(class_tokens=2).eval()
    for size in ((8, 8), (16, 16), (10, 6)):
        assert module.encode(torch.rand(3, 1, *size)).shape == (3, 32)
    with pytest.raises(ValueError, match="do not divide images of 9 x 8"):
        module.encode(torch.rand(3, 1, 9, 8))
    with pytest.raises(ValueError, match="input_shape is"):
        module.loss({"input": torch.rand(3, 1, 16, 16)})


def test_the_exported_encoder_has_no_decoder(tmp_path):
    module = made(class_tokens=2).eval()
    save_encoder(module.encoder, tmp_path / "encoder")
    loaded = load_encoder(tmp_path / "encoder").eval()
    x = torch.rand(3, *SHAPE)
    torch.testing.assert_close(loaded(x), module.encode(x))
    assert not [name for name in loaded.state_dict() if "decoder" in name or "mask_token" in name]
    assert loaded.trunk.num_class_tokens == 2 and add_low_rank(loaded, 2) > 0


def test_a_tuple_has_other_masks_in_every_batch():
    module, x = made().train(), torch.rand(4, *SHAPE)
    torch.manual_seed(1)
    first = module.loss({"input": x})[0]
    assert module.loss({"input": x})[0] != first
    torch.manual_seed(1)
    assert module.loss({"input": x})[0] == first


def test_mixed_precision_has_a_loss_in_float32():
    module, b = made(), batch()
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = module.loss(b)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, module.loss(b)[0], rtol=0.03, atol=0.03)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


@pytest.mark.parametrize(
    "shape, options, says",
    [
        (SHAPE, {"network": "conv"}, "network 'vit', not 'conv'"),
        ((13,), {}, "a masked autoencoder takes images"),
        (SHAPE, {"network": {"name": "vit", "patch": 8}}, "one patch"),
        (SHAPE, {"network": {"name": "vit", "patch": 16}}, "larger than images of 8 x 8"),
        (SHAPE, {"network": {"name": "vit", "patch": 3}}, "do not divide images of 8 x 8: .* a patch of 2 or 4"),
        (SHAPE, {"mask_ratio": 0.99}, "leaves none visible"),
        (SHAPE, {"mask_ratio": 0.0}, "mask_ratio must be more than 0"),
        (SHAPE, {"mask_block": 3}, "mask_block 3 is too large for 4 x 4 patches: take 1 to 2"),
        (SHAPE, {"mask_block": 0}, "mask_block must be 1"),
        (SHAPE, {"predict": 0.0}, "predict must be more than 0"),
        (SHAPE, {"predict": 1.5}, "predict must be 0 to 1"),
        (SHAPE, {"class_tokens": -1}, "class_tokens must be 0"),
        (SHAPE, {"decoder_width": 30}, "decoder_width must be a multiple of 4"),
        (SHAPE, {"lr": 0.0}, "lr must be"),
    ],
)
def test_wrong_options_are_named(shape, options, says):
    with pytest.raises(ValueError, match=says):
        made(shape, **options)


def test_options_of_the_network_leave_the_others_as_they_are():
    trunk = MaskedAutoencoderModule(SHAPE, network={"patch": 4}, class_tokens=3).trunk
    assert (trunk.patch, trunk.feature_dim, trunk.depth, trunk.num_class_tokens) == (4, 96, 4, 3)
    trunk = MaskedAutoencoderModule(SHAPE, network={"name": "vit", "depth": 1, "class_tokens": 2}).trunk
    assert (trunk.depth, trunk.num_class_tokens) == (1, 2)


def test_a_batch_of_one_and_images_of_one_colour():
    module = made()
    for x in (torch.rand(1, *SHAPE), torch.zeros(4, *SHAPE)):
        loss, logs = module.loss({"input": x})
        loss.backward()
        assert loss.isfinite() and logs["explained"].isfinite()
        assert all(p.grad.isfinite().all() for p in module.parameters())


STEP = """
import os
import lightning.pytorch as pl
from conftest import quiet_trainer
from test_masked_autoencoder import Gradients, batch, made
from torch.utils.data import DataLoader

rank = int(os.environ["LOCAL_RANK"])
whole = batch(32)
half = {{name: value[rank::2] for name, value in whole.items()}}
module, seen = made(mask_block=2), Gradients()
fit = quiet_trainer({folder!r}, max_steps=1, devices=2, strategy="ddp", callbacks=[seen], use_distributed_sampler=False)
fit.fit(module, DataLoader([half], batch_size=None))
torch.save(seen.found, {folder!r} + f"/{{rank}}.pt")
"""


class Gradients(pl.Callback):
    """Loss and gradients of a step."""

    def on_train_batch_end(self, trainer, module, outputs, *_):
        self.found["loss"] = outputs["loss"].detach()

    def on_before_optimizer_step(self, trainer, module, optimizer):
        self.found = {name: p.grad.clone() for name, p in module.named_parameters()}


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="its two processes are forked")
def test_two_processes_are_one(two_processes, tmp_path):
    two_processes(STEP)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    one = Gradients()
    fit = quiet_trainer(max_steps=1, callbacks=[one])
    fit.fit(made(mask_block=2), DataLoader([batch(32)], batch_size=None))
    torch.testing.assert_close(
        (first.pop("loss") + second.pop("loss")) / 2, one.found.pop("loss"), rtol=1e-5, atol=1e-6
    )
    for name, value in one.found.items():
        torch.testing.assert_close(first[name], value, rtol=1e-5, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")
        torch.testing.assert_close(second[name], value, rtol=1e-5, atol=1e-6)
