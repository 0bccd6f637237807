import pytest
import torch

from callbacks.samples.findings import sample_findings
from callbacks.samples.metrics import gaussian_images
from zoo.core.findings import Headline, answer_of, write


def test_scores_stand_beside_real_images_and_the_gaussian():
    found = {"fid": 7.9, "fid_real": 0.4, "fid_gaussian": 6.3, "precision": 0.37, "precision_real": 0.86, "modes": 9.0,
             "memorised": 0.0, "diversity": 0.9}  # fmt: skip
    findings = {finding.metric: finding for finding in sample_findings(found, 359, 10)}
    assert [reference.value for reference in findings["fid"].references] == [0.4, 6.3]
    assert write(findings["modes"]) == "9 of 10" and findings["modes"].references[0].value == 10
    assert write(findings["precision"]) == "37.0 %" and findings["memorised"].references[0].value == 0.05
    assert not findings["memorised"].higher_is_better and "kid" not in findings
    verdict = answer_of(Headline(("samples",), "Are the samples good?"), findings.values(), "images").verdict
    assert verdict == ("No", "FID 7.9, Gaussian of the pixels 6.3 (359 images)")


def test_the_gaussian_has_the_images_mean_and_covariance():
    base = torch.randn(400, 3, generator=torch.Generator().manual_seed(1)) @ torch.tensor(
        [[9.0, 5, 0, 0], [0, 7, 3, 0], [0, 0, 4, 8]]
    )
    images = (base + 120).round().clamp(0, 255).to(torch.uint8).view(400, 1, 2, 2)
    drawn = gaussian_images(images, 20_000).flatten(1).double()
    rows = images.flatten(1).double()
    assert drawn.mean(0) == pytest.approx(rows.mean(0), abs=0.3)
    assert drawn.T.cov().flatten() == pytest.approx(rows.T.cov().flatten(), abs=4)
    assert torch.equal(gaussian_images(images, 5), gaussian_images(images, 5))
    assert gaussian_images(images[:1], 3).shape == (3, 1, 2, 2)
