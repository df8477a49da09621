"""The laws of metrics by category: that the numbers mean what the category says."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from xaieval.attributions.gradient import Gradient
from xaieval.attributions.input_x_gradient import InputXGradient
from xaieval.component import Method, Metric
from xaieval.laws.common import same
from xaieval.laws.components import FAIR, SMALL, limited
from xaieval.laws.guards import LawBroken
from xaieval.laws.probes import Moving, Noisy, Still, random_maps, rectangles, values_of, work_on
from xaieval.laws.toys import SIDE, General, Ignoring, Linear, Two, explicand, images, seeded

Law = Callable[[Metric], None]
PERMUTATIONS = 100


def law_exact_beats_permuted(metric: Metric) -> None:
    """Faithfulness: the exact map of an additive model is better than the mean of its permutations."""
    exact, permuted, _ = _faithfulness(metric)
    if not _better(metric, exact, permuted):
        raise LawBroken(f"exact maps score {exact.tolist()}, their permutations {permuted.tolist()} on average")


def law_permuted_beats_negated(metric: Metric) -> None:
    """Faithfulness: permutations of the exact map are better on average than the negated map."""
    _, permuted, negated = _faithfulness(metric)
    if not _better(metric, permuted, negated):
        raise LawBroken(f"permuted maps score {permuted.tolist()} on average, the negated {negated.tolist()}")


@functools.lru_cache(maxsize=4)
def _faithfulness(metric: Metric) -> tuple[Tensor, Tensor, Tensor]:
    """Values `(N,)` of the exact map, of its permutations on average, and of the negated map, on an additive model."""
    coarse = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(1))  # patches differ
    gradient = 0.05 * torch.nn.functional.interpolate(coarse, size=(SIDE, SIDE))
    module = Two(seeded(lambda: Linear(3 * SIDE**2, 1)))
    with torch.no_grad():
        module.get_parameter("score.1.weight").copy_(gradient.flatten(1))
        module.get_parameter("score.1.bias").zero_()
    made, inputs = limited(metric, FAIR), images(3)
    work = explicand(module, inputs, target=0, batch_size=64, mask=rectangles(3))
    units = "contribution" if "contribution" in metric.accepts else metric.accepts[0]
    maps = gradient.expand_as(inputs).clone()
    if units != "gradient":
        removal = work.removal(getattr(metric, "removal", "zero"))
        maps = gradient * (inputs - (removal.values if removal.fixed else 0.5))  # noise is 0.5 on average
    if units == "importance":
        maps = maps.sum(1, keepdim=True)

    def values(maps: Tensor) -> Tensor:
        return made(work, maps, method=Gradient(), units=units)

    return values(maps), _mean_of_permutations(values, maps), values(-maps)


def law_mask_beats_permuted(metric: Metric) -> None:
    """Localization: the mask as a map is better than its permutations, which are better than its complement."""
    made, work = limited(metric, SMALL), work_on()
    mask = rectangles(3)[:, None].float()
    units = "importance" if "importance" in metric.accepts else metric.accepts[0]

    def values(maps: Tensor) -> Tensor:
        return values_of(made, work, maps if units == "importance" else maps.expand(-1, 3, -1, -1), units)

    inside, permuted, outside = values(mask), _mean_of_permutations(values, mask), values(1 - mask)
    if not _better(metric, inside, permuted) or not _better(metric, permuted, outside):
        raise LawBroken(
            f"the mask scores {inside.tolist()}, its permutations {permuted.tolist()} on average, its complement "
            f"{outside.tolist()}"
        )


def law_one_hot_beats_constant(metric: Metric) -> None:
    """Complexity: a single pixel is simpler than a blob, which is simpler than a constant map."""
    work = work_on()
    one, constant = torch.zeros(3, 1, SIDE, SIDE), torch.ones(3, 1, SIDE, SIDE)
    one[:, :, 5, 5] = 1
    blob = work.modality.center_blob(work.inputs, 0.2)
    pixel, middle, flat = (
        values_of(limited(metric, SMALL), work, maps, "importance") for maps in (one, blob, constant)
    )
    if not _better(metric, pixel, middle) or not _better(metric, middle, flat):
        raise LawBroken(f"one pixel scores {pixel.tolist()}, a blob {middle.tolist()}, a constant map {flat.tolist()}")


def law_still_is_best(metric: Metric) -> None:
    """Robustness: a constant explanation and the gradient of a linear model do not move, which is the best value, 0."""
    made, module = limited(metric, SMALL), seeded(lambda: Linear(3 * SIDE**2))
    for method in (Still(), Gradient()):
        work = explicand(module)
        same(
            1 + made(work, method(work), method),
            torch.ones(3),
            f"{type(method).__name__} has not the value 0",
        )


def law_smooth_beats_noisy(metric: Metric) -> None:
    """Robustness: a map that moves as the input does is better than one that jumps."""
    work = work_on()
    smooth, noisy = (limited(metric, SMALL)(work, method(work), method) for method in (Moving(), Noisy()))
    if not _better(metric, smooth, noisy):
        raise LawBroken(f"a smooth map scores {smooth.tolist()}, a noisy one {noisy.tolist()}")


def law_ignorant_is_worst(metric: Metric) -> None:
    """Randomization: a map that does not depend on the model has the worst value."""
    work, method = work_on(), Moving()
    worst = metric.bounds[0] if metric.higher_is_better else metric.bounds[1]
    values = limited(metric, SMALL)(work, method(work), method)
    same(values, torch.full_like(values, worst), "a map that does not depend on the model has not the worst value")


def law_exact_keeps_axiom(metric: Metric) -> None:
    """Axioms: the exact explanation of a linear model has the best value, 0, and a single pixel a worse one."""
    made, work = limited(metric, SMALL), explicand(seeded(lambda: Linear(3 * SIDE**2)))
    method: Method = Gradient() if "gradient" in metric.accepts else InputXGradient()
    exact, pixel = method(work), torch.zeros_like(work.inputs)
    pixel[..., 5, 5] = exact[..., 5, 5]
    values = made(work, exact, method)
    same(1 + values, torch.ones_like(values), "the exact explanation of a linear model has not the value 0")
    alone = made(work, pixel, method, method.units)
    if not _better(metric, values, alone):
        raise LawBroken(f"exact maps of a linear model score {values.tolist()}, one pixel of them {alone.tolist()}")


def law_blind_is_fair(metric: Metric) -> None:
    """Fairness: a model that never sees the protected features has the best value, one that does a worse one."""
    made, masks = limited(metric, SMALL), rectangles(1).expand(3, -1, -1)
    blind = Ignoring(seeded(General), ~masks[0])
    fair, unfair = (
        values_of(made, explicand(module, mask=masks), random_maps(3, metric.accepts[0]), metric.accepts[0])
        for module in (blind, seeded(General))
    )
    best = metric.bounds[1] if metric.higher_is_better else metric.bounds[0]
    same(1 + fair, torch.full_like(fair, 1 + best), "a model blind to the protected features has not the best value")
    if not _better(metric, fair, unfair):
        raise LawBroken(f"a blind model scores {fair.tolist()}, one that sees the features {unfair.tolist()}")


def law_map_is_ignored(metric: Metric) -> None:
    """Fairness: it judges the model, so that all maps have one value."""
    made, expected = limited(metric, SMALL), None
    for units in metric.accepts:
        for maps in (random_maps(3, units), random_maps(3, units, seed=1)):
            values = values_of(made, work_on(), maps, units)
            expected = values if expected is None else expected
            same(values, expected, f"another map has another value (units {units})", 1e-6)


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
    "fairness": (law_blind_is_fair, law_map_is_ignored),
}


def _better(metric: Metric, first: Tensor, second: Tensor) -> bool:
    """Whether every value is better than its counterpart."""
    return bool((first > second).all() if metric.higher_is_better else (first < second).all())


def _mean_of_permutations(values: Callable[[Tensor], Tensor], maps: Tensor) -> Tensor:
    """Mean values `(N,)` of permutations of the features of maps `(N, C, *F)`."""
    random, flat = torch.Generator().manual_seed(0), maps.flatten(2)
    total = torch.zeros(len(maps))
    for _ in range(PERMUTATIONS):
        order = torch.randperm(flat.shape[2], generator=random)
        total += values(flat[:, :, order].view_as(maps))
    return total / PERMUTATIONS
