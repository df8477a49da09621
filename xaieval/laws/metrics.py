"""The laws of metrics: what every metric has to keep. Each is a function that raises `LawBroken`."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from xaieval.attributions.gradient import Gradient
from xaieval.component import Metric
from xaieval.explicand import UNITS, Explicand
from xaieval.laws import common
from xaieval.laws.categories import CATEGORIES, concept_laws, law_category
from xaieval.laws.common import same
from xaieval.laws.components import SMALL, changed, has_field, limited, reseeded
from xaieval.laws.families import CONVOLUTIONAL, Family
from xaieval.laws.guards import Law, LawBroken, Planes, no_waiting, untouched
from xaieval.laws.probes import judged, undefined, values_of
from xaieval.laws.toys import Counting, Ignoring, Smooth, explicand, images, seeded
from xaieval.plan import TOLD
from xaieval.unsupported import UnsupportedError


def laws_of(metric: Metric) -> Iterator[Law]:
    """The laws that concern this metric, chosen by its attributes."""
    yield from (law_values, law_deterministic, law_batch_size, law_order, law_neighbors, law_attribution_kept)
    yield from (law_untouched, law_absent, law_counted, law_memory)
    if not metric.syncs:
        yield from (law_meta, law_no_waiting)
    yield from (law_undefined_maps, law_undefined_units)
    if "mask" in metric.needs:
        yield law_undefined_masks
    if {"parts", "world"} & set(metric.needs):
        yield law_undefined_parts
    if "method" not in metric.needs:
        yield law_once
    if has_field(metric, "seed"):
        yield law_seed
    yield from CATEGORIES.get(getattr(metric, "category", ""), (law_category,))
    if getattr(metric, "category", "") == "concepts":
        yield from concept_laws(metric)
    if metric.pooled:
        yield law_aggregate
    yield law_attributes
    yield from common.laws_of(metric)


# -- the values --


def law_values(metric: Metric, family: Family = CONVOLUTIONAL) -> None:
    """One finite value for each sample, within the bounds, for every kind of attribution it accepts."""
    low, high = metric.bounds
    for units in metric.accepts:
        values = values_of(limited(metric, SMALL), family.work(), family.maps(3, units), units)  # checks the shape
        if not bool(values.isfinite().all()):
            raise LawBroken(f"random maps with units {units} have values {values.tolist()}, expected finite ones")
        values = judged(metric, values)
        if not bool(((values >= low - 1e-6) & (values <= high + 1e-6)).all()):
            raise LawBroken(f"values {values.tolist()} lie outside the bounds {low:g} to {high:g}")


def law_deterministic(metric: Metric, family: Family = CONVOLUTIONAL) -> None:
    """Two fresh calls with one seed agree."""
    made = limited(metric, SMALL)
    for units in metric.accepts:
        first, second = (values_of(made, family.work(), family.maps(3, units), units) for _ in range(2))
        same(first, second, f"two calls with the same seed differ (units {units})", 1e-6)


def law_seed(metric: Metric, family: Family = CONVOLUTIONAL) -> None:
    """Another seed gives other values, at least where scores are tied."""
    tied = (family.maps(3, "importance") > 0).float()
    units = metric.accepts[0]
    maps = tied if units == "importance" else tied.expand_as(family.inputs(3)).contiguous()
    first, second = (values_of(reseeded(limited(metric, SMALL), seed), family.work(), maps, units) for seed in (0, 1))
    if torch.equal(first, second):
        raise LawBroken("seeds 0 and 1 give the same values: the field seed does nothing")


def law_batch_size(metric: Metric, family: Family = CONVOLUTIONAL) -> None:
    """The number of inputs in one call of the model does not matter."""
    made = limited(metric, SMALL)
    for units in metric.accepts:
        expected = values_of(made, family.work(3), family.maps(3, units), units)
        for size in (1, 2, 7, 64):
            values = values_of(made, family.work(size), family.maps(3, units), units)
            same(values, expected, f"batches of {size} and of 3 inputs give different values (units {units})")


def law_order(metric: Metric, family: Family = CONVOLUTIONAL) -> None:
    """The order of the samples does not matter."""
    made = limited(metric, SMALL)
    for units in metric.accepts:
        maps = family.maps(3, units)
        expected = values_of(made, family.work(), maps, units)
        turned = family.bind(
            seeded(family.general),
            family.inputs(3).flip(0),
            ids=family.names(3)[::-1],
            target=[2, 1, 0],
            **family.told(3, rows=[2, 1, 0]),
        )
        values = values_of(made, turned, maps.flip(0), units)
        same(values.flip(0), expected, f"in reverse order the samples get other values (units {units})")


def law_neighbors(metric: Metric, family: Family = CONVOLUTIONAL) -> None:
    """A sample alone and beside others gets the same value."""
    made = limited(metric, SMALL)
    for units in metric.accepts:
        maps = family.maps(3, units)
        maps[1:] *= 100
        beside = values_of(made, family.work(), maps, units)
        alone = family.bind(seeded(family.general), family.inputs(3)[:1], **family.told(3, rows=[0]))
        same(
            beside[:1], values_of(made, alone, maps[:1], units), f"beside others a sample gets another value ({units})"
        )


def law_aggregate(metric: Metric, family: Family = CONVOLUTIONAL) -> None:
    """Pooled: one number of many samples, whatever their order, and without those that are NaN."""
    made, units = limited(metric, SMALL), metric.accepts[0]
    values = values_of(made, family.work(), family.maps(3, units), units).double()
    kept, whole = values.clone(), made.aggregate(values)
    if not torch.equal(values, kept):
        raise LawBroken("the aggregate writes into the values: work on a copy")
    others = {
        "in reverse order": values.flip(0),
        "with a row of NaN": torch.cat((values, torch.full_like(values[:1], torch.nan))),
    }
    for words, table in others.items():
        other = made.aggregate(table)
        if not abs(other - whole) <= 1e-9 * max(1, abs(whole)):
            raise LawBroken(f"the aggregate is {whole}, and {words} {other}")


# -- what stays as it was, and where it runs --


def law_attribution_kept(metric: Metric, family: Family = CONVOLUTIONAL) -> None:
    """It does not write into the attribution, the inputs or the mask."""
    for units in metric.accepts:
        work, maps = family.work(), family.maps(3, units)
        kept = [tensor.clone() for tensor in (maps, work.inputs, work.mask) if tensor is not None]
        values_of(limited(metric, SMALL), work, maps, units)
        for before, after in zip(kept, (maps, work.inputs, work.mask), strict=True):
            if after is None or not torch.equal(before, after):
                raise LawBroken("it writes into the attribution, the inputs or the mask: work on a copy")


def law_untouched(metric: Metric, family: Family = CONVOLUTIONAL) -> None:
    """Weights, buffers, modes, hooks, gradients and the global random states stay as they were."""
    module = seeded(family.general)
    weight = next(module.parameters())
    weight.grad = torch.ones_like(weight)
    with untouched(module):
        work = family.bind(module, **family.told())
        values_of(limited(metric, SMALL), work, family.maps(3, metric.accepts[0]), metric.accepts[0])


def law_meta(metric: Metric, family: Family = CONVOLUTIONAL) -> None:
    """It runs end to end on the meta device, where no value can be read."""
    for units in metric.accepts:
        work = family.bind(seeded(family.general), family.inputs(3).to("meta"), device="meta", **family.told())
        try:
            values = values_of(limited(metric, SMALL), work, family.maps(3, units).to("meta"), units)
        except UnsupportedError:
            raise
        except Exception as error:
            raise LawBroken(f"on the meta device it raises {type(error).__name__}: {error}") from error
        if values.device.type != "meta":
            raise LawBroken(f"for inputs on the meta device the values are on {values.device}")


def law_no_waiting(metric: Metric, family: Family = CONVOLUTIONAL) -> None:
    """It never makes the device wait for the host."""
    for units in metric.accepts:
        work, maps = family.work(), family.maps(3, units)
        if family is not CONVOLUTIONAL:  # the places of tokens are looked up once for a model, which waits
            values_of(limited(metric, SMALL), work, maps, units)
            work = family.bind(work.classifier, family.inputs(3, seed=1), **family.told(seed=1))
        with no_waiting():
            values_of(limited(metric, SMALL), work, maps, units)


def law_absent(metric: Metric, family: Family = CONVOLUTIONAL) -> None:
    """Values, scores and ground truth of absent features change nothing where the model ignores them."""
    made, inputs, present = limited(metric, SMALL), family.inputs(3), family.some()
    module, shown = Ignoring(seeded(family.general), present), present.expand(3, *present.shape)
    for units in metric.accepts:
        maps, values = family.maps(3, units), []
        for absent in (0.0, 5.0):
            told = family.told() if absent == 0 else {**family.told(), "mask": family.masks(3) | ~present}
            work = family.bind(module, inputs.masked_fill(~present, absent), present=shown, **told)
            values.append(values_of(made, work, maps.masked_fill(~present, absent), units))
        same(values[1], values[0], f"values or scores of absent features change the value (units {units})")


# -- what it costs --


def law_counted(metric: Metric, family: Family = CONVOLUTIONAL) -> None:
    """Every evaluation of the model is counted, once, and no call takes more inputs than it may."""
    module, units = Counting(seeded(family.general)), metric.accepts[0]
    first = family.bind(module, **family.told())
    values_of(limited(metric, SMALL), first, family.maps(3, units), units)  # layers are looked up uncounted
    work = family.bind(first.classifier, family.inputs(3, seed=1), **family.told(seed=1))
    spent, forwards, backwards = work.cost, module.forwards, module.backwards
    values_of(limited(metric, SMALL), work, family.maps(3, units), units)
    counted = [round(3 * (now - then)) for now, then in zip(work.cost[:2], spent[:2], strict=True)]
    real = [module.forwards - forwards, module.backwards - backwards]
    if counted != real:
        raise LawBroken(f"it counted {counted} forwards and backwards, the model ran {real}")
    if module.largest > 4:
        raise LawBroken(f"it ran {module.largest} inputs at once in batches of 4")


def law_once(metric: Metric, family: Family = CONVOLUTIONAL) -> None:
    """A second look at the same attribution costs no evaluation, and gives what a fresh explicand gives."""
    made = limited(metric, SMALL)
    for units in metric.accepts:
        work, maps = family.work(), family.maps(3, units)
        first = values_of(made, work, maps, units)
        spent = work.cost[:2]
        second = values_of(made, work, maps, units)
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
            values_of(made, work, maps, units)
        peaks.append(planes.largest)
    allowed = 2 * 3 * (4 * count + 6 * batch_size)
    if peaks[1] > peaks[0] or peaks[1] > allowed:
        raise LawBroken(
            f"with 4 and 16 draws {peaks[0]} and {peaks[1]} planes (H, W) were alive at once, expected equal numbers "
            f"of at most {allowed}: work batch by batch"
        )


# -- NaN, with a reason --


def law_undefined_maps(metric: Metric, family: Family = CONVOLUTIONAL) -> None:
    """Zero, NaN and infinite maps have the value NaN with a reason, and leave other samples alone."""
    made = limited(metric, SMALL)
    for units in metric.accepts:
        good = family.maps(5, units)
        maps = good.clone()
        maps[1], maps.flatten(2)[2, 0, family.point], maps.flatten(2)[3, 0, family.point] = 0.0, torch.nan, torch.inf
        values, _ = reasoned(made, family.work(count=5), maps, units)
        if not bool(undefined(values)[1:4].all()):
            raise LawBroken(f"zero, NaN and infinite maps ({units}) have values {values[1:4].tolist()}, expected NaN")
        expected = values_of(made, family.work(count=5), good, units)
        same(values[[0, 4]], expected[[0, 4]], "a bad map changes the value of another sample")


def law_undefined_units(metric: Metric, family: Family = CONVOLUTIONAL) -> None:
    """Units that it does not accept give NaN with the reason `units`, and cost nothing."""
    for units in sorted(set(UNITS) - set(metric.accepts)):
        work = family.work()
        spent = work.cost[:2]
        values, reasons = reasoned(limited(metric, SMALL), work, family.maps(3, units), units)
        if not bool(values.isnan().all()) or "units" not in reasons:
            raise LawBroken(f"units {units} are not accepted, but give {values.tolist()}, expected NaN")
        if work.cost[:2] != spent:
            raise LawBroken(f"it spends evaluations on maps with units {units}, which it does not accept")


def law_undefined_masks(metric: Metric, family: Family = CONVOLUTIONAL) -> None:
    """A missing mask gives NaN for all samples, an empty one for its own, with a reason."""
    made, maps, units = limited(metric, SMALL), family.maps(3, metric.accepts[0]), metric.accepts[0]
    values, _ = reasoned(made, family.bind(seeded(family.general)), maps, units)
    if not bool(values.isnan().all()):
        raise LawBroken(f"without a mask the values are {values.tolist()}, expected NaN")
    masks = family.masks(3)
    masks[1] = False
    values, _ = reasoned(made, family.bind(seeded(family.general), **{**family.told(), "mask": masks}), maps, units)
    if undefined(values).tolist() != [False, True, False]:
        raise LawBroken(f"with an empty second mask the values are {values.tolist()}, expected NaN there alone")


def law_undefined_parts(metric: Metric, family: Family = CONVOLUTIONAL) -> None:
    """Where no parts are told, or nothing that draws without them, the values are NaN with a reason."""
    made, maps, units = limited(metric, SMALL), family.maps(3, metric.accepts[0]), metric.accepts[0]
    work = family.bind(seeded(family.general), mask=family.masks(3))
    values, _ = reasoned(made, work, maps, units)
    if not bool(values.isnan().all()):
        raise LawBroken(f"without parts the values are {values.tolist()}, expected NaN")


def reasoned(metric: Metric, work: Explicand, maps: Tensor, units: str) -> tuple[Tensor, dict[str, Tensor]]:
    """Values and reasons.

    Raises:
        LawBroken: A value is NaN without a reason, or has a reason without being NaN.
    """
    values, reasons = metric.evaluate(work, maps, Gradient(), units)
    given = torch.stack(list(reasons.values())).any(0)
    if not torch.equal(undefined(values), given):
        raise LawBroken(f"values {values.tolist()} have reasons at {given.tolist()}: each NaN needs one, nothing else")
    return values, reasons


# -- what it says of itself --


def law_attributes(metric: Metric) -> None:
    """It says in which direction it is better, in which bounds, and what it needs."""
    missing = [name for name in ("higher_is_better", "category") if not hasattr(metric, name)]
    if metric.pooled and type(metric).aggregate is Metric.aggregate:
        raise LawBroken("it is pooled and has no aggregate: write aggregate(values (M, K)) -> float")
    if missing:
        raise LawBroken(f"it has no {', '.join(missing)}: write them as class attributes")
    low, high = metric.bounds
    if not low < high or not set(metric.needs) <= {*TOLD, "method"} or not set(metric.accepts) <= set(UNITS):
        raise LawBroken(f"bounds {metric.bounds}, needs {metric.needs} or accepts {metric.accepts} are none")
