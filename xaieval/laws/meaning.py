"""The laws on what the numbers of a method mean: whether they are of the model, and right where the answer is known."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from xaieval.component import Method
from xaieval.laws.common import difference, same
from xaieval.laws.components import FAIR, SMALL, depth, limited
from xaieval.laws.families import CONVOLUTIONAL, Family, shown
from xaieval.laws.guards import Law, LawBroken
from xaieval.laws.toys import seeded
from xaieval.removal import removal_of


def laws_of(method: Method) -> Iterator[Law]:
    """The laws on the meaning of this method's numbers, chosen by its attributes."""
    if method.sentinel:
        if depth(method) == 1:
            yield law_sentinel
    elif not method.oracle:
        yield law_model
    if method.units == "gradient" and not method.sentinel:
        yield law_linear_gradient
    if method.units == "contribution" and not method.sentinel and fixed_baseline(method):
        yield law_linear_contribution
    if method.units == "importance" and not method.sentinel:
        yield law_planted
    if method.complete and fixed_baseline(method):
        yield law_complete


def fixed_baseline(method: Method) -> bool:
    """Whether what a removed feature becomes does not depend on the others."""
    return removal_of(getattr(method, "removal", "zero")).fixed


def law_model(method: Method, family: Family = CONVOLUTIONAL) -> None:
    """Another model gives another attribution."""
    made = limited(method, SMALL)
    first, second = (shown(work, made(work)) for work in (family.bind(seeded(family.general, seed)) for seed in (0, 1)))
    if difference(first, second) < 1e-4:
        raise LawBroken(
            "two networks with other weights get the same attribution: it knows nothing of the model; what is meant to "
            "is a sentinel, a class with sentinel = True"
        )


def law_linear_gradient(method: Method, family: Family = CONVOLUTIONAL) -> None:
    """On a linear model a gradient is its weights."""
    made, inputs, module = limited(method, SMALL), family.inputs(3), seeded(family.linear)
    work = family.bind(module, inputs)
    weights = module.gradient(work.target, inputs.shape[1:])
    sentence = (
        "on a linear model it is not the weights: are the units right? Of a gradient times the input they are "
        "contribution, of norms and absolute values importance"
    )
    same(shown(work, made(work)), shown(work, weights), sentence)


def law_linear_contribution(method: Method, family: Family = CONVOLUTIONAL) -> None:
    """On a linear model a contribution is the weight times the way from the baseline."""
    made, inputs, module = limited(method, SMALL), family.inputs(3), seeded(family.linear)
    work = family.bind(module, inputs)
    baseline = work.removal(getattr(method, "removal", "zero")).values
    expected = module.gradient(work.target, inputs.shape[1:]) * (inputs - baseline)
    maps = shown(work, made(work))
    if maps.shape[1] == 1:
        expected = expected.sum(1, keepdim=True)
    sentence = (
        "on a linear model it is not w (x - baseline), where the baseline is that of the field removal, 0 without one: "
        "are the units right? What tells an order alone has units importance"
    )
    same(maps, shown(work, expected), sentence)


def law_planted(method: Method, family: Family = CONVOLUTIONAL) -> None:
    """On a model that sees planted features alone, importance has its maximum and its mass where they are."""
    made, (inputs, mask, around) = limited(method, {**FAIR, **family.limits}), family.clues()
    work = family.bind(family.planted(), inputs, target=0)
    maps = shown(work, made(work))[:, 0]
    tops = maps.flatten(1).argmax(1)
    if not bool(around.flatten(1).gather(1, tops[:, None]).all()):
        raise LawBroken("the highest score does not lie on the only features that the model sees")
    there = torch.ones_like(mask) if work.present is None else work.present
    parts = (mask & there, ~mask & there)
    inside, outside = ((maps * part).flatten(1).sum(1) / part.flatten(1).sum(1) for part in parts)
    if not bool((inside > outside).all()):
        raise LawBroken("the mean score of the only features that the model sees is not above that of the others")


def law_sentinel(method: Method, family: Family = CONVOLUTIONAL) -> None:
    """A sentinel knows nothing of the model."""
    made = limited(method, SMALL)
    first, second = (made(family.bind(module)) for module in (seeded(family.general), seeded(family.smooth)))
    same(first, second, "a sentinel gives different maps for two models")


def law_complete(method: Method, family: Family = CONVOLUTIONAL) -> None:
    """On a smooth model the attribution sums to f(x) - f(baseline)."""
    made, work = limited(method, FAIR), family.bind(seeded(family.smooth))
    change = work.clean.logit - work.removed(getattr(method, "removal", "zero")).logit
    total = work.features(made(work)).flatten(1).sum(1)
    same(total, change, "the sum is not f(x) - f(baseline)", 1e-3)
