import pytest
import torch
from sklearn.datasets import load_diabetes, load_digits
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler
from torch.nn import functional as F

from zoo.functional.probe import fit_logistic, fit_ridge


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    return torch.tensor(x).float()[:1000] + 3, torch.tensor(y)[:1000]


def gradients(loss, *parameters):
    return max(g.abs().max().item() for g in torch.autograd.grad(loss, parameters))


def standardised(x):
    return torch.tensor(StandardScaler().fit_transform(x.double()))


def on_standardised(weight, bias, x):
    """The same layer for standardised features: what the penalty is against."""
    scaler = StandardScaler().fit(x.double())
    scale, mean = torch.tensor(scaler.scale_), torch.tensor(scaler.mean_)
    return (weight.double() * scale).requires_grad_(), (bias + weight.double() @ mean).requires_grad_()


def test_logistic_regression_reaches_the_minimum(digits):
    x, labels = digits
    weight, bias = on_standardised(*fit_logistic(x, labels, l2=1e-2, steps=300), x)
    loss = F.cross_entropy(F.linear(standardised(x), weight, bias), labels) + 1e-2 * weight.square().sum()
    assert gradients(loss, weight, bias) < 1e-4


def test_fits_in_inference_mode(digits):
    """As where a Trainer validates."""
    with torch.inference_mode():
        x, labels = digits[0].clone(), digits[1].clone()
        weight, bias = fit_logistic(x, labels, l2=1e-2)
    torch.testing.assert_close((weight, bias), fit_logistic(*digits, l2=1e-2))


def test_weighted_classes_and_classes_without_samples(digits):
    x, labels = digits
    share = torch.linspace(0.5, 2, 12)
    weight, bias = on_standardised(*fit_logistic(x, labels, 12, 1e-2, 300, share), x)
    assert weight.shape == (12, 64) and bias.shape == (12,)
    output = F.linear(standardised(x), weight, bias)
    loss = F.cross_entropy(output, labels, share.double()) + 1e-2 * weight.square().sum()
    assert gradients(loss, weight, bias) < 1e-3


def test_many_labels_are_as_many_regressions(digits):
    x, labels = digits
    several = torch.stack([labels % 2 == 0, labels > 4], 1)
    weight, bias = fit_logistic(x, several.float(), l2=1e-3, steps=300)
    for column in (0, 1):
        # Ours: mean cross-entropy + l2 |w|^2. Theirs: C * sum of it + |w|^2 / 2.
        theirs = LogisticRegression(C=1 / (2 * 1e-3 * len(x)), max_iter=2000, tol=1e-8)
        expected = theirs.fit(standardised(x), several[:, column]).predict_proba(standardised(x))[:, 1]
        found = F.linear(x, weight, bias)[:, column].sigmoid()
        torch.testing.assert_close(found.double(), torch.tensor(expected), atol=1e-3, rtol=0)


def test_ridge_against_scikit_learn():
    x, y = (torch.tensor(v).float() for v in load_diabetes(return_X_y=True))
    y = torch.stack([y, -2 * y + 1], 1)
    weight, bias = fit_ridge(x, y, l2=0.1)
    theirs = Ridge(alpha=0.1 * len(x)).fit(standardised(x), y)
    expected = torch.tensor(theirs.predict(standardised(x))).float()
    torch.testing.assert_close(F.linear(x, weight, bias), expected, rtol=1e-4, atol=1e-2)
