"""Weighted Permute-MLP: tokens mixed along rows, along columns and within themselves.

Source:
    Hou et al., "Vision Permutator", IEEE TPAMI 45, 2023.
"""

from __future__ import annotations

from torch import Tensor, nn

from engine.errors import ShapeMismatch


class PermuteMlp(nn.Module):
    """Three linear maps, over (height, S), (width, S) and channels, weighted and projected.

    The channels are cut into segments of S = D / segments; a map over a side of length n acts on
    n S values. The paper ties segments to n, so that n S = D; here they are free.

    Args:
        dim: Width D. grid: Rows and columns of tokens; the maps fit no other grid.
        segments: A divisor of D; 16 when None and 16 divides D, else D's largest divisor below it.
    """

    def __init__(self, dim: int, grid: tuple[int, int], segments: int | None = None) -> None:
        super().__init__()
        self.segments = segments or next(n for n in range(16, 0, -1) if dim % n == 0)
        if dim % self.segments:
            raise ValueError(f"width {dim} cannot be cut into {self.segments} segments")
        self.grid = grid
        share = dim // self.segments
        self.mlp_c = nn.Linear(dim, dim, bias=False)
        self.mlp_h = nn.Linear(grid[0] * share, grid[0] * share, bias=False)
        self.mlp_w = nn.Linear(grid[1] * share, grid[1] * share, bias=False)
        self.reweight = nn.Sequential(
            nn.Linear(dim, dim // 4), nn.GELU(), nn.Linear(dim // 4, 3 * dim)
        )
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, h, w, D) to (B, h, w, D).

        Raises:
            ShapeMismatch: Another grid than that of the layer.
        """
        batch, rows, columns, dim = tokens.shape
        if (rows, columns) != self.grid:
            raise ShapeMismatch(
                f"The permute layers were made for {self.grid[0]} x {self.grid[1]} patches; "
                f"this image has {rows} x {columns}."
            )
        cut = tokens.reshape(batch, rows, columns, self.segments, -1)
        share = cut.shape[-1]
        tall = cut.permute(0, 2, 3, 1, 4).reshape(batch, columns, self.segments, rows * share)
        tall = self.mlp_h(tall).reshape(batch, columns, self.segments, rows, share)
        along_height = tall.permute(0, 3, 1, 2, 4).reshape(batch, rows, columns, dim)
        wide = cut.permute(0, 1, 3, 2, 4).reshape(batch, rows, self.segments, columns * share)
        wide = self.mlp_w(wide).reshape(batch, rows, self.segments, columns, share)
        along_width = wide.permute(0, 1, 3, 2, 4).reshape(batch, rows, columns, dim)
        within = self.mlp_c(tokens)
        pooled = (along_height + along_width + within).mean((1, 2))
        weights = self.reweight(pooled).reshape(batch, 1, 1, dim, 3).softmax(-1)
        mixed = along_height * weights[..., 0] + along_width * weights[..., 1]
        return self.proj(mixed + within * weights[..., 2])
