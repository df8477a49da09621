"""The laws on texts: those that hold for images, on tokens of texts of different length, and some of their own.

A method or metric may refuse texts with an `UnsupportedError`, whose sentence is then reported in place of the laws.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from xaieval.adapters import CaptumMethod, FunctionMethod
from xaieval.attributions.gradient import Gradient
from xaieval.component import Method, Metric
from xaieval.explicand import Explicand
from xaieval.laws import meaning, methods, metrics
from xaieval.laws.common import same
from xaieval.laws.components import FAIR, SMALL, limited
from xaieval.laws.families import POOLING, READING, Family
from xaieval.laws.guards import Law, LawBroken
from xaieval.laws.text_toys import ProductOfTokens, size_of, words
from xaieval.laws.toys import seeded

PREFIX = "text_"

ABOUT_PIXELS = {"layout", "memory", "own_tensor", "untouched", "exception", "hooks", "attribution_kept", "once", "seed"}
"""Laws that do not say more on texts than they say on images."""


def laws_of(component: Method | Metric) -> Iterator[Law]:
    """The laws on texts that concern this component.

    None for a stranger's code, which may be made for images, and none for what needs parts, which no text has.
    """
    if isinstance(component, CaptumMethod | FunctionMethod) or {"parts", "world"} & set(component.needs):
        return
    module = metrics if isinstance(component, Metric) else methods
    for law in module.laws_of(component):
        if "family" in law.__code__.co_varnames and _name(law) not in ABOUT_PIXELS:
            yield _on_texts(law)
    yield from (law_text_padding, law_text_words, law_text_one_token)
    if isinstance(component, Method) and component.complete and meaning.fixed_baseline(component):
        yield law_text_product


def _name(law: Law) -> str:
    return law.__name__.removeprefix("law_")


def _on_texts(law: Law) -> Law:
    """The law, held on texts."""

    def on_texts(component: Method | Metric, family: Family = POOLING) -> None:
        law(component, family)

    on_texts.__name__ = f"law_{PREFIX}{_name(law)}"
    on_texts.__doc__ = f"On texts: {law.__doc__}"
    return on_texts


def law_text_padding(component: Method | Metric, family: Family = READING) -> None:
    """A text alone, without padding, gets what it gets beside longer ones."""
    inputs, masks, name = family.inputs(3), family.masks(3), family.names(3)
    module, size = seeded(family.general), size_of(name[1])
    for units in units_of(component):
        maps = family.maps(3, units)
        beside = outcome(component, family.bind(module, inputs, mask=masks), maps, units)
        alone = family.bind(
            module, inputs[1:2, :, :size], ids=name[1:2], target=[1], mask=masks[1:2, :size], batch_size=3
        )
        found = outcome(component, alone, maps[1:2, :, :size].contiguous(), units)
        expected = beside[1:2, ..., :size] if isinstance(component, Method) else beside[1:2]
        sentence = "without padding a text gets another result"
        same(found.nan_to_num(nan=-9.0), expected.nan_to_num(nan=-9.0), sentence, 1e-3)  # scores are rounded


def law_text_words(component: Method | Metric, family: Family = POOLING) -> None:
    """Words may be the pieces in place of tokens: maps are finite, and what has no value has a reason."""
    for units in units_of(component):
        work = family.bind(seeded(family.general), mask=family.masks(3), groups=words(3))
        _see(component, work, family.maps(3, units), units)


def law_text_one_token(component: Method | Metric, family: Family = POOLING) -> None:
    """A text of one token has a finite map, and a value or a reason why it has none."""
    inputs, name = family.inputs(1)[:, :, :3], family.names(1)
    shown = torch.tensor([[False, True, False]])
    for units in units_of(component):
        work = family.bind(seeded(family.general), inputs, ids=name, mask=shown, present=shown)
        _see(component, work, family.maps(1, units)[:, :, :3].contiguous(), units)


def _see(component: Method | Metric, work: Explicand, maps: Tensor, units: str) -> None:
    if isinstance(component, Metric):
        metrics.reasoned(limited(component, SMALL), work, maps, units)
    elif not bool(outcome(component, work, maps, units).isfinite().all()):
        raise LawBroken("the map is not finite")


def law_text_product(method: Method) -> None:
    """On a product over tokens, in which all depend on each other, the attribution sums to f(x) - f(baseline)."""
    made, work = limited(method, FAIR), READING.bind(seeded(ProductOfTokens))
    change = work.clean.logit - work.removed(getattr(method, "removal", "zero")).logit
    same(work.features(made(work)).sum(1), change, "the sum is not f(x) - f(baseline)", 1e-3)


def units_of(component: Method | Metric) -> tuple[str, ...]:
    """Units of the maps to score; of a method there is one outcome."""
    return component.accepts if isinstance(component, Metric) else (component.units,)


def outcome(component: Method | Metric, work: Explicand, maps: Tensor, units: str) -> Tensor:
    """A method's scores of the tokens `(N, T)`, or a metric's values `(N,)` of the maps."""
    made = limited(component, SMALL)
    if isinstance(made, Metric):
        return made(work, maps, method=Gradient(), units=units)
    return work.features(made(work))
