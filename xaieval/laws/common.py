"""Laws of every component, method or metric, and how results are compared."""

from __future__ import annotations

import dataclasses
import pickle
import re
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from xaieval.component import component_json
from xaieval.laws.guards import LawBroken

PAPER = re.compile(r"(arXiv[: ] ?\d{4}\.\d{4,5})|(10\.\d{4,9}/\S+)")


def laws_of(component: Any) -> Iterator[Callable[[Any], None]]:
    """The laws of a component's class."""
    yield from (law_plain, law_pickle)
    if getattr(component, "reference", None) != "":  # what stands on a stranger's function names none
        yield law_reference


def law_plain(component: Any) -> None:
    """A frozen dataclass of plain values, with a readable repr, equal to its copy."""
    parameters = getattr(type(component), "__dataclass_params__", None)
    if parameters is None or not parameters.frozen:
        raise LawBroken("it is no frozen dataclass: put @dataclass(frozen=True) above the class")
    if type(component).__name__ not in repr(component):
        raise LawBroken(f"its repr does not name the class: {component!r}")
    copy = dataclasses.replace(component)
    if copy != component or hash(copy) != hash(component) or component_json(copy) != component_json(component):
        raise LawBroken("its copy is not equal to it: fields must be numbers, strings or tuples")


def law_pickle(component: Any) -> None:
    """It can be sent to another process."""
    try:
        copy = pickle.loads(pickle.dumps(component))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise LawBroken(f"it cannot be pickled, as other processes need: {error}") from error
    if copy != component:
        raise LawBroken("its pickled copy is not equal to it")


def law_reference(component: Any) -> None:
    """It names its paper by arXiv id or DOI, in `reference` and in its docstring."""
    texts = {"reference": getattr(component, "reference", ""), "the docstring": type(component).__doc__ or ""}
    for place, text in texts.items():
        if not PAPER.search(text):
            raise LawBroken(
                f"{place} names no paper, expected something like arXiv:1706.03825 or a DOI; where there is none, the "
                'class says so with exceptions = {"reference": "unpublished"}'
            )


def same(first: Tensor, second: Tensor, sentence: str, tolerance: float = 1e-4) -> None:
    """Raise unless two tensors agree to a part of the second one's largest absolute value.

    Raises:
        LawBroken: They do not; with the sentence and the size of the difference.
    """
    if first.shape != second.shape:
        raise LawBroken(f"{sentence} (shapes {tuple(first.shape)} and {tuple(second.shape)})")
    gap = difference(first, second)
    if not gap <= tolerance:
        raise LawBroken(f"{sentence} (by {gap:.2g} of the largest value)")


def difference(first: Tensor, second: Tensor) -> float:
    """Largest difference as a part of the second tensor's largest absolute value; NaN where one is NaN."""
    return float((first - second).abs().max() / second.abs().max().clamp(min=1e-12))
