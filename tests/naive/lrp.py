"""Transformer attribution written out once more: one image, NumPy float64, entry by entry.

A plain pre-norm ViT with LayerScale, from its weights by timm's names; tokens (N, D).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

Array = NDArray[np.float64]
Weights = Mapping[str, Array]


def divide(a: float, b: float) -> float:
    return 0.0 if b == 0 else a / (b + 1e-9)


def norm(x: Array, scale: Array, shift: Array) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6) * scale + shift


class Vit:
    """Forward with everything kept that the way back needs; `fixed` replaces attentions."""

    def __init__(self, weights: Weights, heads: int, depth: int) -> None:
        self.weights, self.heads, self.depth = weights, heads, depth

    def linear(self, x: Array, name: str) -> Array:
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def norm(self, x: Array, name: str) -> Array:
        return norm(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def forward(self, x: Array, fixed: Mapping[int, Array]) -> tuple[Array, list[dict[str, Array]]]:
        kept = []
        for layer in range(self.depth):
            name = f"blocks.{layer}"
            k: dict[str, Array] = {"x": x, "n1": self.norm(x, f"{name}.norm1")}
            qkv = self.linear(k["n1"], f"{name}.attn.qkv")
            q, key, v = qkv.reshape(len(x), 3, self.heads, -1).transpose(1, 2, 0, 3)
            q = q / np.sqrt(q.shape[-1])  # scaled before the product, as timm does
            powers = np.exp(q @ key.transpose(0, 2, 1))
            a = fixed.get(layer, powers / powers.sum(-1, keepdims=True))
            k |= {"q": q, "k": key, "v": v, "a": a}
            k["o"] = (a @ v).transpose(1, 0, 2).reshape(len(x), -1)
            k["branch1"] = self.linear(k["o"], f"{name}.attn.proj")
            k["branch1"] = k["branch1"] * self.weights[f"{name}.ls1.gamma"]
            k["middle"] = x + k["branch1"]
            k["n2"] = self.norm(k["middle"], f"{name}.norm2")
            hidden = self.linear(k["n2"], f"{name}.mlp.fc1")
            k["hidden"] = hidden * (1 + erf(hidden / np.sqrt(2))) / 2
            k["branch2"] = self.linear(k["hidden"], f"{name}.mlp.fc2")
            k["branch2"] = k["branch2"] * self.weights[f"{name}.ls2.gamma"]
            x = k["middle"] + k["branch2"]
            kept.append(k)
        return self.linear(self.norm(x, "norm")[:1], "head")[0], kept


def back_linear(relevance: Array, x: Array, weight: Array) -> Array:
    found = np.zeros_like(x)
    for token in range(len(x)):
        for out in range(len(weight)):
            given = [max(x[token, i] * weight[out, i], 0.0) for i in range(x.shape[1])]
            share = divide(relevance[token, out], sum(given))
            for i, part in enumerate(given):
                found[token, i] += part * share
    return found


def back_product(relevance: Array, one: Array, other: Array) -> tuple[Array, Array]:
    first, second, value = np.zeros_like(one), np.zeros_like(other), one @ other
    for i, j in np.ndindex(value.shape):
        share = divide(relevance[i, j], value[i, j]) / 2
        for k in range(one.shape[1]):
            first[i, k] += one[i, k] * other[k, j] * share
            second[k, j] += one[i, k] * other[k, j] * share
    return first, second


def back_sum(relevance: Array, one: Array, other: Array) -> tuple[Array, Array]:
    first, second = np.zeros_like(one), np.zeros_like(one)
    for at in np.ndindex(one.shape):
        share = divide(relevance[at], one[at] + other[at])
        first[at], second[at] = one[at] * share, other[at] * share
    whole = abs(first.sum()) + abs(second.sum())
    return tuple(  # type: ignore[return-value]
        part * divide(divide(abs(part.sum()), whole) * relevance.sum(), part.sum())
        for part in (first, second)
    )


def relevances(vit: Vit, tokens: Array, target: int) -> list[Array]:
    """Relevance of each attention matrix, (H, N, N), input side first."""
    logits, kept = vit.forward(tokens, {})
    last = vit.norm(kept[-1]["middle"] + kept[-1]["branch2"], "norm")
    start = np.eye(len(logits))[target][None]
    arriving = np.zeros_like(tokens)
    arriving[:1] = back_linear(start, last[:1], vit.weights["head.weight"])
    found = []
    for layer in reversed(range(vit.depth)):
        k, name = kept[layer], f"blocks.{layer}"
        stay, branch = back_sum(arriving, k["middle"], k["branch2"])
        branch = back_linear(branch, k["hidden"], vit.weights[f"{name}.mlp.fc2.weight"])
        middle = stay + back_linear(branch, k["n2"], vit.weights[f"{name}.mlp.fc1.weight"])
        stay, branch = back_sum(middle, k["x"], k["branch1"])
        branch = back_linear(branch, k["o"], vit.weights[f"{name}.attn.proj.weight"])
        branch = branch.reshape(len(tokens), vit.heads, -1).transpose(1, 0, 2)
        parts: dict[str, list[Array]] = {"a": [], "q": [], "k": [], "v": []}
        for head in range(vit.heads):
            at_a, at_v = back_product(branch[head], k["a"][head], k["v"][head])
            at_q, at_k = back_product(at_a, k["q"][head], k["k"][head].T)
            for key, part in zip("aqkv", (at_a, at_q, at_k.T, at_v), strict=True):
                parts[key].append(part)
        found.append(np.stack(parts["a"]))
        qkv = np.stack([np.stack(parts[key]) for key in "qkv"])
        qkv = qkv.transpose(2, 0, 1, 3).reshape(len(tokens), -1)
        arriving = stay + back_linear(qkv, k["n1"], vit.weights[f"{name}.attn.qkv.weight"])
    return found[::-1]


def gradients(vit: Vit, tokens: Array, target: int, step: float = 1e-4) -> list[Array]:
    """Central differences of the logit by each entry of each attention matrix."""
    _, kept = vit.forward(tokens, {})
    found = []
    for layer, k in enumerate(kept):
        slope = np.zeros_like(k["a"])
        for at in np.ndindex(slope.shape):
            answers = []
            for sign in (1, -1):
                moved = k["a"].copy()
                moved[at] += sign * step
                answers.append(vit.forward(tokens, {layer: moved})[0][target])
            slope[at] = (answers[0] - answers[1]) / (2 * step)
        found.append(slope)
    return found


def attribution(vit: Vit, tokens: Array, target: int) -> Array:
    """(I + C_L) ... (I + C_1), (N, N)."""
    flow = np.eye(len(tokens))
    layers = zip(gradients(vit, tokens, target), relevances(vit, tokens, target), strict=True)
    for gradient, relevance in layers:
        flow = flow + np.maximum(gradient * relevance, 0).mean(0) @ flow
    return flow
