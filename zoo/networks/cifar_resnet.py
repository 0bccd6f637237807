"""ResNets for small images, as for CIFAR: a stem of 3 x 3 without pooling."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from zoo.networks.conv import norm_layer

_STEM_STRIDES = {1: 16, 2: 48, 4: 10**9}  # and the longest of an image's shorter side


class CIFARResNet(nn.Sequential):
    """(B, C, H, W) of any size to features (B, F): residual blocks, then the mean over positions (He et al. 2016).

    With ``blocks`` [2, 2, 2, 2], ``width`` 64 and ``stem_stride`` 1 it is ResNet-18 for small images (Chen et al.
    2020, appendix B.9). The defaults are a fiftieth of its work.

    Args:
        input_shape: Shape of one image, (C, H, W).
        width: Channels of the first stage, which double at each further one. A multiple of 8.
        blocks: Number of residual blocks of each stage; all stages but the first halve the sides.
        stem_stride: Stride of the stem, 1, 2 or 4; None is 1 for images up to 16 pixels a side, 2 up to 48, and 4.
        norm: Norm: "batch", or "group", which looks at each image alone.

    ``feature_dim`` is F, the channels of the last stage.

    Raises:
        ValueError: ``input_shape`` is not of an image, or an unknown norm.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        width: int = 32,
        blocks: Sequence[int] = (1, 1, 1),
        stem_stride: int | None = None,
        norm: Literal["batch", "group"] = "batch",
    ) -> None:
        if len(input_shape) != 3:
            raise ValueError(f"network 'cifar_resnet' takes images (C, H, W); got {tuple(input_shape)}: use 'mlp'")
        stride = stem_stride or next(s for s, most in _STEM_STRIDES.items() if min(input_shape[1:]) <= most)
        kernel = max(3, 2 * stride - 1)  # every pixel is seen; of stride 4 it is ResNet's own 7 x 7
        stem = nn.Conv2d(input_shape[0], width, kernel, stride, padding=kernel // 2, bias=False)
        stages, channels = [nn.Sequential(stem, norm_layer(norm, width), nn.ReLU(inplace=True))], width
        for number, count in enumerate(blocks):
            after, stride = width * 2**number, min(2, number + 1)
            rest = [_Block(after, after, 1, norm) for _ in range(count - 1)]
            stages.append(nn.Sequential(_Block(channels, after, stride, norm), *rest))
            channels = after
        super().__init__(*stages)
        self.feature_dim = channels

    def forward_features(self, x: Tensor) -> Tensor:
        """Maps (B, F, h, w), before the mean over positions."""
        return super().forward(x)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return self.forward_features(x).mean((2, 3))


class _Block(nn.Module):
    """Two 3 x 3 convolutions and a shortcut, which is a 1 x 1 convolution where the shape changes."""

    def __init__(self, before: int, after: int, stride: int, norm: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.norm1 = norm_layer(norm, after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm2 = norm_layer(norm, after)
        self.shortcut: nn.Module = nn.Identity()
        if before != after or stride != 1:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), norm_layer(norm, after))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        return F.relu(self.norm2(self.conv2(y)).add_(self.shortcut(x)), inplace=True)
