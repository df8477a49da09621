"""The laws of metrics: what every metric has to keep. Each is a function that raises `LawBroken`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaieval.component import Method, Metric
from xaieval.explicand import UNITS, Explicand
from xaieval.laws import common
from xaieval.laws.common import same
from xaieval.laws.components import FAIR, SMALL, changed, has_field, limited, reseeded
from xaieval.laws.guards import LawBroken, Planes, no_waiting, untouched
from xaieval.laws.toys import (
    SIDE,
    Counting,
    General,
    Ignoring,
    Linear,
    Smooth,
    Two,
    explicand,
    images,
    names,
    partly_present,
    seeded,
)

Law = Callable[[Metric], None]
PERMUTATIONS = 100


def laws_of(metric: Metric) -> Iterator[Law]:
    """The laws that concern this metric, chosen by its attributes."""
    yield from (law_values, law_deterministic, law_batch_size, law_order, law_neighbors, law_attribution_kept)
    yield from (law_untouched, law_absent, law_counted, law_memory)
    if not metric.syncs:
        yield from (law_meta, law_no_waiting)
    yield from (law_undefined_maps, law_undefined_units)
    if "mask" in metric.needs:
        yield law_undefined_masks
    if "method" not in metric.needs:
        yield law_once
    if has_field(metric, "seed"):
        yield law_seed
    yield from CATEGORIES.get(getattr(metric, "category", ""), (law_category,))
    yield law_attributes
    yield from common.laws_of(metric)


# -- what is measured: small methods and maps --


@dataclass(frozen=True)
class _Map(Method):
    """A method that is a function of the explicand."""

    units: ClassVar[str] = "importance"
    reference: ClassVar[str] = ""

    def attribute(self, explicand: Explicand) -> Tensor:
        return torch.ones_like(explicand.inputs[:, :1])


class _Input(_Map):
    """Moves as the input does."""

    def attribute(self, explicand: Explicand) -> Tensor:
        return explicand.inputs.mean(1, keepdim=True)


class _Noisy(_Map):
    """Anything else at the smallest change."""

    def attribute(self, explicand: Explicand) -> Tensor:
        return (1000 * explicand.inputs).sin().mean(1, keepdim=True)


class _Gradient(_Map):
    """The plain gradient."""

    units: ClassVar[str] = "gradient"

    def attribute(self, explicand: Explicand) -> Tensor:
        return explicand.gradient.clone()


class _Contribution(_Map):
    """The gradient times the way from black, exact on linear models."""

    units: ClassVar[str] = "contribution"

    def attribute(self, explicand: Explicand) -> Tensor:
        return explicand.inputs * explicand.gradient


def _maps(count: int, units: str, seed: int = 0) -> Tensor:
    """Signed random maps, rounded so that no tie or order is a matter of rounding."""
    shape = (count, 1 if units == "importance" else 3, SIDE, SIDE)
    maps = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return (maps * 2**14).round() / 2**14


def _masks(count: int) -> Tensor:
    """Rectangles of different sizes, bool `(count, SIDE, SIDE)`."""
    masks = torch.zeros(count, SIDE, SIDE, dtype=torch.bool)
    for number in range(count):
        masks[number, 2 : 6 + number, 3 + number : 9] = True
    return masks


def _work(batch_size: int = 4, count: int = 3, **options: object) -> Explicand:
    return explicand(seeded(General), images(count), batch_size=batch_size, mask=_masks(count), **options)  # type: ignore[arg-type]


def _values(metric: Metric, work: Explicand, maps: Tensor, units: str) -> Tensor:
    return metric(work, maps, method=_Gradient(), units=units)


# -- the values --


def law_values(metric: Metric) -> None:
    """One finite value for each sample, within the bounds, for every kind of attribution it accepts."""
    low, high = metric.bounds
    for units in metric.accepts:
        values = _values(limited(metric, SMALL), _work(), _maps(3, units), units)  # checks the shape
        if not bool(values.isfinite().all()):
            raise LawBroken(f"random maps with units {units} have values {values.tolist()}, expected finite ones")
        if not bool(((values >= low - 1e-6) & (values <= high + 1e-6)).all()):
            raise LawBroken(f"values {values.tolist()} lie outside the bounds {low:g} to {high:g}")


def law_deterministic(metric: Metric) -> None:
    """Two fresh calls with one seed agree."""
    made = limited(metric, SMALL)
    for units in metric.accepts:
        first, second = (_values(made, _work(), _maps(3, units), units) for _ in range(2))
        same(first, second, f"two calls with the same seed differ (units {units})", 1e-6)


def law_seed(metric: Metric) -> None:
    """Another seed gives other values, at least where scores are tied."""
    tied = (_maps(3, "importance") > 0).float()
    units = metric.accepts[0]
    maps = tied if units == "importance" else tied.expand(-1, 3, -1, -1)
    first, second = (_values(reseeded(limited(metric, SMALL), seed), _work(), maps, units) for seed in (0, 1))
    if torch.equal(first, second):
        raise LawBroken("seeds 0 and 1 give the same values: the field seed does nothing")


def law_batch_size(metric: Metric) -> None:
    """The number of inputs in one call of the model does not matter."""
    made = limited(metric, SMALL)
    for units in metric.accepts:
        expected = _values(made, _work(3), _maps(3, units), units)
        for size in (1, 2, 7, 64):
            values = _values(made, _work(size), _maps(3, units), units)
            same(values, expected, f"batches of {size} and of 3 inputs give different values (units {units})")


def law_order(metric: Metric) -> None:
    """The order of the samples does not matter."""
    made = limited(metric, SMALL)
    for units in metric.accepts:
        maps = _maps(3, units)
        expected = _values(made, _work(), maps, units)
        turned = explicand(
            seeded(General), images(3).flip(0), ids=names(3)[::-1], target=[2, 1, 0], mask=_masks(3).flip(0)
        )
        values = _values(made, turned, maps.flip(0), units)
        same(values.flip(0), expected, f"in reverse order the samples get other values (units {units})")


def law_neighbors(metric: Metric) -> None:
    """A sample alone and beside others gets the same value."""
    made = limited(metric, SMALL)
    for units in metric.accepts:
        maps = _maps(3, units)
        maps[1:] *= 100
        beside = _values(made, _work(), maps, units)
        alone = explicand(seeded(General), images(3)[:1], mask=_masks(3)[:1])
        same(beside[:1], _values(made, alone, maps[:1], units), f"beside others a sample gets another value ({units})")


# -- what stays as it was, and where it runs --


def law_attribution_kept(metric: Metric) -> None:
    """It does not write into the attribution, the inputs or the mask."""
    for units in metric.accepts:
        work, maps = _work(), _maps(3, units)
        kept = [tensor.clone() for tensor in (maps, work.inputs, work.mask) if tensor is not None]
        _values(limited(metric, SMALL), work, maps, units)
        for before, after in zip(kept, (maps, work.inputs, work.mask), strict=True):
            if after is None or not torch.equal(before, after):
                raise LawBroken("it writes into the attribution, the inputs or the mask: work on a copy")


def law_untouched(metric: Metric) -> None:
    """Weights, buffers, modes, hooks, gradients and the global random states stay as they were."""
    module = seeded(General)
    weight = module.get_parameter("0.weight")
    weight.grad = torch.ones_like(weight)
    with untouched(module):
        work = explicand(module, mask=_masks(3))
        _values(limited(metric, SMALL), work, _maps(3, metric.accepts[0]), metric.accepts[0])


def law_meta(metric: Metric) -> None:
    """It runs end to end on the meta device, where no value can be read."""
    for units in metric.accepts:
        work = explicand(seeded(General), images(3).to("meta"), device="meta", mask=_masks(3).to("meta"))
        try:
            values = _values(limited(metric, SMALL), work, _maps(3, units).to("meta"), units)
        except Exception as error:
            raise LawBroken(f"on the meta device it raises {type(error).__name__}: {error}") from error
        if values.device.type != "meta":
            raise LawBroken(f"for inputs on the meta device the values are on {values.device}")


def law_no_waiting(metric: Metric) -> None:
    """It never makes the device wait for the host."""
    for units in metric.accepts:
        work, maps = _work(), _maps(3, units)
        with no_waiting():
            _values(limited(metric, SMALL), work, maps, units)


def law_absent(metric: Metric) -> None:
    """Values, scores and ground truth of absent features change nothing where the model ignores them."""
    made, inputs, present = limited(metric, SMALL), images(3), partly_present()
    module, shown = Ignoring(seeded(General), present), present.expand(3, -1, -1)
    for units in metric.accepts:
        maps, values = _maps(3, units), []
        for absent in (0.0, 5.0):
            work = explicand(
                module,
                inputs.masked_fill(~present, absent),
                present=shown,
                mask=_masks(3) if absent == 0 else _masks(3) | ~present,
            )
            values.append(_values(made, work, maps.masked_fill(~present, absent), units))
        same(values[1], values[0], f"values or scores of absent features change the value (units {units})")


# -- what it costs --


def law_counted(metric: Metric) -> None:
    """Every evaluation of the model is counted, once, and no call takes more inputs than it may."""
    module, units = Counting(seeded(General)), metric.accepts[0]
    first = explicand(module, mask=_masks(3))
    _values(limited(metric, SMALL), first, _maps(3, units), units)  # the model's layers are looked up uncounted, once
    work = first.classifier.explicand(images(3, seed=1), [0, 1, 2], names(3), mask=_masks(3))
    spent, forwards, backwards = work.cost, module.forwards, module.backwards
    _values(limited(metric, SMALL), work, _maps(3, units), units)
    counted = [round(3 * (now - then)) for now, then in zip(work.cost[:2], spent[:2], strict=True)]
    real = [module.forwards - forwards, module.backwards - backwards]
    if counted != real:
        raise LawBroken(f"it counted {counted} forwards and backwards, the model ran {real}")
    if module.largest > 4:
        raise LawBroken(f"it ran {module.largest} inputs at once in batches of 4")


def law_once(metric: Metric) -> None:
    """A second look at the same attribution costs no evaluation, and gives what a fresh explicand gives."""
    made = limited(metric, SMALL)
    for units in metric.accepts:
        work, maps = _work(), _maps(3, units)
        first = _values(made, work, maps, units)
        spent = work.cost[:2]
        second = _values(made, work, maps, units)
        if work.cost[:2] != spent:
            raise LawBroken(f"a second value of the same map costs {work.cost.forwards - spent[0]:g} more forwards")
        if not torch.equal(first, second):
            raise LawBroken("the second value of the same map differs from the first")


def law_memory(metric: Metric) -> None:
    """The number of input-sized tensors alive at once does not grow with the number of draws."""
    count, side, batch_size = 2, 22, 2
    units, peaks = metric.accepts[0], []
    for draws in (4, 16):
        made = changed(limited(metric, SMALL), samples=draws, steps=draws, copies=draws)
        masks = torch.zeros(count, side, side, dtype=torch.bool)
        masks[:, :9, :9] = True
        work = explicand(seeded(lambda: Smooth(side)), images(count, side), batch_size=batch_size, mask=masks)
        maps = images(count, side)[:, : 1 if units == "importance" else 3]
        with Planes((side, side)) as planes:
            _values(made, work, maps, units)
        peaks.append(planes.largest)
    allowed = 2 * 3 * (4 * count + 6 * batch_size)
    if peaks[1] > peaks[0] or peaks[1] > allowed:
        raise LawBroken(
            f"with 4 and 16 draws {peaks[0]} and {peaks[1]} planes (H, W) were alive at once, expected equal numbers "
            f"of at most {allowed}: work batch by batch"
        )


# -- NaN, with a reason --


def law_undefined_maps(metric: Metric) -> None:
    """Zero, NaN and infinite maps have the value NaN with a reason, and leave other samples alone."""
    made = limited(metric, SMALL)
    for units in metric.accepts:
        good = _maps(5, units)
        maps = good.clone()
        maps[1], maps[2, 0, 3, 3], maps[3, 0, 3, 3] = 0.0, torch.nan, torch.inf
        values, _ = _reasoned(made, _work(count=5), maps, units)
        if not bool(values[1:4].isnan().all()):
            raise LawBroken(f"zero, NaN and infinite maps ({units}) have values {values[1:4].tolist()}, expected NaN")
        expected = _values(made, _work(count=5), good, units)
        same(values[[0, 4]], expected[[0, 4]], "a bad map changes the value of another sample")


def law_undefined_units(metric: Metric) -> None:
    """Units that it does not accept give NaN with the reason `units`, and cost nothing."""
    for units in sorted(set(UNITS) - set(metric.accepts)):
        work = _work()
        spent = work.cost[:2]
        values, reasons = _reasoned(limited(metric, SMALL), work, _maps(3, units), units)
        if not bool(values.isnan().all()) or "units" not in reasons:
            raise LawBroken(f"units {units} are not accepted, but give {values.tolist()}, expected NaN")
        if work.cost[:2] != spent:
            raise LawBroken(f"it spends evaluations on maps with units {units}, which it does not accept")


def law_undefined_masks(metric: Metric) -> None:
    """A missing mask gives NaN for all samples, an empty one for its own, with a reason."""
    made, maps, units = limited(metric, SMALL), _maps(3, metric.accepts[0]), metric.accepts[0]
    values, _ = _reasoned(made, explicand(seeded(General)), maps, units)
    if not bool(values.isnan().all()):
        raise LawBroken(f"without a mask the values are {values.tolist()}, expected NaN")
    masks = _masks(3)
    masks[1] = False
    values, _ = _reasoned(made, explicand(seeded(General), mask=masks), maps, units)
    if values.isnan().tolist() != [False, True, False]:
        raise LawBroken(f"with an empty second mask the values are {values.tolist()}, expected NaN there alone")


def _reasoned(metric: Metric, work: Explicand, maps: Tensor, units: str) -> tuple[Tensor, dict[str, Tensor]]:
    """Values and reasons.

    Raises:
        LawBroken: A value is NaN without a reason, or has a reason without being NaN.
    """
    values, reasons = metric.evaluate(work, maps, _Gradient(), units)
    given = torch.stack(list(reasons.values())).any(0)
    if not torch.equal(values.isnan(), given):
        raise LawBroken(f"values {values.tolist()} have reasons at {given.tolist()}: each NaN needs one, nothing else")
    return values, reasons


# -- what it measures, by category --


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
    work = explicand(module, inputs, target=0, batch_size=64, mask=_masks(3))
    units = "contribution" if "contribution" in metric.accepts else metric.accepts[0]
    maps = gradient.expand_as(inputs).clone()
    if units != "gradient":
        removal = work.removal(getattr(metric, "removal", "zero"))
        maps = gradient * (inputs - (removal.values if removal.fixed else 0.5))  # noise is 0.5 on average
    if units == "importance":
        maps = maps.sum(1, keepdim=True)

    def values(maps: Tensor) -> Tensor:
        return made(work, maps, method=_Gradient(), units=units)

    return values(maps), _mean_of_permutations(values, maps), values(-maps)


def law_mask_beats_permuted(metric: Metric) -> None:
    """Localization: the mask as a map is better than its permutations, which are better than its complement."""
    made, work = limited(metric, SMALL), _work()
    mask = _masks(3)[:, None].float()
    units = "importance" if "importance" in metric.accepts else metric.accepts[0]

    def values(maps: Tensor) -> Tensor:
        return _values(made, work, maps if units == "importance" else maps.expand(-1, 3, -1, -1), units)

    inside, permuted, outside = values(mask), _mean_of_permutations(values, mask), values(1 - mask)
    if not _better(metric, inside, permuted) or not _better(metric, permuted, outside):
        raise LawBroken(
            f"the mask scores {inside.tolist()}, its permutations {permuted.tolist()} on average, its complement "
            f"{outside.tolist()}"
        )


def law_one_hot_beats_constant(metric: Metric) -> None:
    """Complexity: a single pixel is simpler than a blob, which is simpler than a constant map."""
    work = _work()
    one, constant = torch.zeros(3, 1, SIDE, SIDE), torch.ones(3, 1, SIDE, SIDE)
    one[:, :, 5, 5] = 1
    blob = work.modality.center_blob(work.inputs, 0.2)
    pixel, middle, flat = (_values(limited(metric, SMALL), work, maps, "importance") for maps in (one, blob, constant))
    if not _better(metric, pixel, middle) or not _better(metric, middle, flat):
        raise LawBroken(f"one pixel scores {pixel.tolist()}, a blob {middle.tolist()}, a constant map {flat.tolist()}")


def law_still_is_best(metric: Metric) -> None:
    """Robustness: a constant explanation and the gradient of a linear model do not move, which is the best value, 0."""
    made, module = limited(metric, SMALL), seeded(lambda: Linear(3 * SIDE**2))
    for method in (_Map(), _Gradient()):
        work = explicand(module)
        same(
            1 + made(work, method(work), method),
            torch.ones(3),
            f"{type(method).__name__.strip('_')} has not the value 0",
        )


def law_smooth_beats_noisy(metric: Metric) -> None:
    """Robustness: a map that moves as the input does is better than one that jumps."""
    work = _work()
    smooth, noisy = (limited(metric, SMALL)(work, method(work), method) for method in (_Input(), _Noisy()))
    if not _better(metric, smooth, noisy):
        raise LawBroken(f"a smooth map scores {smooth.tolist()}, a noisy one {noisy.tolist()}")


def law_ignorant_is_worst(metric: Metric) -> None:
    """Randomization: a map that does not depend on the model has the worst value."""
    work, method = _work(), _Input()
    worst = metric.bounds[0] if metric.higher_is_better else metric.bounds[1]
    values = limited(metric, SMALL)(work, method(work), method)
    same(values, torch.full_like(values, worst), "a map that does not depend on the model has not the worst value")


def law_exact_keeps_axiom(metric: Metric) -> None:
    """Axioms: the exact explanation of a linear model has the best value, 0, and a single pixel a worse one."""
    made, work = limited(metric, SMALL), explicand(seeded(lambda: Linear(3 * SIDE**2)))
    method: Method = _Gradient() if "gradient" in metric.accepts else _Contribution()
    exact, pixel = method(work), torch.zeros_like(work.inputs)
    pixel[..., 5, 5] = exact[..., 5, 5]
    values = made(work, exact, method)
    same(1 + values, torch.ones_like(values), "the exact explanation of a linear model has not the value 0")
    alone = made(work, pixel, method, method.units)
    if not _better(metric, values, alone):
        raise LawBroken(f"exact maps of a linear model score {values.tolist()}, one pixel of them {alone.tolist()}")


def law_attributes(metric: Metric) -> None:
    """It says in which direction it is better, in which bounds, and what it needs."""
    missing = [name for name in ("higher_is_better", "category") if not hasattr(metric, name)]
    if missing:
        raise LawBroken(f"it has no {', '.join(missing)}: write them as class attributes")
    low, high = metric.bounds
    if not low < high or not set(metric.needs) <= {"mask", "method"} or not set(metric.accepts) <= set(UNITS):
        raise LawBroken(f"bounds {metric.bounds}, needs {metric.needs} or accepts {metric.accepts} are none")


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
