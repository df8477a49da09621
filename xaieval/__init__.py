"""xaieval: which explanation of this model can I trust?"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xaieval.api import evaluate, explain
    from xaieval.classifier import Classifier

__version__ = "0.1.0"
__all__ = ["Classifier", "evaluate", "explain"]

_HOMES = {"Classifier": "xaieval.classifier", "evaluate": "xaieval.api", "explain": "xaieval.api"}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: torch takes seconds."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
