"""Which methods a model supports: found by trying each of them on it, never by a list of names."""

from __future__ import annotations

from xaieval.component import Method
from xaieval.explicand import Explicand
from xaieval.laws.components import limited
from xaieval.unsupported import UnsupportedError

BUDGET = {"samples": 4, "steps": 2, "designs": 2, "grid": 3, "candidates": 2}
"""Largest values of fields, by name, of a method that is tried."""


def refusal(explicand: Explicand, method: Method) -> str:
    """Why a method does not explain the model of these samples, in the words of a run's rows; empty where it does.

    The method is tried with a small budget. What it refuses because of a sample's own values is seen on these alone.
    """
    try:
        finite = limited(method, BUDGET).tried(explicand).isfinite().all()
    except UnsupportedError as refused:
        return refused.reason
    return "" if finite else "the map holds NaN or infinite scores"
