"""Losses beside values computed independently, lightly's where it is installed, and properties of each."""

import math

import pytest
import torch
from torch.nn import functional as F

from zoo.functional import contrastive as losses


def rows(s):
    """Fixed embeddings, 8 x 6 in float64."""
    i, j = torch.arange(8.0, dtype=torch.float64)[:, None], torch.arange(6.0, dtype=torch.float64)
    return torch.sin(1.3 * i + 0.7 * j + s) + 0.5 * torch.cos(0.37 * i * j + s**2)


A, B = rows(0), rows(1)
AB = torch.stack([A, B])
AXES = torch.eye(6, dtype=torch.float64)
CENTRE = torch.zeros(6)


def one_way(loss, *options):
    """A loss of predictions from a and the target b alone: view 0 is the target's own."""
    return loss(torch.stack([B, A]), B[None], *options)


EXPECTED = {
    "nt_xent at 0.5": (lambda: losses.nt_xent(AB, 0.5), 2.262262),
    "nt_xent at 0.1": (lambda: losses.nt_xent(AB, 0.1), 4.222764),
    "decoupled": (lambda: losses.nt_xent(AB, 0.1, decoupled=True), 4.195447),
    "barlow": (lambda: losses.barlow_twins(AB, 0.005), 1.323907),
    "vicreg": (lambda: losses.vicreg(AB), 22.517639),
    "byol": (lambda: 2 + 2 * one_way(losses.negative_cosine), 0.908949),
    "mocov3": (lambda: one_way(losses.info_nce, 0.2), 0.966963),
    "dino": (lambda: losses.dino(AB / 10, AB / 10, CENTRE), 1.540966),
    "sigreg": (lambda: losses.sigreg(A[None], AXES), 0.711032),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_value(name):
    compute, value = EXPECTED[name]
    assert compute().item() == pytest.approx(value, abs=1e-6)


def test_sigreg_is_near_the_integral_over_all_numbers():
    n = len(A)
    differences = (A[:, None] - A[None]).square()
    first = math.sqrt(2 * math.pi) / n**2 * torch.exp(-differences / 2).sum((0, 1))
    second = 2 * math.sqrt(math.pi) / n * torch.exp(-A.square() / 4).sum(0)
    closed = n * (first - second + math.sqrt(2 * math.pi / 3)).mean()
    torch.testing.assert_close(losses.sigreg(A[None], AXES), closed, rtol=0.01, atol=0)


def test_sigregs_two_reference_values():
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(1, 200, 64, generator=generator)
    many = [losses.sigreg(torch.randn(1, 200, 64, generator=generator), torch.eye(64)) for _ in range(20)]
    assert torch.stack(many).mean().item() == pytest.approx(losses.SIGREG_NORMAL, rel=0.05)
    assert pytest.approx(1.053, abs=1e-3) == losses.SIGREG_NORMAL
    assert pytest.approx(0.402, abs=1e-3) == losses.SIGREG_COLLAPSED
    zeros = losses.sigreg(torch.zeros_like(normal), torch.eye(64))
    assert zeros.item() == pytest.approx(200 * losses.SIGREG_COLLAPSED, rel=1e-6)


LOSSES = {
    "nt_xent": lambda z: losses.nt_xent(z, 0.3),
    "decoupled": lambda z: losses.nt_xent(z, 0.3, decoupled=True),
    "barlow": losses.barlow_twins,
    "vicreg": losses.vicreg,
    "negative_cosine": lambda z: losses.negative_cosine(z, z),
    "info_nce": lambda z: losses.info_nce(z, z),
    "dino": lambda z: losses.dino(z, z.detach(), CENTRE),
    "sigreg": lambda z: losses.sigreg(z, AXES),
    "visreg": lambda z: losses.visreg(z, AXES),
    "invariance": losses.invariance,
    "lejepa": lambda z: losses.lejepa(z, AXES, 0.1)[0],
}


@pytest.mark.parametrize("name", LOSSES)
def test_order_of_the_batch_does_not_matter(name):
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(LOSSES[name](AB), LOSSES[name](AB[:, order]))


@pytest.mark.parametrize("name", ["nt_xent", "decoupled", "negative_cosine", "info_nce", "barlow"])
def test_scale_does_not_matter(name):
    tolerance = {"rtol": 1e-3, "atol": 1e-4} if name == "barlow" else {}  # batch norm's epsilon
    torch.testing.assert_close(LOSSES[name](AB), LOSSES[name](7 * AB), **tolerance)


@pytest.mark.parametrize("name", [name for name in LOSSES if name not in ("dino", "visreg")])
def test_gradients_are_those_of_finite_differences(name):
    assert torch.autograd.gradcheck(LOSSES[name], AB.clone().requires_grad_())


def test_gradients_of_a_student_and_of_visregs_scale():
    student = AB.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: losses.dino(z, AB, CENTRE), student)
    # the shape is of embeddings over a deviation that has no gradient: in one direction, their scale, it is visible
    (grad,) = torch.autograd.grad(losses.visreg(student, AXES), student)
    assert grad.isfinite().all() and grad.abs().max() > 0


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_computes_in_full(name):
    half = AB.to(torch.bfloat16)
    loss = LOSSES[name](half)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, LOSSES[name](half.float()))


