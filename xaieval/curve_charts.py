"""Deletion and insertion curves: the area below them, a random order beside them, and what is left of a photo.

curves(explicand, {"gradient": attribution, ...}, sample=0)      # one photo, with pictures of what is masked
curves(explicand, {"gradient": attribution, ...})                # means over the samples, with intervals
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from torch import Tensor

from xaieval.attributions.random import Random
from xaieval.chart_frame import SMALL, without_math
from xaieval.column_intervals import mean_intervals
from xaieval.curve import Order
from xaieval.explicand import Explicand
from xaieval.palette import GRAY, Look, looks
from xaieval.plots import require_matplotlib, title_of, wrapped
from xaieval.removal import Removal
from xaieval.statistics import Values
from xaieval.table import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DIRECTIONS = {
    "deletion": "deletion: part removed, lower is better",
    "insertion": "insertion: part put back, higher is better",
}

RANDOM = 10
"""Random orders of one sample; of many samples each has one."""

CURVE, PICTURE, HEIGHT = 2.6, 1.3, 1.7
"""Widths of a curve and of a picture, and the height of a line, in inches."""


class Line(NamedTuple):
    """A curve, with the ends of its band, and the area below it.

    Attributes:
        fraction: Part of the patches, `(steps + 1,)`.
        scores: `(steps + 1,)`.
        low: Likewise; NaN where nothing is known.
        high: Likewise.
        area: As it is told: a number, and its ends.
    """

    fraction: Values
    scores: Values
    low: Values
    high: Values
    area: str


def curves(
    explicand: Explicand,
    attributions: Mapping[str, Tensor],
    sample: int | None = None,
    *,
    shown: Sequence[int] = (1, 4, 8),
    grid: int = 14,
    steps: int = 14,
    removal: str | Removal = "zero",
    output: str = "probability",
    seed: int = 0,
) -> Figure:
    """Draw the class score while patches are removed, and put back, in the order of each attribution.

    The area below is shaded. Beside it, dashed, stands a random order: of one sample the mean of ten with their whole
    range, of several samples one for each. Means over samples have 95 % bootstrap intervals; samples count as
    independent. Evaluations are those of `Explicand.curve`, and as many again for each random order.

    Args:
        explicand: What was explained.
        attributions: `(N, C, *F)` or `(N, 1, *F)` by name.
        sample: Number of the sample to draw; None: means over all, of one sample the sample itself.
        shown: Steps of which the masked photo is shown, where a sample is named and has pixels; 1 to `steps` - 1.
        grid: Patches per side.
        steps: From one end of the curve to the other.
        removal: What stands where a patch is removed.
        output: Form of the score: probability, logit, log_probability or margin.
        seed: Of ties and of random orders.

    Raises:
        ConfigError: matplotlib is not installed.
        ValueError: No attribution, no such sample or step, or no such removal or output.
    """
    require_matplotlib()
    if not attributions:
        raise ValueError("curves need at least one attribution, got none")
    if sample is not None and not 0 <= sample < explicand.count:
        raise ValueError(f"sample must be a number from 0 to {explicand.count - 1}, or None for means, got {sample}")
    sample = 0 if explicand.count == 1 else sample
    options = {"grid": grid, "steps": steps, "removal": removal, "seed": seed}
    bound, maps = _taken(explicand, attributions, sample)
    pictured = () if sample is None or bound.inputs.dim() != 4 else shown
    most = min(steps, bound.patches(grid).count) - 1
    if bad := [step for step in pictured if not 1 <= step <= most]:
        raise ValueError(f"shown must be steps from 1 to {most}, got {', '.join(map(str, bad))}")
    found = {
        direction: {name: _line(bound, [one], direction, output, options) for name, one in maps.items()}
        for direction in DIRECTIONS
    }
    orders = [Random(seed=seed + number)(bound) for number in range(1 if sample is None else RANDOM)]
    chance = {direction: _line(bound, orders, direction, output, options) for direction in DIRECTIONS}
    pictures = {direction: _pictures(bound, maps, direction, pictured, options) for direction in DIRECTIONS}
    random = (
        "a random order of each sample" if sample is None else f"the mean of {RANDOM} random orders and their range"
    )
    return _drawn(found, chance, pictures, _title(explicand, sample), f"{output} of the class; dashed: {random}")


def masked(
    explicand: Explicand,
    attribution: Tensor,
    direction: str,
    *,
    grid: int = 14,
    steps: int = 14,
    removal: str | Removal = "zero",
    seed: int = 0,
) -> Tensor:
    """The inputs between the ends of a curve, `(N, steps - 1, C, *F)`: what `Explicand.curve` asks the model about."""
    pieces, bound = explicand.patches(grid), explicand.removal(removal, "curve")
    order = Order.of(explicand, explicand.piece_scores(pieces, attribution), pieces.present, steps, seed)
    inputs = explicand.inputs.new_empty(explicand.count, order.inner, *explicand.shape[1:])
    for batch in explicand.batches(order.inner, "scores"):
        batch.write(inputs, bound(batch, pieces.of(batch).spread(order.gone(batch, direction))))
    return inputs


# -- numbers ---------------------------------------------------------------------------------------------------------


def _taken(
    explicand: Explicand, attributions: Mapping[str, Tensor], sample: int | None
) -> tuple[Explicand, dict[str, Tensor]]:
    """The sample alone with its maps, whose units are noted anew, or all of them."""
    if sample is None:
        return explicand, dict(attributions)
    rows = slice(sample, sample + 1)
    bound, maps = explicand.part(rows, [sample]), {name: one[rows] for name, one in attributions.items()}
    for name, one in attributions.items():
        bound.noted(maps[name]).units = explicand.units_of(one)
    return bound, maps


def _line(
    explicand: Explicand, attributions: Sequence[Tensor], direction: str, output: str, options: dict[str, Any]
) -> Line:
    """The mean over samples with its interval, or of some orders of one sample with their range."""
    found = [explicand.curve(one, direction=direction, **options) for one in attributions]
    scores = np.concatenate([curve.scores.of(output).double().cpu().numpy() for curve in found])
    areas = np.concatenate([curve.area(output).double().cpu().numpy() for curve in found])
    table = np.column_stack([scores, areas])
    if len(attributions) > 1:
        low, high = table.min(axis=0), table.max(axis=0)
    else:
        intervals = mean_intervals(table, list(range(len(table))))
        low, high = (np.array([getattr(one, end) for one in intervals]) for end in ("low", "high"))
    told = number(float(areas.mean()), 3)
    if np.isfinite(low[-1]):
        told += f" [{number(float(low[-1]), 3)}, {number(float(high[-1]), 3)}]"
    fraction = found[0].fraction.double().mean(0).cpu().numpy()
    return Line(fraction, scores.mean(axis=0), low[:-1], high[:-1], told)


def _pictures(
    explicand: Explicand, maps: Mapping[str, Tensor], direction: str, shown: Sequence[int], options: dict[str, Any]
) -> dict[int, dict[str, Tensor]]:
    """The masked photo `(C, H, W)` by step and map."""
    inputs = {name: masked(explicand, one, direction, **options)[0] for name, one in maps.items()} if shown else {}
    return {step: {name: one[step - 1] for name, one in inputs.items()} for step in shown}


def _title(explicand: Explicand, sample: int | None) -> str:
    if sample is None:
        return f"{explicand.classifier.name}: means over {explicand.count} samples with 95 % bootstrap intervals"
    return " \N{MIDDLE DOT} ".join(title_of(explicand, sample).splitlines())


# -- the figure ------------------------------------------------------------------------------------------------------


def _drawn(
    found: Mapping[str, Mapping[str, Line]],
    chance: Mapping[str, Line],
    pictures: Mapping[str, Mapping[int, Mapping[str, Tensor]]],
    title: str,
    below: str,
) -> Figure:
    """A line for each attribution: a curve and its pictures, one direction beside the other."""
    from matplotlib.figure import Figure

    names, count = list(found["deletion"]), 1 + len(pictures["deletion"])
    widths = [CURVE, *[PICTURE] * (count - 1)] * 2
    figure = Figure(figsize=(sum(widths) + 0.6, HEIGHT * len(names) + 0.9), dpi=150, layout="constrained")
    axes = figure.subplots(len(names), len(widths), squeeze=False, width_ratios=widths)
    look = looks(names)
    for row, name in zip(axes, names, strict=True):
        row[0].set_ylabel(wrapped(name), fontsize=SMALL + 1)
        for place, direction in enumerate(DIRECTIONS):
            first, *others = row[place * count : (place + 1) * count]
            line, shown = found[direction][name], pictures[direction]
            _panel(first, line, chance[direction], list(shown), look[name])
            for one, (step, inputs) in zip(others, shown.items(), strict=True):
                _picture(one, inputs[name], line, step)
    for place, said in enumerate(DIRECTIONS.values()):
        axes[-1][place * count].set_xlabel(said, fontsize=SMALL)
    figure.suptitle(title, fontsize=SMALL + 2, x=0.01, ha="left")
    figure.supxlabel(below, fontsize=SMALL, color="0.2")
    return without_math(figure)


def _panel(axes: Axes, line: Line, chance: Line, shown: Sequence[int], look: Look) -> None:
    """The curve with its area and band, a random order, and marks where there are pictures."""
    axes.fill_between(line.fraction, 0, line.scores, color=look.color, alpha=0.15, linewidth=0, gid="area")
    for one, color, style in ((chance, GRAY, "dashed"), (line, look.color, "solid")):
        if np.isfinite(one.low).all():
            axes.fill_between(one.fraction, one.low, one.high, color=color, alpha=0.25, linewidth=0, gid="band")
        axes.plot(one.fraction, one.scores, color=color, linestyle=style, linewidth=1.4)
    axes.plot(line.fraction[list(shown)], line.scores[list(shown)], "o", color=look.color, markersize=4)
    axes.set_title(f"area {line.area}\nrandom {chance.area}", fontsize=SMALL)
    axes.set_xlim(0, 1)
    axes.tick_params(labelsize=SMALL)
    axes.spines[["top", "right"]].set_visible(False)


def _picture(axes: Axes, inputs: Tensor, line: Line, step: int) -> None:
    axes.imshow(inputs.expand(3, -1, -1).movedim(0, -1).clamp(0, 1).cpu().numpy())
    axes.set_title(f"{100 * line.fraction[step]:.0f} %: {number(float(line.scores[step]), 2)}", fontsize=SMALL)
    axes.set_axis_off()
