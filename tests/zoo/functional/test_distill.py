import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from zoo.functional.distill import (
    attention_loss,
    binary_kd_loss,
    contrast_scores,
    crd_loss,
    dkd_loss,
    hint_loss,
    kd_loss,
    rkd_angle_loss,
    rkd_distance_loss,
    standardise_logits,
)

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def drawn(*shape, seed=0, scale=1.0, offset=0.0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale + offset


def pair(*shape, **options):
    return drawn(*shape, seed=1, **options).requires_grad_(), drawn(*shape, seed=2, **options)


@pytest.fixture
def theirs():
    """torchdistill's losses, where it is installed."""
    return pytest.importorskip("torchdistill.losses.mid_level")


def both(student, teacher):
    """Outputs in the form that torchdistill's losses read."""
    return {"layer": {"output": student}}, {"layer": {"output": teacher}}


def assert_like(loss, reference, student):
    """One value and one gradient."""
    torch.testing.assert_close(loss, reference, **CLOSE)
    ours, expected = (torch.autograd.grad(value, student)[0] for value in (loss, reference))
    torch.testing.assert_close(ours, expected, **CLOSE)


# torchdistill, on fixed tensors -------------------------------------------------------------------------------------


def test_kd_is_torchdistills(theirs):
    student, teacher = pair(16, 10, scale=3)
    label = torch.arange(16) % 10
    both_losses = theirs.KDLoss("layer", "output", "layer", "output", temperature=4.0, alpha=0.3)
    ours = 0.3 * F.cross_entropy(student, label) + 0.7 * kd_loss(student, teacher, 4.0)
    assert_like(ours, both_losses(*both(student, teacher), label), student)


def test_standardised_kd_is_torchdistills(theirs):
    student, teacher = pair(16, 10, scale=3, offset=2)
    reference = theirs.LogitStdKDLoss("layer", "output", "layer", "output", temperature=2.0, alpha=0.0)
    ours = kd_loss(standardise_logits(student), standardise_logits(teacher), 2.0)
    assert_like(ours, 4 * reference(*both(student, teacher)), student)


def test_attention_is_torchdistills(theirs):
    student, teacher = drawn(8, 6, 5, 5, seed=1).requires_grad_(), drawn(8, 12, 5, 5, seed=2)
    config = {"io": "output", "path": "layer"}
    reference = theirs.ATLoss({"pair": {"teacher": config, "student": config}}, mode="code")
    assert_like(attention_loss(student, teacher), reference(*both(student, teacher)), student)


@pytest.mark.parametrize("distance, angle", [(1.0, 0.0), (0.0, 1.0)])
def test_rkd_is_torchdistills(theirs, distance, angle):
    student, teacher = drawn(12, 7, seed=1).requires_grad_(), drawn(12, 20, seed=2)
    reference = theirs.RKDLoss("layer", "layer", distance, angle, "mean")(*both(student, teacher))
    assert_like((rkd_distance_loss if distance else rkd_angle_loss)(student, teacher), reference, student)


def test_crd_is_torchdistills(theirs):
    """Theirs draws negatives for each sample: here each is given the same."""
    torch.manual_seed(0)
    samples, k, size, index = 50, 12, 8, torch.arange(5, 11)
    reference = theirs.CRDLoss("layer", "empty", "layer", size, samples, k, samples)
    banks = [F.normalize(drawn(samples, size, seed=s)) for s in (3, 4)]
    reference.memory_v1.copy_(banks[0])
    reference.memory_v2.copy_(banks[1])
    student, teacher = (F.normalize(drawn(6, size, seed=s)) for s in (1, 2))
    student.requires_grad_()
    negatives = torch.arange(30, 30 + k)
    chosen = torch.cat([index.unsqueeze(1), negatives.expand(6, -1)], 1)
    outputs = both(student, teacher)
    outputs[0]["empty"] = {"input": {"pos_idx": index, "contrast_idx": chosen}}
    value = reference(*outputs)
    ours = 0
    for anchors, bank in ((student, banks[1]), (teacher, banks[0])):
        scores = contrast_scores(anchors, bank[index], bank[negatives])
        ours = ours + crd_loss(scores, scores.mean().detach() * samples, samples)
    assert_like(ours, value.squeeze(), student)


# the papers' formulas, in float64 and one number at a time -----------------------------------------------------------


def softened(logits, temperature):
    odds = [math.exp(x / temperature) for x in logits]
    return [o / sum(odds) for o in odds]


def divergence(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def test_kd_is_the_papers_formula():
    student, teacher = pair(5, 4, scale=2)
    rows = zip(student.tolist(), teacher.tolist(), strict=True)
    expected = sum(9 * divergence(softened(t, 3), softened(s, 3)) for s, t in rows) / 5
    assert kd_loss(student, teacher, 3.0).item() == pytest.approx(expected, rel=1e-5)


def test_dkd_is_the_papers_formula():
    student, teacher = pair(5, 4, scale=2)
    label, expected = [3, 0, 1, -1, 2], 0.0
    for s, t, y in zip(student.tolist(), teacher.tolist(), label, strict=True):
        y = t.index(max(t)) if y < 0 else y  # the teacher's choice where there is no label
        p, q = softened(t, 3), softened(s, 3)
        expected += 0.7 * divergence([p[y], 1 - p[y]], [q[y], 1 - q[y]])
        rest = [[x / (1 - r[y]) for i, x in enumerate(r) if i != y] for r in (p, q)]
        expected += 5 * divergence(*rest)
    loss = dkd_loss(student, teacher, torch.tensor(label), 0.7, 5.0, 3.0)
    assert loss.item() == pytest.approx(9 * expected / 5, rel=1e-5)


def test_decoupled_parts_weighted_as_in_kd_are_kd():
    """Equation 7 of Zhao et al.: KD = TCKD + (1 - p of the target) NCKD."""
    student, teacher = drawn(1, 6, seed=1), drawn(1, 6, seed=2)
    rest = 1 - F.softmax(teacher / 4, 1)[0, 2].item()
    loss = dkd_loss(student, teacher, torch.tensor([2]), 1.0, rest, 4.0)
    torch.testing.assert_close(loss, kd_loss(student, teacher, 4.0), **CLOSE)


def test_binary_kd_is_the_divergence_of_coins():
    student, teacher = pair(3, 2)
    expected = []
    for s, t in zip(student.flatten().tolist(), teacher.flatten().tolist(), strict=True):
        q, p = (1 / (1 + math.exp(-x / 2)) for x in (s, t))
        expected.append(4 * divergence([p, 1 - p], [q, 1 - q]))
    assert binary_kd_loss(student, teacher, 2.0).item() == pytest.approx(sum(expected) / 6, rel=1e-4)


def test_angles_and_distances_are_those_between_the_points():
    """Far from the origin, where products of uncentred vectors would have rounded the differences away."""
    student, teacher = drawn(9, 5, seed=1, offset=100), drawn(9, 5, seed=2, offset=100)

    def relations(x):
        x = x.double()
        steps = F.normalize(x.unsqueeze(0) - x.unsqueeze(1), dim=2)
        distances = torch.cdist(x, x)
        return distances / (distances.sum() / (9 * 8)), torch.einsum("jid,jkd->jik", steps, steps)

    expected = [F.smooth_l1_loss(s, t) for s, t in zip(relations(student), relations(teacher), strict=True)]
    for loss, value in zip((rkd_distance_loss, rkd_angle_loss), expected, strict=True):
        assert loss(student, teacher).item() == pytest.approx(value.item(), rel=1e-4)


# properties ----------------------------------------------------------------------------------------------------------


def test_a_student_like_its_teacher_has_nothing_to_learn():
    logits, features, maps = drawn(8, 5), drawn(8, 6), drawn(8, 3, 4, 4)
    label = torch.arange(8) % 5
    losses = [kd_loss(logits, logits), binary_kd_loss(logits, logits), dkd_loss(logits, logits, label)]
    losses += [hint_loss(maps, maps), attention_loss(maps, maps)]
    losses += [rkd_distance_loss(features, features), rkd_angle_loss(features, features)]
    torch.testing.assert_close(torch.stack(losses), torch.zeros(len(losses)), rtol=0, atol=1e-6)


def test_relations_see_neither_place_nor_scale_nor_rotation():
    student, teacher = drawn(10, 4, seed=1), drawn(10, 4, seed=2)
    turn, _ = torch.linalg.qr(drawn(4, 4, seed=3))
    moved = 7 * student @ turn + 3
    for loss in (rkd_distance_loss, rkd_angle_loss):
        torch.testing.assert_close(loss(moved, teacher), loss(student, teacher), **CLOSE)


def test_standardised_logits_see_neither_offset_nor_scale():
    logits = drawn(4, 7)
    torch.testing.assert_close(standardise_logits(3 * logits + 5), standardise_logits(logits), **CLOSE)


def test_the_larger_attention_map_is_averaged_down():
    student, teacher = drawn(4, 3, 8, 8, seed=1), drawn(4, 5, 4, 4, seed=2)
    small = student.square().mean(1, keepdim=True).unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5)).flatten(1)
    expected = F.mse_loss(F.normalize(small), F.normalize(teacher.square().mean(1).flatten(1)))
    torch.testing.assert_close(attention_loss(student, teacher), expected)


