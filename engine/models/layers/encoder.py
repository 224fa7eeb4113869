"""A vision transformer whose trunk is shared by modalities, with adapters for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.errors import ShapeMismatch
from engine.models.layers.adapters import AdapterLayer
from engine.models.layers.attention import SelfAttention
from engine.models.layers.mixstyle import MixStyle
from engine.models.layers.patches import PatchEmbedding, fit_positions
from engine.models.layers.permute import PermuteMlp
from engine.trace import Tap

STYLED_BLOCKS = 3
"""MixStyle follows the first blocks of the trunk, as many as this, and never the last."""


class DropPath(nn.Module):
    """Drop a residual branch per sample in training (stochastic depth)."""

    def __init__(self, probability: float = 0.0) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, branch: Tensor) -> Tensor:
        """(B, ...) to (B, ...)."""
        if not self.training or self.probability == 0:
            return branch
        keep = 1 - self.probability
        shape = (len(branch),) + (1,) * (branch.ndim - 1)
        return branch * branch.new_empty(shape).bernoulli_(keep) / keep


class Mlp(nn.Module):
    """Linear, GELU, linear; timm's parameter names."""

    def __init__(self, dim: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim)
        self.drop = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        return self.drop(self.fc2(self.act(self.fc1(tokens))))


class TransformerBlock(nn.Module):
    """Pre-norm block: x += Ad1(MHSA(LN x)); x += Ad2(MLP(LN x)).

    The attention and the MLP serve all modalities; the adapters, inside the residual branches, are
    one set per modality. With zero-initialised adapters the block equals timm's ViT block.

    Args:
        dim: Width D. num_heads: Heads. mlp_ratio: Hidden width over D.
        adapter_dim: Adapter bottleneck; D // 4 when None.
        dropout: On attention, projection and MLP. drop_path: On the residual branches.
        modalities: Names of the adapter sets.
        is_last: Whether the input of its attention may be read as features.
        permute: Grid of patches of a third branch, x += PermuteMlp(LN x), which the class token
            bypasses and which is zero at the start; none when None.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        adapter_dim: int | None = None,
        dropout: float = 0.1,
        drop_path: float = 0.0,
        modalities: tuple[str, ...] = ("mammography",),
        *,
        is_last: bool = False,
        permute: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = SelfAttention(dim, num_heads, dropout)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), dropout)
        self.adapter1 = nn.ModuleDict({m: AdapterLayer(dim, adapter_dim) for m in modalities})
        self.adapter2 = nn.ModuleDict({m: AdapterLayer(dim, adapter_dim) for m in modalities})
        self.drop_path = DropPath(drop_path)
        self.features = Tap("features")
        self.is_last = is_last
        self.permute: PermuteMlp | None = None
        if permute is not None:
            self.norm3 = nn.LayerNorm(dim, eps=1e-6)
            self.permute = PermuteMlp(dim, permute)
            nn.init.zeros_(self.permute.proj.weight)
            nn.init.zeros_(self.permute.proj.bias)

    def forward(
        self,
        tokens: Tensor,
        modality: str | None = None,
        grid: tuple[int, int] | None = None,
    ) -> Tensor:
        """Tokens (B, N, D) of one modality (the only one when None) to (B, N, D).

        `grid`, rows and columns of patches, is read by the permute branch; its own when None.
        """
        modality = modality or next(iter(self.adapter1))
        normed = self.norm1(tokens)
        if self.is_last:
            normed = self.features(normed, modality)
        tokens = tokens + self.drop_path(self.adapter1[modality](self.attn(normed, modality)))
        tokens = tokens + self.drop_path(self.adapter2[modality](self.mlp(self.norm2(tokens))))
        return tokens if self.permute is None else self._permuted(tokens, self.permute, grid)

    def _permuted(
        self, tokens: Tensor, permute: PermuteMlp, grid: tuple[int, int] | None
    ) -> Tensor:
        rows, columns = grid or permute.grid
        patches = self.norm3(tokens[:, 1:]).unflatten(1, (rows, columns))
        return tokens + self.drop_path(F.pad(permute(patches).flatten(1, 2), (0, 0, 1, 0)))


class SharedViTEncoder(nn.Module):
    """One trunk for all modalities; a patch embedding, a token and adapters for each.

    Args:
        img_size: Side of the square image, pixels. The positional grid is learnt at this size and
            resized for others.
        patch_size: Side of a patch, pixels.
        in_channels: Channels, when there is one modality.
        embed_dim: Width D. depth: Blocks. num_heads: Heads. mlp_ratio: Hidden width over D.
        adapter_dim: Adapter bottleneck; D // 4 when None.
        dropout: In the blocks. drop_path: Rate of the last block, rising linearly from 0; 0.1 when
            None and depth >= 12, else 0.
        modality_type: Name of the modality, when there is one.
        modalities: Channels by modality, when there are several.
        stem: See `PatchEmbedding`.
        permute_mlp: Add permute branches to the blocks; images must then all have `img_size`.
        mixstyle: Probability that MixStyle mixes the patch tokens after each of the blocks 1 to 3
            (never the last), in training. mixstyle_alpha: See `MixStyle`.
    """

    def __init__(
        self,
        img_size: int = 224,
        patch_size: int = 16,
        in_channels: int = 1,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        adapter_dim: int | None = None,
        dropout: float = 0.1,
        modality_type: str = "mammography",
        *,
        modalities: Mapping[str, int] | None = None,
        drop_path: float | None = None,
        stem: str = "patch",
        permute_mlp: bool = False,
        mixstyle: float = 0.0,
        mixstyle_alpha: float = 0.1,
    ) -> None:
        super().__init__()
        channels = dict(modalities) if modalities else {modality_type: in_channels}
        names = tuple(channels)
        self.patch_size = patch_size
        self.channels = channels
        side = img_size // patch_size
        self.embed = nn.ModuleDict(
            {m: PatchEmbedding(c, embed_dim, patch_size, stem) for m, c in channels.items()}
        )
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.cls_position = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.positions = nn.Parameter(torch.zeros(1, side, side, embed_dim))
        self.modality_token = nn.ParameterDict(
            {m: nn.Parameter(torch.zeros(1, 1, embed_dim)) for m in names}
        )
        rate = (0.1 if depth >= 12 else 0.0) if drop_path is None else drop_path
        self.blocks = nn.ModuleList(
            TransformerBlock(
                embed_dim,
                num_heads,
                mlp_ratio,
                adapter_dim,
                dropout,
                rate * index / max(1, depth - 1),
                names,
                is_last=index == depth - 1,
                permute=(side, side) if permute_mlp else None,
            )
            for index in range(depth)
        )
        self.norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.mixstyle = MixStyle(mixstyle_alpha, mixstyle)
        self._initialise()

    def _initialise(self) -> None:
        for token in (self.cls_token, self.cls_position, self.positions):
            nn.init.trunc_normal_(token, std=0.02)
        for block in self.blocks:
            assert isinstance(block, TransformerBlock)
            for layer in (block.attn.qkv, block.attn.proj, block.mlp.fc1, block.mlp.fc2):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of patches of an image."""
        return height // self.patch_size, width // self.patch_size

    def _is_styled(self, index: int) -> bool:
        styled = min(STYLED_BLOCKS, len(self.blocks) - 1)
        return self.training and self.mixstyle.p > 0 and index < styled

    def _check(self, pixels: Tensor, modality: str) -> None:
        wanted = self.channels[modality]
        if pixels.ndim != 4 or pixels.shape[1] != wanted:
            raise ShapeMismatch(
                f"The {modality} input must have {wanted} channel(s), as (B, {wanted}, H, W); "
                f"it has shape {tuple(pixels.shape)}."
            )
        if pixels.shape[2] % self.patch_size or pixels.shape[3] % self.patch_size:
            raise ShapeMismatch(
                f"Image sides must be multiples of the patch size {self.patch_size}; "
                f"they are {pixels.shape[2]} and {pixels.shape[3]}."
            )

    @overload
    def forward(
        self,
        pixels: Tensor,
        return_patch_tokens: Literal[False] = False,
        *,
        modality: str | None = None,
        present: Tensor | None = None,
    ) -> Tensor: ...

    @overload
    def forward(
        self,
        pixels: Tensor,
        return_patch_tokens: Literal[True],
        *,
        modality: str | None = None,
        present: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]: ...

    def forward(
        self,
        pixels: Tensor,
        return_patch_tokens: bool = False,
        *,
        modality: str | None = None,
        present: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Encode images of one modality.

        Args:
            pixels: (B, C, H, W), normalised; sides are multiples of the patch size.
            return_patch_tokens: Also return the patch tokens.
            modality: Which embedding and adapters to use; the only one when None.
            present: (B,) bool, which of the images exist; MixStyle leaves the others alone.

        Returns:
            Class token (B, D); with patch tokens also (B, N, D), row by row.

        Raises:
            ShapeMismatch: Wrong number of channels, or sides that patches do not fill.
        """
        modality = modality or next(iter(self.channels))
        self._check(pixels, modality)
        patches = self.embed[modality](pixels)
        positions = fit_positions(self.positions, (patches.shape[2], patches.shape[3]))
        tokens = patches.flatten(2).transpose(1, 2) + positions.flatten(1, 2)
        first = (self.cls_token + self.cls_position).expand(len(tokens), -1, -1)
        tokens = torch.cat((first, tokens), dim=1) + self.modality_token[modality]
        grid = (patches.shape[2], patches.shape[3])
        for index, block in enumerate(self.blocks):
            tokens = block(tokens, modality, grid)
            if self._is_styled(index):
                tokens = torch.cat((tokens[:, :1], self.mixstyle(tokens[:, 1:], present)), dim=1)
        tokens = self.norm(tokens)
        return (tokens[:, 0], tokens[:, 1:]) if return_patch_tokens else tokens[:, 0]
