"""Layer-wise relevance through any transformer of ordinary torch functions, model untouched.

`LrpMode` watches one forward pass. Behind every operation it puts a switch: going back, the same
graph yields either true gradients or relevance, as the sweep asks. Rules are those of alpha = 1:
linear layers by positive contributions without bias, products of two tensors half to each factor,
residual sums in proportion with both branches rescaled image by image, elementwise functions and
norms the identity, moves of elements their own transpose. A step without a rule refuses, but only
when relevance arrives there.

Source: Chefer, Gur and Wolf, "Transformer Interpretability Beyond Attention Visualization",
CVPR 2021. Deviations: residual totals are per image, where the paper's code sums over the batch;
a mean over tokens follows the linear rule; a bias on attention scores takes no relevance.
"""

from engine.lrp.mode import Layer, LrpMode, propagate
from engine.lrp.rules import transformer_attribution

__all__ = ["Layer", "LrpMode", "propagate", "transformer_attribution"]
