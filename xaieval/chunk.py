"""One chunk of samples at work: loaded and kept maps, shared scores, errors, costs, rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from xaieval.classifier import Classifier
from xaieval.collate import collate, padded
from xaieval.component import Method
from xaieval.cost import Cost, Ledger
from xaieval.datasets.base import Sample
from xaieval.explicand import Explicand
from xaieval.noted import version_of
from xaieval.plan import Keys, Part, Subject
from xaieval.progress import Progress
from xaieval.scores import Scores
from xaieval.store import Store
from xaieval.unsupported import UnsupportedError

NOT_FINITE = (
    "the map holds NaN or infinite scores, expected a finite score for each feature: look for a division by zero"
)

FACTS = ("target", "classes")
"""What is kept of a sample beside scores: the class explained, and how many classes the model has."""

COST = "cost of "
"""Before the name of a shared score: its forwards, backwards and seconds for one sample."""


@dataclass
class Map:
    """A method's attribution of a chunk, or why there is none.

    Attributes:
        attribution: `(N, C, *F)` or `(N, 1, *F)`; None where the method failed.
        units: Of its numbers.
        errors: For each sample, what is wrong with its part.
        alone: What making it would cost alone, for all samples.
        paid: What this run spent on it.
        refusal: Why the method is not defined for the model, where it is not.
    """

    attribution: Tensor | None
    units: str | None
    errors: list[str | None]
    alone: Cost | None = None
    paid: Cost = Cost()
    refusal: str | None = None


@dataclass
class Scored:
    """A metric's values of a chunk.

    Attributes:
        metric: The metric.
        ledger: What it cost; None where there was nothing to score.
        values: `(N,)`, of a pooled metric `(N, K)`, NaN where undefined; None where the metric failed.
        reasons: Where it is undefined and why, `(N,)` each.
        error: Why it failed.
    """

    metric: Part
    ledger: Ledger | None = None
    values: Tensor | None = None
    reasons: dict[str, Tensor] = field(default_factory=dict)
    error: str | None = None


class Work:
    """The samples of a chunk bound to the model, with what the store knows of them.

    Args:
        classifier: The model.
        subjects: What is known of the samples.
        samples: The samples themselves.
        target: `predicted` or `label`.
        keys: Where things are kept.
        store: In which store; None: in none.
        progress: Told what is going on.

    Raises:
        ValueError: A sample cannot be explained, such as one with a label that is none of the model's classes.
    """

    def __init__(
        self,
        classifier: Classifier,
        subjects: Sequence[Subject],
        samples: Sequence[Sample],
        target: str,
        keys: Keys,
        store: Store | None,
        progress: Progress,
    ) -> None:
        self.subjects = subjects
        self._keys = keys
        self._store = store
        self._progress = progress
        self._target = target
        self._tables = [self._scalars(subject) for subject in subjects]
        known = self._known()
        self.explicand = self._bind(classifier, samples, known)
        self._paid = Cost(*(float(count) for count in (self.explicand.meter.forwards, self.explicand.meter.backwards)))
        for name, (values, cost) in known.items():
            self.explicand.preload(name, Scores(values.to(self.explicand.device)), cost)
        self._kept = set(known)
        progress.watch(self.explicand.meter)

    # -- what the samples share --------------------------------------------------------------------------------------

    def _known(self) -> dict[str, tuple[Tensor, Cost]]:
        """Shared scores `(N, ..., 3)` that the store has of all the samples, with the cost of making them."""
        found = {}
        for name in sorted(set.intersection(*(set(table) for table in self._tables))):
            if not name.startswith(COST) and name not in FACTS:
                costs = torch.stack([table[f"{COST}{name}"] for table in self._tables]).sum(0)
                found[name] = (torch.stack([table[name] for table in self._tables]), Cost(*costs.tolist()))
        return found

    def _scalars(self, subject: Subject) -> dict[str, Tensor]:
        """What the store has of one sample: `FACTS`, scores, and for each its cost."""
        key = self._keys.scores(subject)
        return (self._store.scalars(key) if self._store is not None and key is not None else None) or {}

    def _bind(self, classifier: Classifier, samples: Sequence[Sample], known: Mapping[str, Any]) -> Explicand:
        target: Tensor | None = None
        if known:
            target = torch.stack([table["target"] for table in self._tables])
            classifier.classes = classifier.classes or int(self._tables[0]["classes"])  # no call to find it out again
        elif self._target == "label":
            target = torch.tensor([subject.label for subject in self.subjects])
        ids = [subject.id for subject in self.subjects]
        return classifier.explicand(target=target, ids=ids, **collate(samples))

    def keep_scores(self) -> None:
        """Keep the scores that later runs may ask for again, where new ones were made."""
        shared = self.explicand.shared_scores()
        if self._store is None or not set(shared) - self._kept:
            return
        host = {
            name: (values.cpu(), torch.tensor(cost.per(len(self.subjects)))) for name, (values, cost) in shared.items()
        }
        facts = (
            self.explicand.target.cpu(),
            torch.tensor(self.explicand.classifier.classes).expand(len(self.subjects)),
        )
        for row, subject in enumerate(self.subjects):
            key = self._keys.scores(subject)
            if key is not None:
                table = self._tables[row] | {name: fact[row] for name, fact in zip(FACTS, facts, strict=True)}
                for name, (values, cost) in host.items():
                    table |= {name: values[row], f"{COST}{name}": cost}
                self._store.write_scalars(key, table)
        self._kept = set(shared)

    # -- maps --------------------------------------------------------------------------------------------------------

    def explain(self, method: Part) -> Map:
        """The map of a method, from the store or computed and kept."""
        with self._progress.step(("explain", method.name), len(self.subjects)):
            return self._loaded(method) or self._explained(method)

    @contextmanager
    def _looked_up(self) -> Iterator[None]:
        """A method that asks for another's map is given that of the store, within the block."""

        def lookup(method: Method) -> Tensor | None:
            found = self._loaded(Part.of("", method))
            return None if found is None else found.attribution

        self.explicand.lookup = lookup
        try:
            yield
        finally:
            self.explicand.lookup = None  # it holds this work, which holds the explicand and its tensors

    def _loaded(self, method: Part) -> Map | None:
        maps, cost, units = [], Cost(), ""
        for subject in self.subjects:
            key = self._keys.attribution(subject, method)
            found = self._store.attribution(key) if self._store is not None and key is not None else None
            if found is None:
                return None
            tensor, metadata = found
            maps.append(padded(tensor, self.explicand.shape[-1]))
            units = metadata["units"]
            cost = cost.plus(Cost(*(float(metadata[name]) for name in Cost._fields)))
        attribution = torch.stack(maps).to(self.explicand.device)
        self.explicand.remember(attribution, units, cost, method.component)
        return Map(attribution, units, [None] * len(maps), cost)

    def _explained(self, method: Part) -> Map:
        paid, self._paid = self._paid, Cost()  # binding the samples is paid for by the first method
        try:
            with self._looked_up(), self.explicand.meter.ledger() as ledger:
                attribution = method.component(self.explicand)
                units = method.component.units or self.explicand.units_of(attribution)
        except UnsupportedError as refused:
            return Map(None, None, [None] * len(self.subjects), paid=paid.plus(ledger.paid), refusal=refused.reason)
        except Exception as error:  # whatever a stranger's method raises
            self._wait()
            return Map(None, None, [sentence(error)] * len(self.subjects), paid=paid.plus(ledger.paid))
        finite = _finite(attribution).tolist()  # waits for the device, so the seconds are known
        refuses = method.component.refuses
        if refuses and not any(finite):
            return Map(None, None, [None] * len(finite), paid=paid.plus(ledger.paid), refusal=refuses)
        errors = [None if good or refuses else NOT_FINITE for good in finite]
        made = Map(attribution, units, errors, ledger.standalone, paid.plus(ledger.paid))
        self._keep(method, made, finite)
        return made

    def _keep(self, method: Part, made: Map, finite: Sequence[bool]) -> None:
        if self._store is None or made.attribution is None or made.alone is None:
            return
        one = made.alone.per(len(self.subjects))
        metadata = {"units": str(made.units), **{name: repr(value) for name, value in one._asdict().items()}}
        host = made.attribution.cpu()
        for row, subject in enumerate(self.subjects):
            key = self._keys.attribution(subject, method)
            if key is not None and finite[row]:
                self._store.write_attribution(key, padded(host[row], subject.shape[-1]), metadata)

    def keep_curves(self, method: Part, made: Map) -> None:
        """Keep the curves along which metrics scored a map, to be drawn: for each `(steps + 1, 4)`.

        These are the three numbers of its `Scores` at each point, and the part of the pieces that are gone or back.
        """
        if self._store is None or made.attribution is None or self._keys.curves(self.subjects[0], method) is None:
            return
        current = (made.units, version_of(made.attribution))
        noted = self.explicand.noted(made.attribution).curves.items()
        found = {name: curve for (name, *how), (curve, _) in noted if tuple(how) == current}
        tables = [torch.cat((curve.scores.values, curve.fraction[..., None]), -1) for curve in found.values()]
        host = dict(zip(found, _on_host(tables), strict=True))
        for row, subject in enumerate(self.subjects if host else ()):
            key = str(self._keys.curves(subject, method))
            kept = self._store.scalars(key) or {}
            self._store.write_scalars(key, kept | {name: values[row] for name, values in host.items()})

    # -- scores ------------------------------------------------------------------------------------------------------

    def score(self, method: Part, metrics: Sequence[Part], made: Map) -> list[Scored]:
        """The values and reasons of each metric, on the host."""
        scored = []
        for metric in metrics:
            with self._progress.step(("score", metric.name, method.name), len(self.subjects)):
                scored.append(self._scored(method.component, metric, made))
        values = _on_host([one.values for one in scored if one.values is not None])
        reasons = _on_host([where for one in scored for where in one.reasons.values()])
        for one in scored:
            if one.values is not None:
                one.values = next(values)
            one.reasons = {reason: next(reasons) for reason in one.reasons}
        return scored

    def _scored(self, method: Method, metric: Part, made: Map) -> Scored:
        if made.attribution is None:
            return Scored(metric)
        try:
            with self.explicand.meter.ledger() as ledger:
                values, reasons = metric.component.evaluate(self.explicand, made.attribution, method, made.units)
        except UnsupportedError as refused:  # a copy or a randomized model that the method explains no more
            nowhere = made.attribution.new_full((len(self.subjects),), torch.nan)
            return Scored(metric, ledger, nowhere.double(), {refused.reason: nowhere.isnan()})
        except Exception as error:  # whatever a stranger's metric raises
            self._wait()
            return Scored(metric, ledger, error=sentence(error))
        if method.refuses:  # the first reason that holds is the one that is noted
            reasons = {method.refuses: ~_finite(made.attribution), **reasons}
        return Scored(metric, ledger, values.double(), reasons)

    def _wait(self) -> None:
        """Until the device is done, so that seconds are known; the transfers of results do it otherwise."""
        if self.explicand.device.type == "cuda":
            torch.cuda.synchronize(self.explicand.device)


def sentence(error: BaseException) -> str:
    """An exception as one line: its class and what it says."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _finite(attribution: Tensor) -> Tensor:
    """Which samples `(N,)` have a finite score for each feature."""
    return attribution.flatten(1).isfinite().all(1)


def _on_host(tensors: Sequence[Tensor]) -> Iterator[Tensor]:
    """The tensors, of one type and any shapes, on the CPU, in one transfer."""
    if not tensors:
        return
    parts = torch.cat([tensor.flatten() for tensor in tensors]).cpu().split([tensor.numel() for tensor in tensors])
    yield from (part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True))
