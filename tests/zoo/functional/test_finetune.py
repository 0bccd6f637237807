import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

from zoo.functional.finetune import (
    balanced_class_weights,
    classification_loss,
    interpolate,
    is_labelled,
    l2_sp_distance,
    mixup,
    multilabel_loss,
    regression_loss,
)

GENERATOR = torch.Generator().manual_seed(0)
OUTPUT = torch.randn(6, 3, generator=GENERATOR)
LABELS = torch.tensor([0, 2, -1, 1, 1, -1])
SEVERAL = torch.tensor([[1.0, 0, 1], [0, 0, 0], [float("nan")] * 3, [0, 1, 1], [1, 1, 1], [0, 0, 1]])


def test_classification_is_scikit_learns_log_loss_over_the_labelled():
    chosen = LABELS >= 0
    probabilities = OUTPUT.double().softmax(1)[chosen].numpy()
    assert torch.equal(is_labelled(LABELS), chosen)
    assert classification_loss(OUTPUT, LABELS).item() == pytest.approx(
        log_loss(LABELS[chosen].numpy(), probabilities, labels=[0, 1, 2]), rel=1e-5
    )
    weight = torch.tensor([0.5, 2.0, 1.0])
    expected = log_loss(LABELS[chosen], probabilities, labels=[0, 1, 2], sample_weight=weight[LABELS[chosen]])
    assert classification_loss(OUTPUT, LABELS, weight).item() == pytest.approx(expected, rel=1e-5)


def test_smoothing_mixes_the_label_with_all_classes():
    chosen = LABELS >= 0
    target = F.one_hot(LABELS[chosen], 3) * 0.9 + 0.1 / 3
    expected = -(target * OUTPUT[chosen].double().log_softmax(1)).sum(1).mean()
    found = classification_loss(OUTPUT, LABELS, smoothing=0.1)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=0)


def test_several_labels_are_a_regression_each():
    chosen = is_labelled(SEVERAL)
    assert chosen.tolist() == [True, True, False, True, True, True]
    p = OUTPUT[chosen].double().sigmoid().numpy()
    losses = [log_loss(SEVERAL[chosen][:, c].numpy(), p[:, c], labels=[0, 1]) for c in range(3)]
    assert multilabel_loss(OUTPUT, SEVERAL).item() == pytest.approx(np.mean(losses), rel=1e-5)


def test_regression_is_the_squared_error():
    expected = (OUTPUT - SEVERAL)[is_labelled(SEVERAL)].square().mean()
    torch.testing.assert_close(regression_loss(OUTPUT, SEVERAL), expected)


@pytest.mark.parametrize("of_task", [classification_loss, multilabel_loss, regression_loss])
def test_unlabelled_samples_alone_cost_nothing_and_pull_nothing(of_task):
    output = OUTPUT.clone().requires_grad_()
    labels = torch.full_like(LABELS, -1) if of_task is classification_loss else torch.full_like(SEVERAL, float("nan"))
    loss = of_task(output, labels)
    (gradient,) = torch.autograd.grad(loss, output)
    assert loss == 0 and (gradient == 0).all()


def test_balanced_weights_against_scikit_learn():
    labels = torch.tensor([0] * 7 + [1] * 2 + [2] * 4 + [-1] * 5)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels[labels >= 0].numpy())
    torch.testing.assert_close(balanced_class_weights(labels, 3), torch.tensor(expected).float())
    assert balanced_class_weights(labels, 4)[3] == 1
    torch.testing.assert_close(balanced_class_weights(SEVERAL, 3), torch.tensor([3 / 2, 3 / 2, 1 / 4]))


def test_mixed_samples_lie_between_two_and_the_first_weighs_more():
    torch.manual_seed(0)
    x = torch.randn(64, 5)
    shares = []
    for _ in range(200):
        mixed, order, share = mixup(x, 0.4)
        torch.testing.assert_close(mixed, share * x + (1 - share) * x[order])
        shares.append(share.item())
    assert sorted(order.tolist()) == list(range(64)) and min(shares) >= 0.5
    drawn = np.random.default_rng(0).beta(0.4, 0.4, 100_000)
    assert np.mean(shares) == pytest.approx(np.maximum(drawn, 1 - drawn).mean(), abs=0.03)


def test_distance_and_weights_between():
    first = {"a": torch.zeros(2, 2), "n": torch.tensor(1)}
    second = {"a": torch.full((2, 2), 2.0), "n": torch.tensor(5)}
    assert l2_sp_distance([first["a"]], [second["a"]]) == 16
    between = interpolate(first, second, 0.25)
    assert torch.equal(between["a"], torch.full((2, 2), 0.5)) and between["n"] == 5
