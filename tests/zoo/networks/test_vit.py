import copy

import pytest
import torch
from torch import nn

from zoo.functional.patches import patchify, positions_2d
from zoo.networks.encoder import Encoder
from zoo.networks.freezing import frozen_stages
from zoo.networks.low_rank import add_low_rank
from zoo.networks.spec import TRUNKS, build
from zoo.networks.stages import staged_parameters, stages
from zoo.networks.vit import Block, ViTTrunk, check_patches, choose_patch


def vit(shape=(1, 8, 8), **options):
    torch.manual_seed(0)
    return build({"name": "vit", "width": 32, "depth": 3, **options}, TRUNKS, input_shape=shape).eval()


def random_weights(network):
    """Norms and biases that a fresh network does not have, so that each of them matters."""
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return network


def test_a_block_is_torchs_own():
    ours = random_weights(Block(32, 4))
    theirs = nn.TransformerEncoderLayer(32, 4, 128, 0.0, "gelu", 1e-6, batch_first=True, norm_first=True)
    names = {"norm1": "norm1", "norm2": "norm2", "linear1": "mlp.0", "linear2": "mlp.2", "self_attn.out_proj": "proj"}
    state = {f"{a}.{kind}": ours.state_dict()[f"{b}.{kind}"] for a, b in names.items() for kind in ("weight", "bias")}
    state |= {"self_attn.in_proj_weight": ours.qkv.weight, "self_attn.in_proj_bias": torch.zeros(96)}
    theirs.load_state_dict(state)
    x = torch.randn(3, 5, 32)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("class_tokens", [0, 1, 4])
def test_the_network_is_timms(class_tokens):
    models = pytest.importorskip("timm.models.vision_transformer", reason="needs timm")
    shape = (3, 12, 20)
    ours = random_weights(vit(shape, patch=4, heads=4, class_tokens=class_tokens))
    theirs = models.VisionTransformer(
        (12, 20), 4, embed_dim=32, depth=3, num_heads=4, num_classes=0, class_token=class_tokens > 0,
        reg_tokens=max(0, class_tokens - 1), no_embed_class=True, global_pool="token" if class_tokens else "avg",
        fc_norm=False, qkv_bias=False,
    ).eval()  # fmt: skip
    state = {
        name.replace("block", "blocks.").replace(".qkv", ".attn.qkv").replace(".proj.", ".attn.proj.")
        .replace("mlp.0", "mlp.fc1").replace("mlp.2", "mlp.fc2"): value
        for name, value in ours.state_dict().items() if not name.startswith("embed.")
    }  # fmt: skip
    embed = ours.embed
    state["patch_embed.proj.weight"] = embed.projection.weight.view(32, 3, 4, 4)
    state["patch_embed.proj.bias"] = embed.projection.bias
    state["pos_embed"] = embed.positions[None]
    if class_tokens:
        state["cls_token"] = embed.class_tokens[:, :1]
    if class_tokens > 1:
        state["reg_token"] = embed.class_tokens[:, 1:]
    theirs.load_state_dict(state)
    x = torch.randn(2, *shape)
    torch.testing.assert_close(ours.forward_features(x), theirs.forward_features(x), rtol=1e-5, atol=1e-5)
    if class_tokens < 2:  # of several timm takes the first
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)


def test_the_feature_is_the_mean_of_the_class_tokens():
    trunk = random_weights(vit(class_tokens=3))
    x = torch.randn(2, 1, 8, 8)
    tokens = trunk.forward_features(x)
    assert tokens.shape == (2, 3 + 16, 32)
    torch.testing.assert_close(trunk(x), tokens[:, :3].mean(1))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 12), (1, 28, 28), (2, 32, 48), (3, 96, 96), (3, 224, 224)])
def test_features_of_any_size(shape):
    trunk = vit(shape, depth=1)
    assert trunk(torch.zeros(2, *shape)).shape == (2, trunk.feature_dim) == (2, 32)
    assert 4 <= trunk.grid[0] * trunk.grid[1] <= 196


def test_positions_at_another_size_are_interpolated():
    """An image of twice the size: a patch is at the place of the pixels it covers, and their means at the old ones."""
    small, large = vit((1, 16, 16), patch=4), vit((1, 32, 32), patch=4)
    assert small(torch.zeros(1, 1, 32, 32)).shape == (1, 32)
    stretched = small.embed._positions((8, 8), torch.device("cpu"))
    assert torch.equal(small.embed._positions((4, 4), torch.device("cpu")), small.embed.positions)
    places = torch.tensor([-0.25, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.25])
    torch.testing.assert_close(stretched, positions_2d(places, places, 32))
    x = torch.randn(1, 1, 32, 32)
    assert not torch.allclose(small(x), large(x))  # same weights, positions of its own


