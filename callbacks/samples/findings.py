"""Measures of samples as findings: each beside what held-out images score."""

from collections.abc import Mapping

from zoo.core.findings import COUNT, NUMBER, PERCENT, Finding, Reference

SAMPLES = "samples"
# By metric: title, unit, whether more is better, and meaning.
_MEASURES = {
    "fid": ("FID", NUMBER, False, "distance of samples from training images in a network's features; less is better. "
            "Of this run's own network, so not comparable with papers"),
    "kid": ("KID", NUMBER, False, "the same by a kernel, whatever the number of samples; 0 is best"),
    "precision": ("precision", PERCENT, True, "samples that look real; more is better"),
    "recall": ("recall", PERCENT, True, "real images that samples reach; more is better"),
    "class_kl": ("KL of classes", NUMBER, False, "how unlike the data's classes the samples' are, in nats; 0 is best"),
}  # fmt: skip


def sample_findings(found: Mapping[str, float], n: int, classes: int) -> list[Finding]:
    """Findings of samples.

    Args:
        found: Measures by metric, those of held-out images as "fid_real", ..., and "fid_gaussian".
        n: Number of samples.
        classes: Number of the data's classes; 0 without.
    """
    findings = [_finding(metric, found, n) for metric in _MEASURES if metric in found]
    if "modes" in found:
        text = "classes with at least one sample; fewer is a mode collapse"
        all_of_them = (Reference("classes of the data", float(classes)),)
        findings.append(Finding(SAMPLES, "classes reached", found["modes"], text, COUNT, n, None, all_of_them,
                                metric="modes", note=f"of {classes}"))  # fmt: skip
    if "diversity" in found:
        text = "variance of the samples; 0 is a single image"
        real = (Reference("training images", 1.0),)
        findings.append(Finding(SAMPLES, "diversity", found["diversity"], text, NUMBER, n, None, real,
                                metric="diversity"))  # fmt: skip
    if "memorised" in found:
        text = "samples that are nearer to a training image than nearly all new images are; more are memorised"
        new = (Reference("new images", 0.05),)
        findings.append(Finding(SAMPLES, "copies", found["memorised"], text, PERCENT, n, None, new, False,
                                metric="memorised"))  # fmt: skip
    return findings


def _finding(metric: str, found: Mapping[str, float], n: int) -> Finding:
    title, unit, more_is_better, meaning = _MEASURES[metric]
    references = [Reference("real images", found[f"{metric}_real"])] if f"{metric}_real" in found else []
    if f"{metric}_gaussian" in found:
        references.append(Reference("Gaussian of the pixels", found[f"{metric}_gaussian"], baseline=True))
    return Finding(SAMPLES, title, found[metric], meaning, unit, n, None, tuple(references), more_is_better, metric)
