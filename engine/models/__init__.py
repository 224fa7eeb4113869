"""Systems and their networks; the client's public names are importable from here."""

from engine.models.base import MODELS, Prepared, System, View
from engine.models.breast import BreastCancerDiagnosisModel
from engine.models.layers.adapters import AdapterLayer
from engine.models.layers.alignment import CrossModalAlignment, compute_contrastive_loss
from engine.models.layers.attention import CrossModalAttention
from engine.models.layers.encoder import SharedViTEncoder, TransformerBlock
from engine.models.layers.heads import ClassificationHead, GradingHead, LocalizationHead
from engine.models.layers.interpretability import InterpretabilityModule
from engine.models.layers.invariance import DomainGeneralization, IRMLoss
from engine.models.layers.losses import compute_bbox_loss
from engine.models.layers.mixstyle import MixStyle
from engine.models.layers.multitask import UncertaintyWeightedMultiTaskLoss
from engine.models.layers.ordinal import compute_ordinal_loss
from engine.registry import import_siblings

import_siblings(__name__, list(__path__))

__all__ = [
    "MODELS",
    "AdapterLayer",
    "BreastCancerDiagnosisModel",
    "ClassificationHead",
    "CrossModalAlignment",
    "CrossModalAttention",
    "DomainGeneralization",
    "GradingHead",
    "IRMLoss",
    "InterpretabilityModule",
    "LocalizationHead",
    "MixStyle",
    "Prepared",
    "SharedViTEncoder",
    "System",
    "TransformerBlock",
    "UncertaintyWeightedMultiTaskLoss",
    "View",
    "compute_bbox_loss",
    "compute_contrastive_loss",
    "compute_ordinal_loss",
]