def test_what_it_was_made_for_does_not_depend_on_what_it_saw():
    trunk, x = vit(), torch.randn(2, 1, 8, 8)
    before = trunk(x)
    trunk(torch.randn(2, 1, 16, 12))
    assert torch.equal(trunk(x), before)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 64, 64)])
def test_patches_begin_as_large_as_their_pixels_whatever_their_number(shape):
    embed = vit(shape, width=192).embed
    tokens = embed.projection(patchify(torch.randn(16, *shape), embed.patch))
    assert 0.8 < tokens.std() < 1.2


def test_blocks_are_stages():
    encoder = Encoder({"name": "vit", "width": 32, "depth": 3, "class_tokens": 2}, (3, 64, 64), 10)
    names = [type(stage).__name__ for stage in stages(encoder)]
    assert names == ["PatchEmbedding", "Block", "Block", "Block", "LayerNorm", "Linear"]
    held = [id(p) for stage in staged_parameters(encoder) for p in stage]
    assert len(held) == len(set(held)) == len(list(encoder.parameters()))
    assert encoder.trunk.embed.class_tokens in set(frozen_stages(encoder, 5)[0].parameters())


def test_low_rank_updates_reach_every_linear_layer():
    trunk = vit()
    x = torch.randn(2, 1, 8, 8)
    before = trunk(x)
    assert add_low_rank(trunk, 2) == 1 + 3 * 4
    assert torch.equal(trunk(x), before)


def test_it_begins_anew_as_a_fresh_one():
    """What the baseline "untrained" does: every layer's own ``reset_parameters``, outermost first."""
    trunk = random_weights(vit(class_tokens=2))
    trained = copy.deepcopy(trunk.state_dict())
    for layer in trunk.modules():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    assert not [name for name, value in trunk.state_dict().items() if torch.equal(value, trained[name])]
    width = trunk.block0.qkv.weight.shape[1]
    bound = (6 / (4 * width)) ** 0.5
    for network in (trunk, vit(class_tokens=2)):
        assert 0.95 * bound < network.block0.qkv.weight.abs().max() <= bound
        assert not network.block0.proj.bias.any() and 0.005 < network.embed.class_tokens.std() < 0.05


@pytest.mark.parametrize("side, patch", [(8, 2), (10, 2), (16, 2), (28, 4), (32, 4), (64, 8), (100, 20), (256, 16)])
def test_the_patch_follows_the_images_size(side, patch):
    assert choose_patch(side, side) == patch


@pytest.mark.parametrize(
    "shape, options, says",
    [
        ((13,), {}, "use 'mlp'"),
        (
            (1, 8, 8),
            {"patch": 16},
            "larger than images of 8 x 8: .* a patch of 2 or 4, or resize the images to 16 x 16",
        ),
        (
            (1, 28, 28),
            {"patch": 5},
            "do not divide images of 28 x 28: .* a patch of 2 or 4 or 7 or 14, or resize .* to 30 x 30",
        ),
        ((1, 29, 31), {"patch": 4}, "do not divide images of 29 x 31: resize the images to 28 x 32"),
        ((1, 29, 31), {}, "no square patch divides images of 29 x 31: resize them, to 28 x 32"),
        ((1, 8, 8), {"width": 30}, "multiple of 4"),
        ((1, 8, 8), {"heads": 5}, "`heads`; got 32 and 5"),
        ((1, 8, 8), {"class_tokens": -1}, "class_tokens must be 0 or more"),
        ((1, 8, 8), {"depth": 0}, "depth must be 1 or more"),
    ],
)
def test_what_does_not_fit_says_what_would(shape, options, says):
    with pytest.raises(ValueError, match=says):
        vit(shape, **options)


def test_an_image_that_patches_do_not_divide_is_refused_when_it_comes():
    with pytest.raises(ValueError, match="patches of 2 x 2 do not divide images of 9 x 8"):
        vit()(torch.zeros(1, 1, 9, 8))
    check_patches(8, 12, 4)


def test_half_precision_and_double():
    trunk, x = random_weights(vit()), torch.randn(2, 1, 8, 8)
    expected = trunk(x)
    for dtype, near in ((torch.bfloat16, 0.1), (torch.float64, 1e-4)):
        cast = copy.deepcopy(trunk).to(dtype)
        torch.testing.assert_close(cast(x.to(dtype)).float(), expected, rtol=near, atol=near)
        assert cast(torch.zeros(1, 1, 12, 12, dtype=dtype)).dtype == dtype


def test_heads_follow_the_width():
    heads = [ViTTrunk((1, 8, 8), width=w, depth=1).block0.heads for w in (32, 48, 64, 96, 128, 192, 384)]
    assert heads == [1, 2, 2, 3, 4, 6, 12]
