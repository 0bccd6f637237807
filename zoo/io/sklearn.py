"""Trained modules as fitted estimators of scikit-learn."""

from typing import Any


def to_sklearn_pca(found: Any, whiten: bool) -> Any:
    """A fitted ``sklearn.decomposition.PCA``.

    Args:
        found: Object with scikit-learn's attributes as tensors: ``mean_``, ``components_``, ``explained_variance_`` ...
        whiten: Whether the estimator whitens.

    Raises:
        ValueError: the module is not fitted.
    """
    if not found.n_samples_:
        raise ValueError("the module is not fitted: fit it first")
    from sklearn.decomposition import PCA  # takes a second to import, so only here

    pca = PCA(found.n_components_, whiten=whiten)
    for name in ("mean_", "components_", "explained_variance_", "explained_variance_ratio_", "singular_values_"):
        setattr(pca, name, getattr(found, name).cpu().numpy())
    pca.noise_variance_, pca.n_samples_ = found.noise_variance_.item(), found.n_samples_
    pca.n_components_, pca.n_features_in_ = found.n_components_, found.components_.shape[1]
    return pca
