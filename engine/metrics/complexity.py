"""How concentrated a map is: sparseness, entropy, and the number of pixels that matter.

All depend on resolution: a smoothly enlarged map is less sparse than its grid.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.metrics.base import checked_map, scored
from engine.records import Score

Heat = NDArray[np.floating]
OFFSET = 1e-7
NO_HEAT = "The map is zero everywhere."


def sparseness(heat: Heat) -> Score:
    """Gini index of the magnitude, 0 (even) to nearly 1 (one pixel).

    Args:
        heat: (H, W), any real scale; 1e-7 is added to each magnitude, as in the source.

    Source:
        Chalasani et al., "Concise Explanations of Neural Networks", ICML 2020.
    """
    size = np.abs(checked_map(heat)).ravel()
    if not size.any():
        return scored("sparseness", None, size.size, note=NO_HEAT)
    ordered = np.sort(size + OFFSET)
    n = ordered.size
    weights = 2 * np.arange(1, n + 1) - n - 1
    value = float((weights * ordered).sum() / (n * ordered.sum()))
    return scored("sparseness", value, n, note=_grid(heat))


def entropy(heat: Heat) -> Score:
    """Entropy of the magnitudes as shares of their sum, nats; at most log(H W).

    Args:
        heat: (H, W), any real scale.

    Source:
        Bhatt et al., "Evaluating and Aggregating Feature-based Model Explanations", IJCAI 2020.
    """
    size = np.abs(checked_map(heat)).ravel()
    total = size.sum()
    if total == 0:
        return scored("entropy", None, size.size, note=NO_HEAT)
    shares = size[size > 0] / total
    value = float(-(shares * np.log(shares)).sum())
    note = f"An even map has {np.log(size.size):.3f}. {_grid(heat)}"
    return scored("entropy", value, size.size, note=note)


def effective_complexity(heat: Heat, threshold: float = 0.1) -> Score:
    """Number of pixels whose magnitude exceeds a threshold.

    Args:
        heat: (H, W).
        threshold: On the scale of the map.

    Source:
        Nguyen and Martinez, "On Quantitative Aspects of Model Interpretability", 2020.
    """
    size = np.abs(checked_map(heat))
    value = float((size > threshold).sum())
    note = f"Threshold {threshold:g}. {_grid(heat)}"
    return scored("effective_complexity", value, size.size, note=note)


def _grid(heat: Heat) -> str:
    return f"Measured on {heat.shape[0]} x {heat.shape[1]} pixels."
