"""MixStyle: training samples that wear the contrast and brightness statistics of one another.

Source:
    Zhou et al., "Domain Generalization with MixStyle", ICLR 2021.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Beta


def mix_styles(x: Tensor, lam: Tensor, perm: Tensor, eps: float = 1e-6) -> Tensor:
    """Give each sample statistics between its own and another sample's.

    Args:
        x: (B, C, H, W), statistics over H and W; or patch tokens (B, N, D), statistics over N.
        lam: (B,) in [0, 1], the weight of a sample's own statistics.
        perm: (B,) int, whose statistics are mixed in. eps: Added to the unbiased variance.

    Returns:
        The shape and type of `x`. Statistics are constants of the backward pass.
    """
    values = x.double() if x.dtype == torch.float64 else x.float()
    places = (2, 3) if x.ndim == 4 else (1,)
    fixed = values.detach()
    centre = fixed.mean(places, keepdim=True)
    spread = (fixed.var(places, keepdim=True) + eps).sqrt()
    own = lam.to(values.dtype).view(-1, *(1,) * (x.ndim - 1))
    mixed_spread = own * spread + (1 - own) * spread[perm]
    mixed_centre = own * centre + (1 - own) * centre[perm]
    return ((values - centre) / spread * mixed_spread + mixed_centre).to(x.dtype)


class MixStyle(nn.Module):
    """Mix styles within a batch, in training mode only.

    Args:
        alpha: Of Beta(alpha, alpha), from which each sample's weight is drawn. 0.1 is U-shaped:
            little mixing; a larger alpha mixes more.
        p: Probability that a batch is mixed at all.
    """

    def __init__(self, alpha: float = 0.1, p: float = 0.5) -> None:
        super().__init__()
        self.alpha = alpha
        self.p = p

    def forward(self, x: Tensor, present: Tensor | None = None) -> Tensor:
        """(B, C, H, W), or patch tokens (B, N, D) without class token, to the same shape.

        Samples that are not `present`, (B,) bool, keep their style and lend it to none.
        """
        if not self.training or self.p <= 0 or len(x) < 2 or float(torch.rand(())) >= self.p:
            return x
        lam = Beta(self.alpha, self.alpha).sample((len(x),)).to(x.device)
        everyone = torch.arange(len(x), device=x.device)
        rows = everyone if present is None else everyone[present]
        perm = everyone.clone()
        perm[rows] = rows[torch.randperm(len(rows)).to(x.device)]
        return mix_styles(x, lam, perm)
