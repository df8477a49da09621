"""The catalog of metrics: what each says of itself, what its class declares, and what scoring one map costs.

`xaieval catalog metric docs/metrics.md` writes it.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from xaieval.attributions.input_x_gradient import InputXGradient
from xaieval.attributions.smoothgrad import SmoothGrad
from xaieval.comparison import CATEGORIES
from xaieval.component import Metric
from xaieval.cost import Cost, Ledger
from xaieval.explicand import UNITS, Explicand
from xaieval.laws.components import composed
from xaieval.laws.part_toys import Named
from xaieval.pages import (
    CONCEPTS,
    SIDE,
    counted,
    exceptions,
    heading,
    line,
    meanings,
    parameter_table,
    photo,
    source,
    table,
    title,
)
from xaieval.unsupported import UnsupportedError

PATH = "docs/metrics.md"
"""Where the repository keeps the catalog, below its root."""

ALWAYS = ("attribution not finite", "zero attribution", "units", "no mask", "no parts", "no world", "value not finite")
"""Reasons that any metric may give."""

NEEDS = {
    "mask": "a mask of the object",
    "parts": "parts with the concepts at them",
    "world": "samples that can be drawn anew",
    "method": "the method, since it explains again",
}


@dataclass(frozen=True)
class Entry:
    """What the catalog knows of a metric.

    Attributes:
        name: The stem of its YAML.
        metric: As its YAML composes it.
        cost: Evaluations for one map of one input of 224 x 224 pixels, nothing known before.
        shared: The part of them that the map of a second method need not pay again.
        reasons: Why it may be undefined, beyond what holds for any metric.
    """

    name: str
    metric: Metric
    cost: Cost
    shared: Cost
    reasons: tuple[str, ...]


def catalog() -> str:
    """The catalog as Markdown."""
    entries = [entry(name, metric) for name, metric in composed("metric")]
    entries.sort(key=lambda one: CATEGORIES.index(one.metric.category))  # by name within each
    return "\n\n".join([INTRODUCTION, _overview(entries), *map(_section, entries)]) + "\n"


def entry(name: str, metric: Metric) -> Entry:
    """What is known of a metric, measured now."""
    first, second, reasons = measured(metric)
    shared = Cost(*(alone - again for alone, again in zip(first, second, strict=True)))
    return Entry(name, metric, first, shared, tuple(reason for reason in reasons if reason not in ALWAYS))


def measured(metric: Metric) -> tuple[Cost, Cost, list[str]]:
    """What scoring a map costs alone and a second method's map after it, and the reasons that were looked at.

    Each method is one gradient: at the input, and at a noisy copy of it, so that the two share none. A metric that
    needs the host cannot run without values: it is counted on a tiny network. One that reads concepts is counted on
    those of ResNet-18, one whose features are concepts on pixels that pass for them.
    """
    for network in ("resnet18", CONCEPTS):
        with contextlib.suppress(UnsupportedError):
            return _measured(metric, photo(bool(metric.syncs), network))
    return _measured(metric, photo(False, modality=Named()))


def _measured(metric: Metric, explicand: Explicand) -> tuple[Cost, Cost, list[str]]:
    inner = InputXGradient()
    ledgers: list[Ledger] = []
    reasons: dict[str, Tensor] = {}
    for method in (inner, SmoothGrad(samples=1, method=inner)):
        attribution = method(explicand)
        with explicand.meter.ledger() as ledger:
            _, reasons = metric.evaluate(explicand, attribution, method)
        ledgers.append(ledger)
    return ledgers[0].standalone, ledgers[1].paid, list(reasons)


# -- what the docstring says -------------------------------------------------------------------------------------------

LABELS = ("Bounds:", "Chance:", "Cost:", "Needs:", "Accepts", "Undefined")
DIFFERS = "Differs from the paper"


def said(metric: Metric) -> dict[str, str]:
    """The parts of a docstring.

    `Formula` is what comes before the paragraph that begins with the direction, such as "Lower is better". From there
    on each sentence that begins with a label stands under it, and the others under `Notes`.
    """
    text = inspect.cleandoc(type(metric).__doc__ or "")
    prose, _, attributes = re.split(r"^Raises:$", text, flags=re.MULTILINE)[0].partition("Attributes:\n")
    prose, _, differs = prose.partition(DIFFERS)
    formula, direction, claims = re.split(r"^((?:Higher|Lower) is )", prose, maxsplit=1, flags=re.MULTILINE)
    first, *sentences = re.split(r"(?<=\.)\s+", (direction + claims).strip())
    words = {"Formula": formula.strip(), "Direction": line(first), "Attributes": attributes, "Differs": _said(differs)}
    notes = []
    for sentence in (" ".join(one.split()) for one in sentences):
        label = next((label for label in LABELS if sentence.startswith(label)), "")
        if label:
            words[label.rstrip(":")] = sentence.removeprefix(label).strip()
        else:
            notes.append(sentence)
    return words | {"Notes": " ".join(notes)}


def _said(differs: str) -> str:
    """What follows "Differs from the paper", up to the end of the paragraph."""
    text = line(differs)
    return text if text.startswith((":", ",")) else f" {text}"


# -- the page ----------------------------------------------------------------------------------------------------------

INTRODUCTION = f"""\
# Metrics

