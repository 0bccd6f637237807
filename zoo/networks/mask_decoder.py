"""The small transformer that answers for hidden patches (He et al. 2022)."""

import torch
from torch import Tensor, nn

from zoo.functional.patches import positions_2d
from zoo.networks.vit import Block, XavierLinear, choose_heads


class MaskDecoder(nn.Module):
    """Encoded visible patches and the places of hidden ones to these patches' pixels.

    Each hidden patch is one learned token with the position of its place; tokens attend to all others.

    Args:
        encoder_width: Numbers of an encoded token, D.
        class_tokens: Number of class tokens before the patches', K; they have no place.
        grid: Patches along height and width.
        patch_size: Numbers of a patch, P.
        width: Numbers of a token in the decoder, a multiple of 4.
        depth: Number of blocks.
    """

    positions: Tensor

    def __init__(
        self, encoder_width: int, class_tokens: int, grid: tuple[int, int], patch_size: int, width: int, depth: int
    ) -> None:
        super().__init__()
        self.num_class_tokens = class_tokens
        self.embed = XavierLinear(encoder_width, width)
        self.mask_token = nn.Parameter(torch.empty(width))
        rows, columns = (torch.arange(n, device="cpu", dtype=torch.float32) for n in grid)
        self.register_buffer("positions", positions_2d(rows, columns, width), persistent=False)
        self.blocks = nn.Sequential(*(Block(width, choose_heads(width)) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = XavierLinear(width, patch_size)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Begin the mask token anew."""
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, tokens: Tensor, visible: Tensor, wanted: Tensor) -> Tensor:
        """Answers for some of the hidden patches.

        Args:
            tokens: Encoded tokens (B, K + V, D), class tokens first.
            visible: Numbers of the visible patches, (B, V) long.
            wanted: Numbers of the patches to answer for, (B, T) long.

        Returns:
            (B, T, P).
        """
        x = self.embed(tokens)
        k = self.num_class_tokens
        positions = self.positions.to(x.dtype)
        hidden = self.mask_token.to(x.dtype) + positions[wanted]
        x = torch.cat([x[:, :k], x[:, k:] + positions[visible], hidden], 1)
        return self.head(self.norm(self.blocks(x)[:, -wanted.shape[1] :]))
