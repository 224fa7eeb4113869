"""Test-time adaptation: a trained model fitted to unlabelled cases of another place, guarded.

`choose` says which tensors may change, `objectives` what is minimised, `constraint` what ties them
to the source, `guards` when to give up. `adapter` puts these together for any classifier;
`session` adapts a copy of a system's network and reports; `candidate` writes it as a model.
"""

from engine.adaptation.adapter import CausalTTA
from engine.adaptation.candidate import save_candidate
from engine.adaptation.choose import choose_tensors
from engine.adaptation.errors import AdaptationRefused
from engine.adaptation.feeding import batch_of_cases
from engine.adaptation.objectives import METHODS
from engine.adaptation.session import Adaptation, adapt
from engine.adaptation.settings import AdaptationSettings

__all__ = [
    "METHODS",
    "Adaptation",
    "AdaptationRefused",
    "AdaptationSettings",
    "CausalTTA",
    "adapt",
    "batch_of_cases",
    "choose_tensors",
    "save_candidate",
]
