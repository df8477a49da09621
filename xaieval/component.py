"""What every method and every metric is: a frozen dataclass of plain values with one function to write.

A method writes `attribute(explicand)`, a metric `score(explicand, attribution, units, method)`; both are called like
functions.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from xaieval import notebook
from xaieval.explicand import UNITS, Explicand
from xaieval.module_call import keepable

SKIPPED = "skipped: cost"
"""The reason of a metric that explains again and again, where that would cost more than its budget."""


class Method:
    """An attribution method: makes an attribution of an explicand.

    Subclasses are final frozen dataclasses of numbers, strings, tuples or other such dataclasses.

    Attributes:
        units: What the numbers are: `gradient` (df/dx), `contribution` (in units of the score) or `importance` (order
            and scale only).
        reference: The paper: arXiv id or DOI.
        sentinel: A method that knows nothing of the model.
        oracle: Made to score well on a metric, or made of the ground truth: a bound to read others against, not an
            explanation to choose.
        needs: What must be there: `mask` (ground truth), `parts`, `world`, as for metrics.
        complete: Claims that the attribution sums to f(x) - f(baseline).
        whole_order: Its scores are an order of removal, found at once: it is not asked again of what is left of an
            input.
        refuses: What a map that is not finite means: why the method gave none of that sample. Empty: an error.
        syncs: Why the method needs the host, where it does.
        exceptions: Laws that do not hold for it, each with the reason.
    """

    units: ClassVar[str]
    reference: ClassVar[str]
    sentinel: ClassVar[bool] = False
    oracle: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ()
    complete: ClassVar[bool] = False
    whole_order: ClassVar[bool] = False
    refuses: ClassVar[str] = ""
    syncs: ClassVar[str] = ""
    exceptions: ClassVar[dict[str, str]] = {}

    def _repr_html_(self) -> str:
        """As a notebook shows it: what it is, its paper and its parameters."""
        return notebook.component(self)

    @property
    def signed(self) -> bool:
        """Whether scores may be negative, which then speak against the class; importance has no sign if nobody says so.

        Maps with a sign and maps without are not compared where only one of them can tell the two apart.
        """
        return self.units != "importance"

    def attribute(self, explicand: Explicand) -> Tensor:
        """The attribution `(N, C, *F)` or `(N, 1, *F)`."""
        raise NotImplementedError

    def tried(self, explicand: Explicand) -> Tensor:
        """A tensor that the method makes of the model only if it supports it: the attribution, unless that is costly.

        Raises:
            UnsupportedError: The model has layers for which the method is not defined, or lacks those that it reads.
        """
        return self(explicand)

    @final
    def __call__(self, explicand: Explicand) -> Tensor:
        """The attribution `(N, C, *F)` or `(N, 1, *F)` in float32, never rescaled, clipped or made absolute.

        Raises:
            ValueError: The method returned another shape, type or device.
        """
        with keepable(), explicand.meter.ledger() as ledger:
            attribution = self.attribute(explicand)
        check_attribution(attribution, explicand, type(self).__name__)
        attribution = attribution.detach().float()
        explicand.remember(attribution, self.units, ledger, self)
        return attribution


class Metric:
    """A metric: gives a value for each sample of an attribution, NaN where it is undefined.

    One that is defined on a dataset and not on a sample is `pooled`: it gives several numbers for each, `(N, K)`, a
    whole row of NaN where it is undefined, and writes `aggregate`, which makes one number of those of many samples.

    Attributes:
        pooled: Whether it gives `(N, K)` and has an `aggregate` of its own.
        higher_is_better: Direction.
        bounds: Smallest and largest possible value.
        category: faithfulness, localization, concepts, complexity, robustness, randomization, axioms or fairness.
        needs: What must be there: `mask` (ground truth), `parts` (with the concepts at them), `world` (what draws a
            sample anew), `method` (it explains again).
        accepts: Units for which it is defined.
        reference: The paper: arXiv id or DOI.
        syncs: Why the metric needs the host, where it does.
        without_value: The reason where `score` gives a number that is not finite.
        exceptions: Laws that do not hold for it, each with the reason.
    """

    pooled: ClassVar[bool] = False
    higher_is_better: ClassVar[bool]
    bounds: ClassVar[tuple[float, float]] = (-math.inf, math.inf)
    category: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    accepts: ClassVar[tuple[str, ...]] = UNITS
    reference: ClassVar[str]
    syncs: ClassVar[str] = ""
    without_value: ClassVar[str] = "value not finite"
    exceptions: ClassVar[dict[str, str]] = {}

    def _repr_html_(self) -> str:
        """As a notebook shows it: what it is, its paper and its parameters."""
        return notebook.component(self)

    def score(self, explicand: Explicand, attribution: Tensor, units: str, method: Method | None) -> Tensor:
        """The value `(N,)` of each sample, `(N, K)` of a pooled metric; what is undefined is masked afterwards."""
        raise NotImplementedError

    def undefined(self, explicand: Explicand, attribution: Tensor, units: str) -> dict[str, Tensor]:
        """Where the metric is undefined, `(N,)` for each reason; subclasses add to these."""
        flat = explicand.features(attribution, units).flatten(1)
        finite = attribution.flatten(1).isfinite().all(1)
        everywhere = torch.ones_like(finite)
        reasons = {"attribution not finite": ~finite, "zero attribution": (flat == 0).all(1)}
        if units not in self.accepts:
            reasons["units"] = everywhere
        lacking = self.lacking(explicand)
        if lacking:
            reasons[lacking] = everywhere
        return reasons

    def lacking(self, explicand: Explicand) -> str:
        """What it needs and these samples have not, so that nothing can be scored; empty where it has all."""
        told = {"mask": explicand.mask, "parts": explicand.parts, "world": explicand.worlds}
        return next((f"no {need}" for need in self.needs if need in told and told[need] is None), "")

    def undefined_with(self, explicand: Explicand, method: Method | None) -> dict[str, Tensor]:
        """Where the metric is undefined because of the method, `(N,)` for each reason; asked in accepted units only."""
        return {}

    @final
    def evaluate(
        self, explicand: Explicand, attribution: Tensor, method: Method | None = None, units: str | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Values `(N,)`, pooled `(N, K)`, with NaN where undefined, and for each reason where it holds `(N,)`.

        Where a pooled metric is undefined for all samples, K is 1.

        Raises:
            ValueError: An attribution of another shape or device, unknown units, or a metric that needs the method and
                got none.
        """
        check_attribution(attribution, explicand, "the attribution")
        units = units or explicand.units_of(attribution)
        if units not in UNITS:
            raise ValueError(f"units must be one of {', '.join(UNITS)}, got {units!r}")
        if "method" in self.needs and method is None:
            raise ValueError(
                f"{type(self).__name__} explains again: call it with method=, the method that made the attribution"
            )
        if attribution.requires_grad or attribution.dtype != torch.float32:  # else the tensor itself: curves know it
            attribution = attribution.detach().float()
        with keepable(), explicand.taken_as(attribution, units):
            return self._evaluated(explicand, attribution, units, method)

    def _evaluated(
        self, explicand: Explicand, attribution: Tensor, units: str, method: Method | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        reasons = self.undefined(explicand, attribution, units)
        if units not in self.accepts or self.lacking(explicand):
            shape = (explicand.count, 1) if self.pooled else (explicand.count,)
            return attribution.new_full(shape, torch.nan), reasons
        reasons |= self.undefined_with(explicand, method)
        values = self.score(explicand, attribution, units, method)
        check_values(self, values, explicand.count)
        infinite = ~values.isfinite()
        given = torch.stack(list(reasons.values())).any(0)
        reasons[self.without_value] = (infinite.any(1) if self.pooled else infinite) & ~given
        nowhere = reasons[self.without_value] | given
        return values.masked_fill(nowhere[:, None] if self.pooled else nowhere, torch.nan), reasons

    @final
    def __call__(
        self, explicand: Explicand, attribution: Tensor, method: Method | None = None, units: str | None = None
    ) -> Tensor:
        """Values `(N,)`, of a pooled metric `(N, K)`, NaN where undefined.

        Args:
            explicand: What was explained.
            attribution: `(N, C, *F)` or `(N, 1, *F)`.
            method: The method that made it, for metrics that explain again.
            units: Units of the attribution; None: as its method noted, or by its shape.
        """
        return self.evaluate(explicand, attribution, method, units)[0]

    def aggregate(self, values: Tensor) -> float:
        """One number for many samples: the mean of the valid ones.

        Args:
            values: `(M,)`. A pooled metric takes `(M, K)` and leaves out the rows that are NaN. Tables give float64,
                in which differences between n and n - 1 samples are to be seen.
        """
        if self.pooled:
            raise NotImplementedError(
                f"{type(self).__name__} is pooled, so one number of many samples is not their mean: write "
                "aggregate(values (M, K)) -> float"
            )
        return float(values.double().nanmean())

    def leave_one_out(self, values: Tensor) -> Tensor:
        """The aggregate of all rows but one, for each of M rows, `(M,)` in float64: its jackknife.

        One after the other; a pooled metric that knows a faster way writes it.

        Args:
            values: `(M, K)`, without NaN.
        """
        rest = (torch.cat((values[:row], values[row + 1 :])) for row in range(len(values)))
        return torch.tensor([self.aggregate(rows) for rows in rest], dtype=torch.float64)


def check_values(metric: Metric, values: Any, count: int) -> None:
    """Check the shape of what a metric gave for so many samples.

    Raises:
        ValueError: It is another than the metric has to give.
    """
    shape = tuple(values.shape) if isinstance(values, Tensor) else None
    came = f"{type(metric).__name__} gave " + (f"values {shape}" if shape is not None else f"a {type(values).__name__}")
    if metric.pooled and (shape is None or len(shape) != 2 or shape[0] != count or not shape[1]):
        raise ValueError(
            f"{came}, expected ({count}, K): a pooled metric gives K numbers for each of the {count} samples, and "
            "aggregate makes one of all"
        )
    if not metric.pooled and shape != (count,):
        raise ValueError(f"{came}, expected one for each of the {count} samples: do not average over samples in score")


def check_attribution(attribution: Any, explicand: Explicand, name: str) -> None:
    """Check type, shape and device, none of which makes the device wait.

    Raises:
        ValueError: One of them is wrong; says what came and what was expected.
    """
    one, full = (explicand.count, 1, *explicand.shape[2:]), tuple(explicand.shape)
    expected = f"expected a tensor {full} or {one} on {explicand.device}"
    if not isinstance(attribution, Tensor):
        raise ValueError(f"{name} is a {type(attribution).__name__}, {expected}: return one score for each feature")
    if tuple(attribution.shape) not in (one, full):
        raise ValueError(
            f"{name} has shape {tuple(attribution.shape)}, {expected}: upsample coarse maps with explicand.upsample"
        )
    if attribution.device != explicand.device:
        raise ValueError(f"{name} is on {attribution.device}, {expected}: create tensors on explicand.device")
    if not attribution.is_floating_point():
        raise ValueError(f"{name} has type {attribution.dtype}, {expected}: return floating point scores")


def component_dict(component: Any) -> Any:
    """A component as plain data: `_target_` and its fields, through nested components and tuples.

    A function or a class, which an adapter holds, is its name; whether that may be a key on disk, `source_hash` says.
    """
    if dataclasses.is_dataclass(component) and not isinstance(component, type):
        fields = {field.name: component_dict(getattr(component, field.name)) for field in dataclasses.fields(component)}
        return {"_target_": f"{type(component).__module__}.{type(component).__qualname__}", **fields}
    if isinstance(component, tuple | list):
        return [component_dict(entry) for entry in component]
    if component is None or isinstance(component, str | int | float | bool):
        return component
    if isinstance(component, functools.partial):
        arguments = {"_args_": component_dict(component.args)} if component.args else {}
        keywords = {name: component_dict(value) for name, value in component.keywords.items()}
        return {**component_dict(component.func), **arguments, **keywords}
    if callable(component) and not isinstance(component, nn.Module):
        named = component if hasattr(component, "__qualname__") else type(component)
        return {"_target_": f"{named.__module__}.{named.__qualname__}"}
    raise TypeError(
        f"{component!r} cannot be part of a method or metric: fields are numbers, strings, tuples or other such "
        f"dataclasses, got {type(component).__name__}"
    )


def component_json(component: Any) -> str:
    """The canonical JSON of a component, which is its key."""
    return json.dumps(component_dict(component), sort_keys=True)
