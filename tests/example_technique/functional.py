"""The calculations of a linear autoencoder with tied weights, whose optimum spans the first principal components."""

from torch import Tensor


def linear_reconstruction(codes: Tensor, weight: Tensor) -> Tensor:
    """Codes (B, D) through the transposed weight (D, F) of the encoder to features (B, F)."""
    return codes @ weight


def squared_error(output: Tensor, x: Tensor) -> Tensor:
    """Mean over the batch of squared distances between rows (B, F)."""
    return (output - x).square().sum(1).mean()
