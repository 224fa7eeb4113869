"""Likeness and complexity of maps as plain loops in float64."""

from __future__ import annotations

import math

import numpy as np

Array = np.ndarray


def ranks(values: Array) -> list[float]:
    """Mean rank of each value, from 1."""
    flat = [float(v) for v in np.asarray(values).ravel()]
    return [
        sum(other < value for other in flat) + (sum(other == value for other in flat) + 1) / 2
        for value in flat
    ]


def spearman(a: Array, b: Array) -> float:
    """Pearson correlation of the ranks."""
    x, y = ranks(a), ranks(b)
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    xy = sum((p - mean_x) * (q - mean_y) for p, q in zip(x, y, strict=True))
    xx = sum((p - mean_x) ** 2 for p in x)
    yy = sum((q - mean_y) ** 2 for q in y)
    return xy / math.sqrt(xx * yy)


def scaled(heat: Array) -> Array:
    """From 0 to 1."""
    heat = np.asarray(heat, dtype=np.float64)
    return (heat - heat.min()) / (heat.max() - heat.min())


def ssim(a: Array, b: Array, data_range: float) -> float:
    """Mean over windows of 11 x 11 that lie in the map."""
    weights = np.zeros((11, 11))
    for i in range(11):
        for j in range(11):
            weights[i, j] = math.exp(-((i - 5) ** 2 + (j - 5) ** 2) / (2 * 1.5**2))
    weights /= weights.sum()
    x, y = scaled(a), scaled(b)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    values = []
    for row in range(x.shape[0] - 10):
        for column in range(x.shape[1] - 10):
            p, q = x[row : row + 11, column : column + 11], y[row : row + 11, column : column + 11]
            mp, mq = (weights * p).sum(), (weights * q).sum()
            vp = ((weights * p * p).sum() - mp * mp) * 121 / 120
            vq = ((weights * q * q).sum() - mq * mq) * 121 / 120
            pq = ((weights * p * q).sum() - mp * mq) * 121 / 120
            above = (2 * mp * mq + c1) * (2 * pq + c2)
            values.append(above / ((mp * mp + mq * mq + c1) * (vp + vq + c2)))
    return sum(values) / len(values)


def edge_histogram(heat: Array, cell: int) -> list[float]:
    """Histograms of oriented gradients, pixel by pixel."""
    height, width = heat.shape
    rows, columns = height // cell, width // cell
    cells = np.zeros((rows, columns, 9))
    for r in range(rows * cell):
        for c in range(columns * cell):
            down = heat[r + 1, c] - heat[r - 1, c] if 0 < r < height - 1 else 0.0
            across = heat[r, c + 1] - heat[r, c - 1] if 0 < c < width - 1 else 0.0
            angle = math.degrees(math.atan2(down, across)) % 180
            length = math.hypot(down, across)
            cells[r // cell, c // cell, min(8, int(angle // 20))] += length / cell**2
    features: list[float] = []
    for r in range(max(1, rows - 2)):
        for c in range(max(1, columns - 2)):
            block = cells[r : r + 3, c : c + 3].ravel()
            block = block / math.sqrt((block**2).sum() + 1e-10)
            block = np.minimum(block, 0.2)
            features.extend(block / math.sqrt((block**2).sum() + 1e-10))
    return features


def iou_of_top(a: Array, b: Array, share: float) -> float:
    """IoU of the hottest pixels."""
    count = max(1, round(share * a.size))
    tops = []
    for heat in (a, b):
        flat = [float(v) for v in heat.ravel()]
        tops.append(set(sorted(range(len(flat)), key=lambda i: -flat[i])[:count]))
    return len(tops[0] & tops[1]) / len(tops[0] | tops[1])


def gini(heat: Array) -> float:
    """Mean absolute difference of all pairs, over twice the mean."""
    flat = [abs(float(v)) + 1e-7 for v in heat.ravel()]
    n = len(flat)
    total = sum(abs(a - b) for a in flat for b in flat)
    return total / (2 * n * sum(flat))


def entropy(heat: Array) -> float:
    """Of the shares of the magnitude."""
    flat = [abs(float(v)) for v in heat.ravel()]
    shares = [v / sum(flat) for v in flat]
    return -sum(p * math.log(p) for p in shares if p > 0)
