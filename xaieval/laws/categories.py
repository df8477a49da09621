"""The laws of metrics by category: that the numbers mean what the category says."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from xaieval.attributions.gradient import Gradient
from xaieval.attributions.input_x_gradient import InputXGradient
from xaieval.component import Method, Metric
from xaieval.laws import part_toys
from xaieval.laws.common import same
from xaieval.laws.components import FAIR, SMALL, limited
from xaieval.laws.families import CONVOLUTIONAL, Family, shown
from xaieval.laws.guards import Law, LawBroken
from xaieval.laws.probes import Moving, Noisy, Still, judged, values_of
from xaieval.laws.toys import Ignoring, Two, seeded

PERMUTATIONS = 100


def law_exact_beats_permuted(metric: Metric, family: Family = CONVOLUTIONAL) -> None:
    """Faithfulness: the exact map of an additive model is better than the mean of its permutations."""
    exact, permuted, _ = _faithfulness(metric, family)
    if not _better(metric, exact, permuted):
        raise LawBroken(f"exact maps score {exact.tolist()}, their permutations {permuted.tolist()} on average")


def law_permuted_beats_negated(metric: Metric, family: Family = CONVOLUTIONAL) -> None:
    """Faithfulness: permutations of the exact map are better on average than the negated map."""
    _, permuted, negated = _faithfulness(metric, family)
    if not _better(metric, permuted, negated):
        raise LawBroken(f"permuted maps score {permuted.tolist()} on average, the negated {negated.tolist()}")


@functools.lru_cache(maxsize=4)
def _faithfulness(metric: Metric, family: Family) -> tuple[Tensor, Tensor, Tensor]:
    """What is judged of the exact map, its permutations on average, and the negated map, on an additive model."""
    gradient, module = family.weights(), Two(seeded(lambda: family.linear(classes=1)))
    with torch.no_grad():
        module.get_parameter("score.1.weight").copy_(gradient.flatten(1))
        module.get_parameter("score.1.bias").zero_()
    made, inputs = limited(metric, FAIR), family.inputs(3)
    work = family.bind(module, inputs, target=0, batch_size=64, **family.told())
    units = "contribution" if "contribution" in metric.accepts else metric.accepts[0]
    maps = gradient.expand_as(inputs).clone()
    if units != "gradient":
        removal = work.removal(getattr(metric, "removal", "zero"))
        maps = gradient * (inputs - (removal.values if removal.fixed else 0.5))  # noise is 0.5 on average
    maps = shown(work, maps.sum(1, keepdim=True) if units == "importance" else maps)

    def values(maps: Tensor) -> Tensor:
        return judged(metric, made(work, maps, method=Gradient(), units=units))

    return values(maps), _mean_of_permutations(values, maps, work.present), values(-maps)


def law_mask_beats_permuted(metric: Metric, family: Family = CONVOLUTIONAL) -> None:
    """Localization: the mask as a map is better than its permutations, which are better than its complement."""
    made, work = limited(metric, SMALL), family.work()
    mask = family.masks(3)[:, None].float()
    units = "importance" if "importance" in metric.accepts else metric.accepts[0]

    def values(maps: Tensor) -> Tensor:
        given = maps if units == "importance" else maps.expand_as(work.inputs).contiguous()
        return judged(metric, values_of(made, work, given, units))

    inside, permuted, outside = values(mask), _mean_of_permutations(values, mask, work.present), values(1 - mask)
    if not _better(metric, inside, permuted) or not _better(metric, permuted, outside):
        raise LawBroken(
            f"the mask scores {inside.tolist()}, its permutations {permuted.tolist()} on average, its complement "
            f"{outside.tolist()}"
        )


def law_one_hot_beats_constant(metric: Metric, family: Family = CONVOLUTIONAL) -> None:
    """Complexity: a single pixel is simpler than a blob, which is simpler than a constant map."""
    work = family.work()
    one, constant = torch.zeros_like(work.inputs[:, :1]), torch.ones_like(work.inputs[:, :1])
    one.flatten(2)[:, :, family.point] = 1
    blob = work.modality.center_blob(work.inputs, 0.2, work.present)
    pixel, middle, flat = (
        judged(metric, values_of(limited(metric, SMALL), work, maps, "importance")) for maps in (one, blob, constant)
    )
    if not _better(metric, pixel, middle) or not _better(metric, middle, flat):
        raise LawBroken(f"one pixel scores {pixel.tolist()}, a blob {middle.tolist()}, a constant map {flat.tolist()}")


def law_still_is_best(metric: Metric, family: Family = CONVOLUTIONAL) -> None:
    """Robustness: a constant explanation and the gradient of a linear model do not move, which is the best value, 0."""
    made, module = limited(metric, SMALL), seeded(family.linear)
    for method in (Still(), Gradient()):
        work = family.bind(module)
        values = judged(metric, made(work, method(work), method))
        same(1 + values, torch.ones_like(values), f"{type(method).__name__} has not the value 0")


def law_smooth_beats_noisy(metric: Metric, family: Family = CONVOLUTIONAL) -> None:
    """Robustness: a map that moves as the input does is better than one that jumps."""
    work = family.work()
    made = limited(metric, SMALL)
    smooth, noisy = (judged(metric, made(work, method(work), method)) for method in (Moving(), Noisy()))
    if not _better(metric, smooth, noisy):
        raise LawBroken(f"a smooth map scores {smooth.tolist()}, a noisy one {noisy.tolist()}")


def law_ignorant_is_worst(metric: Metric, family: Family = CONVOLUTIONAL) -> None:
    """Randomization: a map that does not depend on the model has the worst value."""
    work, method = family.work(), Moving()
    worst = metric.bounds[0] if metric.higher_is_better else metric.bounds[1]
    values = judged(metric, limited(metric, SMALL)(work, method(work), method))
    same(values, torch.full_like(values, worst), "a map that does not depend on the model has not the worst value")


def law_exact_keeps_axiom(metric: Metric, family: Family = CONVOLUTIONAL) -> None:
    """Axioms: the exact explanation of a linear model has the best value, 0, and a single pixel a worse one."""
    made, work = limited(metric, SMALL), family.bind(seeded(family.linear))
    method: Method = Gradient() if "gradient" in metric.accepts else InputXGradient()
    exact, pixel = method(work), torch.zeros_like(work.inputs)
    pixel.flatten(2)[:, :, family.point] = exact.flatten(2)[:, :, family.point]
    values = judged(metric, made(work, exact, method))
    same(1 + values, torch.ones_like(values), "the exact explanation of a linear model has not the value 0")
    alone = judged(metric, made(work, pixel, method, method.units))
    if not _better(metric, values, alone):
        raise LawBroken(f"exact maps of a linear model score {values.tolist()}, one pixel of them {alone.tolist()}")


def law_blind_is_fair(metric: Metric, family: Family = CONVOLUTIONAL) -> None:
    """Fairness: a model that never sees the protected features has the best value, one that does a worse one."""
    made, units, masks = limited(metric, SMALL), metric.accepts[0], family.masks(1).expand(3, *family.some().shape)
    blind = Ignoring(seeded(family.general), ~masks[0])
    fair, unfair = (
        judged(metric, values_of(made, family.bind(module, mask=masks), family.maps(3, units), units))
        for module in (blind, seeded(family.general))
    )
    best = metric.bounds[1] if metric.higher_is_better else metric.bounds[0]
    same(1 + fair, torch.full_like(fair, 1 + best), "a model blind to the protected features has not the best value")
    if not _better(metric, fair, unfair):
        raise LawBroken(f"a blind model scores {fair.tolist()}, one that sees the features {unfair.tolist()}")


def law_map_is_ignored(metric: Metric, family: Family = CONVOLUTIONAL) -> None:
    """Fairness: it judges the model, so that all maps have one value."""
    made, expected = limited(metric, SMALL), None
    for units in metric.accepts:
        for maps in (family.maps(3, units), family.maps(3, units, seed=1)):
            values = values_of(made, family.work(), maps, units)
            expected = values if expected is None else expected
            same(values, expected, f"another map has another value (units {units})", 1e-6)


def law_true_parts_beat_negated(metric: Metric, family: Family = CONVOLUTIONAL) -> None:
    """Concepts: what parts count in an additive model is better, taken over all samples, than the negated map."""
    weights, module = family.weights(), Two(seeded(lambda: family.linear(classes=1)))
    with torch.no_grad():
        module.get_parameter("score.1.weight").copy_(weights.flatten(1))
        module.get_parameter("score.1.bias").zero_()
    work = family.bind(module, target=0, batch_size=64, **family.told())
    maps = (weights * (work.inputs - part_toys.GRAY)).sum(1, keepdim=True)
    exact, negated = (
        judged(metric, limited(metric, FAIR)(work, given, method=Gradient(), units="contribution"))
        for given in (maps, -maps)
    )
    sign = 1 if metric.higher_is_better else -1
    if not sign * exact.nanmean() > sign * negated.nanmean():
        raise LawBroken(f"the exact map scores {exact.tolist()}, the negated one {negated.tolist()}")


def concept_laws(metric: Metric) -> Iterator[Law]:
    """Those of metrics of concepts, by what they compare an explanation with."""
    if "mask" in metric.needs:
        yield law_mask_beats_permuted
    if "world" in metric.needs:
        yield law_true_parts_beat_negated


def law_category(metric: Metric) -> None:
    """The category is one of those that have laws."""
    raise LawBroken(f"category is {metric.category!r}, expected one of {', '.join(CATEGORIES)}")


CATEGORIES: dict[str, tuple[Law, ...]] = {
    "faithfulness": (law_exact_beats_permuted, law_permuted_beats_negated),
    "localization": (law_mask_beats_permuted,),
    "complexity": (law_one_hot_beats_constant,),
    "robustness": (law_still_is_best, law_smooth_beats_noisy),
    "randomization": (law_ignorant_is_worst,),
    "axioms": (law_exact_keeps_axiom,),
    "concepts": (),  # see `concept_laws`
    "fairness": (law_blind_is_fair, law_map_is_ignored),
}


def _better(metric: Metric, first: Tensor, second: Tensor) -> bool:
    """Whether every value is better than its counterpart."""
    return bool((first > second).all() if metric.higher_is_better else (first < second).all())


def _mean_of_permutations(values: Callable[[Tensor], Tensor], maps: Tensor, present: Tensor | None) -> Tensor:
    """Mean of what is judged of permutations of the present features of maps `(N, C, *F)`."""
    random, flat = torch.Generator().manual_seed(0), maps.flatten(2)
    count, found = flat.shape[2], []
    there = torch.ones(len(flat), count, dtype=torch.bool) if present is None else present.flatten(1)
    places = (~there).float().argsort(dim=1, stable=True)  # the present ones come first
    for _ in range(PERMUTATIONS):
        order = torch.randperm(count, generator=random).expand(len(flat), -1)
        order = order.gather(1, (~there).gather(1, order).float().argsort(dim=1, stable=True))
        turned = torch.empty_like(flat).scatter_(2, _each(places, flat), flat.gather(2, _each(order, flat)))
        found.append(values(turned.view_as(maps)))
    return torch.stack(found).mean(0)


def _each(places: Tensor, flat: Tensor) -> Tensor:
    return places[:, None].expand_as(flat)
