"""Attention and class activation methods, plainly, in float64 NumPy, one image at a time.

A[l][h, i, j] is attention of layer l, D its gradient; a[k, r, c] an activation, g its gradient.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def raw_attention(A: Array, readers: list[int], patches: int) -> Array:
    """Mean over heads of the last layer, mean over the tokens that the class is read from."""
    heads, tokens, _ = A[-1].shape
    found = np.zeros(patches)
    for p in range(patches):
        j = tokens - patches + p
        for i in readers:
            for h in range(heads):
                found[p] += A[-1][h, i, j] / heads / len(readers)
    return found


def _product(steps: list[Array], readers: list[int], patches: int) -> Array:
    flow = np.eye(len(steps[0]))
    for step in steps:
        flow = step @ flow
    return flow[readers].mean(0)[-patches:]


def rollout(A: Array, readers: list[int], patches: int, fusion: str, ratio: float) -> Array:
    """Product of rownorm(fused + I), the lowest share of all entries dropped, the first kept."""
    steps = []
    for layer in A:
        fused = {"mean": layer.mean(0), "max": layer.max(0), "min": layer.min(0)}[fusion].copy()
        order = sorted(range(fused.size), key=lambda n: fused.flat[n])
        for n in order[: int(fused.size * ratio)]:
            if n != 0:
                fused.flat[n] = 0
        step = fused + np.eye(len(fused))
        for i in range(len(step)):
            step[i] /= step[i].sum()
        steps.append(step)
    return _product(steps, readers, patches)


def gradient_rollout(A: Array, D: Array, readers: list[int], patches: int) -> Array:
    """The same over (mean over heads of D * A)+."""
    steps = []
    for attention, slope in zip(A, D, strict=True):
        step = np.maximum((attention * slope).mean(0), 0) + np.eye(attention.shape[-1])
        steps.append(step / step.sum(1, keepdims=True))
    return _product(steps, readers, patches)


def relevance(A: Array, D: Array, readers: list[int], patches: int) -> Array:
    """R <- R + Abar R from R = I, without the I that was there before any attention."""
    total = np.eye(A[0].shape[-1])
    for attention, slope in zip(A, D, strict=True):
        layer = np.zeros_like(total)
        for h in range(len(attention)):
            layer += np.maximum(attention[h] * slope[h], 0) / len(attention)
        total = total + layer @ total
    return (total - np.eye(len(total)))[readers].mean(0)[-patches:]


def attention_gradcam(A: Array, D: Array, readers: list[int], patches: int) -> Array:
    """(mean over heads of mean gradient times attention)+ of the last layer's class row."""
    attention = A[-1][:, readers].mean(1)[:, -patches:]
    slope = D[-1][:, readers].mean(1)[:, -patches:]
    found = np.zeros(patches)
    for h in range(len(attention)):
        found += slope[h].mean() * attention[h] / len(attention)
    return np.maximum(found, 0)


def cam(name: str, a: Array, g: Array) -> Array:
    """The class activation family."""
    channels, rows, columns = a.shape
    found = np.zeros((rows, columns))
    for k in range(channels):
        if name == "hirescam":
            found += g[k] * a[k]
        elif name == "layercam":
            found += np.maximum(g[k], 0) * a[k]
        elif name == "gradcam":
            found += g[k].mean() * a[k]
        elif name == "xgradcam":
            found += (g[k] * a[k]).sum() / (a[k].sum() + 1e-7) * a[k]
        elif name == "gradcam_plus_plus":
            weight = 0.0
            for r in range(rows):
                for c in range(columns):
                    slope = g[k, r, c]
                    if slope != 0:
                        below = 2 * slope**2 + slope**3 * a[k].sum() + 1e-6
                        weight += max(slope, 0) * slope**2 / below
            found += weight * a[k]
    return np.maximum(found, 0)


def eigencam(a: Array) -> Array:
    """Projection of the centred activations on the leading eigenvector of their covariance."""
    places = a.reshape(len(a), -1).T
    centred = places - places.mean(0)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    along = centred @ vectors[:, np.argmax(values)]
    strength = np.linalg.norm(places, axis=1)
    if np.dot(along, strength - strength.mean()) < 0:
        along = -along
    return np.maximum(along, 0).reshape(a.shape[1:])