@pytest.mark.parametrize("loss", [rkd_distance_loss, rkd_angle_loss])
def test_equal_samples_give_finite_gradients(loss):
    for student in (torch.zeros(6, 4), drawn(3, 4).repeat(2, 1)):
        student.requires_grad_()
        value = loss(student, drawn(6, 8, seed=2))
        value.backward()
        assert value.isfinite() and student.grad.isfinite().all()


def test_sure_networks_give_finite_losses():
    sure = torch.tensor([[1000.0, 0.0, -1000.0]])
    for student in (sure, sure.flip(1)):
        student = student.clone().requires_grad_()
        loss = kd_loss(student, sure, 1.0) + dkd_loss(student, sure, torch.tensor([0]), temperature=1.0)
        loss.backward()
        assert loss.isfinite() and student.grad.isfinite().all()


@pytest.mark.parametrize("loss", [kd_loss, rkd_distance_loss, rkd_angle_loss])
def test_autocast_takes_nothing_to_half_precision(loss):
    student, teacher = drawn(16, 8, seed=1), drawn(16, 8, seed=2)
    with torch.autocast("cpu", torch.bfloat16):
        low = loss(student, teacher)
    torch.testing.assert_close(low, loss(student, teacher), rtol=0, atol=0)


def test_contrast_prefers_the_true_pair():
    """With the best scores there are, h of true pairs infinite and of others 0, nothing is lost."""
    assert crd_loss(torch.tensor([[1e9, 1e-9, 1e-9]]), 1.0, 2, eps=0.0).item() == pytest.approx(0, abs=1e-6)
    torch.manual_seed(0)
    own, other = (nn.Parameter(F.normalize(drawn(6, 4, seed=s))) for s in (1, 2))
    bank = F.normalize(drawn(20, 4, seed=3))
    for _ in range(200):
        scores = contrast_scores(F.normalize(own), other.detach(), bank, 0.5)
        crd_loss(scores, 20.0, 20).backward()
        own.data.sub_(own.grad)
        own.grad = None
    assert (F.normalize(own) * other).sum(1).min() > (F.normalize(own) @ bank.T).mean() + 0.5