<!-- Made by `xaieval catalog metric {PATH}` from the classes and their YAML. -->

What can be chosen as `metric=NAME`, with the defaults of `conf/metric/NAME.yaml`. A metric gives each sample a value,
or NaN and the reason why it has none; samples are averaged last, over those that have a value. Where common toolkits
give other numbers under the same names is told in [deviations.md](deviations.md).

- **Better**: ↑ higher values, ↓ lower values. **Bounds**: of the value with the defaults.
- **Needs**: `mask`: ground truth; `method`: the method that made the map, as the metric explains again.
- **Units** of the maps for which it is defined: `gradient` is df/dx, `contribution` is in units of the score, of
  `importance` only order and scale mean something.
- **Forwards**, **backwards**: evaluations for one map of one input of {SIDE} x {SIDE} pixels with the defaults, as
  counted on ResNet-18 for a method of one gradient (metrics marked * need values on the host and are counted on a tiny
  network). **Shared**: the forwards among them that the map of a second method does not pay again. Where a metric
  explains again, what is not shared grows with the cost of the method.
- **Undefined** is any metric for a map that is not finite or zero everywhere, in units that it does not accept, without
  a mask that it needs, and where its own value is not finite; what is named below comes on top. `skipped: cost` says
  that explaining again would cost more than its budget."""


def _overview(entries: Sequence[Entry]) -> str:
    counts = ("forwards", "backwards", "shared")
    head = ("category", "metric", "what it is", "source", "better", "bounds", "needs", "units", *counts)
    rows, category = [], ""
    for one in entries:
        new = one.metric.category != category
        category = one.metric.category
        rows.append([f"**{category}**" if new else "", *_summary(one)])
    return table(head, rows)


def _summary(one: Entry) -> list[str]:
    metric, mark = one.metric, "*" if one.metric.syncs else ""
    counts = [f"{count:,.0f}{mark}" for count in (*one.cost[:2], one.shared.forwards)]
    needs, better = ", ".join(metric.needs) or "-", "↑" if metric.higher_is_better else "↓"
    return [
        f"[{one.name}](#{one.name})",
        title(metric),
        source(metric),
        better,
        _bounds(metric),
        needs,
        _units(metric),
        *counts,
    ]


def _bounds(metric: Metric) -> str:
    low, high = (f"{bound:g}" for bound in metric.bounds)
    if metric.bounds == (-math.inf, math.inf):
        return "none"
    if high == "inf":
        return f"at least {low}"
    return f"at most {high}" if low == "-inf" else f"{low} to {high}"


def _units(metric: Metric) -> str:
    return "all" if set(metric.accepts) == set(UNITS) else ", ".join(metric.accepts)


def _section(one: Entry) -> str:
    metric, words = one.metric, said(one.metric)
    needs = " and ".join(NEEDS[need] for need in metric.needs) or "the map alone"
    lines = [
        f"- **Direction**: {words['Direction']} **Bounds**: {words.get('Bounds', 'not said.')}",
        *([f"- **Chance**: {words['Chance']}"] if "Chance" in words else []),
        f"- **Category**: {metric.category}. **Needs**: {needs}. **Units**: {_units(metric)}.",
        f"- **Cost**: {words.get('Cost', 'not said.')} Measured: {_counted(one)}.",
        f"- **Undefined**{_undefined(words.get('Undefined', ''), one.reasons)}",
        f"- **{DIFFERS}**{words['Differs']}",
        *([f"- **Note**: {words['Notes']}"] if words["Notes"] else []),
        *exceptions(metric),
        *([f"- **Waits for the host**: {metric.syncs}."] if metric.syncs else []),
    ]
    parts = [f"## {one.name}", heading(metric), words["Formula"], "\n".join(lines)]
    return "\n\n".join([*parts, *parameter_table(metric, meanings(words["Attributes"]))])


def _counted(one: Entry) -> str:
    if not any(one.cost[:2]):
        return "none"
    where = "a tiny network" if one.metric.syncs else "ResNet-18"
    shared = counted(one.shared)
    return f"{counted(one.cost)} at {SIDE} x {SIDE} pixels on {where}; a second method shares {shared}"


def _undefined(sentence: str, reasons: Sequence[str]) -> str:
    named = ", ".join(f"`{reason}`" for reason in reasons)
    if not sentence:
        return f": {named}." if reasons else " as any metric is."
    return f" {sentence} Reasons: {named}." if reasons else f" {sentence}"