@pytest.mark.parametrize("name", [name for name in LOSSES if name not in ("sigreg", "visreg", "invariance", "lejepa")])
def test_three_views_are_the_mean_of_their_pairs(name):
    c = rows(2)
    pairs = [torch.stack(pair) for pair in ((A, B), (A, c), (B, c))]
    expected = torch.stack([LOSSES[name](pair) for pair in pairs]).mean()
    torch.testing.assert_close(LOSSES[name](torch.stack([A, B, c])), expected)


def test_local_views_are_no_targets():
    """Each local view has the two global ones as targets, these one another: four ways of six."""
    c = rows(2)
    views, targets = torch.stack([A, B, c]), AB

    def way(prediction, target):
        return -F.cosine_similarity(prediction, target).mean()

    expected = (way(A, B) + way(B, A) + way(c, A) + way(c, B)) / 4
    torch.testing.assert_close(losses.negative_cosine(views, targets), expected)


def test_agreement_is_the_least():
    same = torch.stack([A, A])
    assert losses.negative_cosine(same, same).item() == pytest.approx(-1)
    assert losses.invariance(same).item() == 0
    assert losses.nt_xent(same, 0.01).item() == pytest.approx(0, abs=1e-6)  # the positive is the nearest of all
    assert losses.info_nce(same, same, 0.01).item() == pytest.approx(0, abs=1e-6)


def test_high_temperature_chooses_at_random():
    assert losses.nt_xent(AB, 1e6).item() == pytest.approx(math.log(15), abs=1e-4)  # of the others in both views
    assert losses.nt_xent(AB, 1e6, decoupled=True).item() == pytest.approx(math.log(14), abs=1e-4)
    assert losses.info_nce(AB, AB, 1e6).item() / 2e6 == pytest.approx(math.log(8), abs=1e-4)


def test_a_collapse_has_a_gradient_with_visreg_only():
    near = (1e-4 * AB + 1).requires_grad_()
    slopes = {}
    for regulariser in (losses.sigreg, losses.visreg):
        centred = near - near.mean(1, keepdim=True).detach()  # where only the scale is wrong
        (grad,) = torch.autograd.grad(regulariser(centred, AXES), near)
        slopes[regulariser.__name__] = grad.norm().item()
    assert slopes["visreg"] > 100 * slopes["sigreg"]


def test_visreg_of_normal_embeddings_is_small():
    normal = torch.randn(1, 1000, 6, generator=torch.Generator().manual_seed(0))
    assert losses.visreg(normal, torch.eye(6)).item() < 0.02
    assert losses.visreg(3 * normal, torch.eye(6)).item() > 1
    assert losses.visreg(normal.sign(), torch.eye(6)).item() > 0.1  # unit variance, but another shape


def test_momentum_rises_by_a_half_cosine():
    values = [losses.target_momentum(step, 100, 0.99) for step in (0, 50, 100)]
    assert values == pytest.approx([0.99, 0.995, 1.0])


def test_directions_are_unit_vectors():
    directions = losses.unit_directions(16, 40, torch.Generator().manual_seed(0))
    assert directions.shape == (16, 40)
    torch.testing.assert_close(directions.norm(dim=0), torch.ones(40))


def test_spread_is_one_where_directions_are_even():
    views = torch.randn(2, 4000, 32, generator=torch.Generator().manual_seed(0))
    assert losses.embedding_spread(views).item() == pytest.approx(1, abs=0.02)
    assert losses.embedding_spread(torch.ones(2, 10, 32)).item() == 0


def test_as_lightly():
    """The same losses of a package that others wrote."""
    lightly = pytest.importorskip("lightly.loss", reason="lightly is not installed: its losses are not compared")
    a, b = A.float(), B.float()
    views = torch.stack([a, b])
    pairs = {
        "ntx": (lightly.NTXentLoss(0.5)(a, b), losses.nt_xent(views, 0.5)),
        "dcl": (lightly.DCLLoss(0.1)(a, b), losses.nt_xent(views, 0.1, decoupled=True)),
        "barlow": (lightly.BarlowTwinsLoss()(a, b), losses.barlow_twins(views)),
        "vicreg": (lightly.VICRegLoss()(a, b), losses.vicreg(views)),
        "cosine": (lightly.NegativeCosineSimilarity()(a, b), losses.negative_cosine(torch.stack([b, a]), b[None])),
    }
    for theirs, ours in pairs.values():
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_sigreg_as_lightly():
    """Along the same directions."""
    reason = "lightly is not installed: its losses are not compared"
    theirs = pytest.importorskip("lightly.loss.lejepa_loss", reason=reason).SIGReg(num_vectors=5)
    directions = torch.nn.functional.normalize(rows(5).T[:, :5].float(), dim=0)
    theirs._generate_unit_vectors = lambda *_, **__: directions
    views = torch.stack([A, B, 3 * A]).float()
    torch.testing.assert_close(losses.sigreg(views, directions), theirs(views), rtol=1e-5, atol=1e-5)


def test_dino_over_three_steps_as_lightly():
    lightly = pytest.importorskip("lightly.loss", reason="lightly is not installed: its losses are not compared")
    theirs = lightly.DINOLoss(output_dim=6, warmup_teacher_temp=0.04, teacher_temp=0.04)
    centre = torch.zeros(6)
    for step in range(3):
        views = torch.stack([rows(step), rows(step + 0.5)]).float()
        teacher = torch.stack([rows(step + 3), rows(step + 4)]).float()
        expected = theirs(list(teacher), list(views), epoch=0)
        torch.testing.assert_close(losses.dino(views, teacher, centre), expected, rtol=1e-5, atol=1e-5)
        centre = 0.9 * centre + 0.1 * teacher.mean((0, 1))
