"""Runs methods and metrics on the samples of a dataset: computes what the store lacks, and computes it once.

The unit of work is one method on one chunk of samples: its map is kept before its metrics start, and its rows are one
part of the store. All methods of a chunk are explained first and then scored, so the responses that metrics share are
computed once.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pandas as pd
import pyarrow as pa

from xaieval.chunk import Map, Scored, Work, sentence
from xaieval.classifier import Classifier
from xaieval.component import Method, Metric
from xaieval.cost import Cost
from xaieval.datasets.base import Sample
from xaieval.keys import versions
from xaieval.plan import TARGETS, UNKEPT, Cell, Chunk, Keys, Part, Subject, cells, chunks
from xaieval.progress import Progress, Step
from xaieval.rows import SCHEMA, complete_row, one_per_key, to_frame
from xaieval.store import Store


class CellError(RuntimeError):
    """Some cells of a run have an error; the others are finished and kept."""


def check_cells(rows: pd.DataFrame) -> None:
    """Say which cells failed.

    Args:
        rows: Rows of a run.

    Raises:
        CellError: Any did.
    """
    failed = rows[rows["error"].notna()]
    if failed.empty:
        return
    alike = [re.sub(r"\d+", "#", error) for error in failed["error"]]  # one error, whatever the number of samples
    first = dict(zip(reversed(alike), reversed(failed["error"].tolist()), strict=True))
    counts = Counter(zip(failed["method"], alike, strict=True)).most_common()
    lines = [f"  {method}, {count} cells: {first[error]}" for (method, error), count in counts[:10]]
    rest = [f"  and {len(counts) - 10} other errors"] if len(counts) > 10 else []
    total = f"{len(failed)} of {len(rows)} cells failed, the others are finished and kept:"
    raise CellError("\n".join([total, *lines, *rest]))


@dataclass
class Outcome:
    """What a run gives.

    Attributes:
        rows: The requested cells, one row each, with the columns of `xaieval.rows.SCHEMA`.
        computed: How many of them this run computed.
        missing: How many cells of each method were left out, as the store lacks them.
    """

    rows: pd.DataFrame
    computed: int
    missing: dict[str, int] = field(default_factory=dict)


@dataclass
class Benchmark:
    """Methods x metrics on the samples of one dataset with one model.

    Attributes:
        classifier: The model.
        methods: Methods by name.
        metrics: Metrics by name.
        dataset: Name of the dataset.
        target: The class explained: `predicted`, or the `label` of the dataset.
        store: Where results are kept and looked up; None: nowhere.
        seed: Of the run, for the rows; components have seeds of their own.
        config_hash: Of the composed configuration, for the rows.
        progress: Told what is going on.
    """

    classifier: Classifier
    methods: Mapping[str, Method]
    metrics: Mapping[str, Metric]
    dataset: str
    target: str = "predicted"
    store: Store | None = None
    seed: int = 0
    config_hash: str | None = None
    progress: Progress = field(default_factory=lambda: Progress(shown=False))

    def __post_init__(self) -> None:
        """Check the options."""
        if self.target not in TARGETS:
            raise ValueError(f"target must be one of {', '.join(TARGETS)}, got {self.target!r}")
        self._keys = Keys(self.classifier)
        self._methods = [Part.of(name, method) for name, method in self.methods.items()]
        self._metrics = [Part.of(name, metric) for name, metric in self.metrics.items()]
        self._tables: list[pa.Table] = [SCHEMA.empty_table()]
        self._unread: dict[Subject, str] = {}

    def run(
        self, samples: Sequence[Sample], indices: Sequence[int] | None = None, only: Container[str] | None = None
    ) -> Outcome:
        """Compute the cells of the samples that the store lacks.

        Args:
            samples: The dataset.
            indices: Which of them; None: all.
            only: Names of the methods that are computed; of the others there are the cells of the store. None: all.

        Raises:
            TypeError: The model does not give logits.
            StoreError: The store cannot be read or written.
        """
        self._samples = samples
        subjects = list(self._subjects(range(len(samples)) if indices is None else indices))
        requested = cells(subjects, self._methods, self._metrics, self._keys)
        done = self.store.done(cell.key for cell in requested) if self.store is not None else set()
        lacking = [cell for cell in requested if cell.key not in done]
        missing = Counter(cell.method.name for cell in lacking if only is not None and cell.method.name not in only)
        todo = [cell for cell in lacking if cell.method.name not in missing]
        self._announce(requested, lacking)
        try:
            self._compute(list(chunks(todo)))
        finally:
            if self.store is not None:
                self.store.merge()
        there = [cell for cell in requested if cell.key in done or cell.method.name not in missing]
        return Outcome(self._frame(there), len(todo), dict(missing))

    # -- samples -----------------------------------------------------------------------------------------------------

    def _subjects(self, indices: Sequence[int]) -> Iterator[Subject]:
        """What is known of each sample; those that cannot be read are noted with the error."""
        ids = getattr(self._samples, "ids", None)
        for index in indices:
            name = ids[index] if ids else f"sample {index}"
            try:
                sample = self._samples[index]
                name = sample.id
                yield Subject.of(index, sample, self.dataset, self.target)
            except (ValueError, OSError) as error:
                self._unread[Subject(index, name, (), None, (), "", None)] = sentence(error)

    def _announce(self, requested: Sequence[Cell], lacking: Sequence[Cell]) -> None:
        count, found = len({cell.subject for cell in requested}), len(requested) - len(lacking)
        self.progress.say(
            f"{self.classifier.name} on {self.dataset}: {count} samples x {len(self._methods)} methods x "
            f"{len(self._metrics)} metrics" + (f", {found} of {len(requested)} cells are in the store" if found else "")
        )
        cut = {cell.subject.note: None for cell in requested if cell.subject.note}
        if cut:
            many = "1 text is" if len(cut) == 1 else f"{len(cut)} texts are"
            self.progress.say(f"{many} longer than the model takes: {next(iter(cut))}{', ...' if len(cut) > 1 else ''}")
        keys = {self.classifier.name: self._keys.model, **{part.name: part.key for part in self._parts}}
        unkept = [name for name, key in keys.items() if key is None]
        if self.store is not None and unkept:
            self.progress.say(f"nothing of {', '.join(unkept)} is kept: its code is not in a file that can be watched")

    # -- chunks ------------------------------------------------------------------------------------------------------

    @property
    def _parts(self) -> list[Part]:
        return [*self._methods, *self._metrics]

    def _compute(self, todo: Sequence[Chunk]) -> None:
        for chunk in todo:
            for kind in _steps(chunk):
                self.progress.expect(kind, len(chunk.subjects))
        with self.progress:
            for chunk in todo:
                self._chunk(chunk)

    def _chunk(self, chunk: Chunk) -> None:
        """Explain the samples with all methods, then score the maps."""
        try:
            work = self._work(chunk)
        except ValueError as error:  # one of the samples cannot be explained: find out which
            if len(chunk.subjects) == 1:
                self._give_up(chunk, f"{chunk.subjects[0].id}: {sentence(error)}")
            else:
                for subject in chunk.subjects:
                    self._chunk(replace(chunk, subjects=(subject,)))
            return
        maps = {method: work.explain(method) for method in chunk.missing}
        for method, metrics in chunk.missing.items():
            made = maps.pop(method)
            self._keep(self._finished(work, method, made, work.score(method, metrics, made)))
            work.keep_curves(method, made)
            work.keep_scores()

    def _work(self, chunk: Chunk) -> Work:
        samples = [self._samples[subject.index] for subject in chunk.subjects]
        return Work(
            self.classifier, chunk.subjects, samples, self.target, self._keys, self.store, progress=self.progress
        )

    def _give_up(self, chunk: Chunk, error: str) -> None:
        for kind in _steps(chunk):
            self.progress.forget(kind, len(chunk.subjects))
        self._keep(
            {**self._named(subject, method, metric), "error": error}
            for method, metrics in chunk.missing.items()
            for metric in metrics
            for subject in chunk.subjects
        )

    # -- rows --------------------------------------------------------------------------------------------------------

    def _finished(self, work: Work, method: Part, made: Map, scored: Sequence[Scored]) -> Iterator[dict[str, object]]:
        """The rows of a method on a chunk. What the run paid for the map is shared out to its rows."""
        count = len(work.subjects)
        targets = work.explicand.target.tolist()
        share = made.paid.per(count * len(scored))
        for one in scored:
            paid = share if one.ledger is None else share.plus(one.ledger.paid.per(count))
            costs = {
                **_columns("method", made.alone.per(count) if made.alone else None),
                **_columns("metric", one.ledger.standalone.per(count) if one.ledger else None),
                **_columns("paid", paid),
            }
            for row, subject in enumerate(work.subjects):
                named = self._named(subject, method, one.metric)
                yield {**named, **costs, **_result(made, one, row), "units": made.units, "target": targets[row]}

    def _named(self, subject: Subject, method: Part, metric: Part) -> dict[str, object]:
        """A row without results."""
        return {**self._described(subject, method, metric), "key": self._keys.row(subject, method, metric)}

    def _described(self, subject: Subject, method: Part, metric: Part) -> dict[str, object]:
        lowest, highest = metric.component.bounds
        return {
            "sample": subject.id,
            "sources": subject.sources,
            "dataset": self.dataset,
            "model": self.classifier.name,
            "weights": self._keys.weights,
            "method": method.name,
            "metric": metric.name,
            "method_parameters": method.parameters,
            "metric_parameters": metric.parameters,
            "higher_is_better": metric.component.higher_is_better,
            "lowest": lowest,
            "highest": highest,
            "category": metric.component.category,
            "sentinel": method.component.sentinel,
            "target_rule": self.target,
            "seed": self.seed,
            "precision": self.classifier.precision,
            "device": self.classifier.device.type,
            "versions": versions(),
            "config_hash": self.config_hash,
        }

    def _keep(self, rows: Iterable[dict[str, object]]) -> None:
        completed = [complete_row(row) for row in rows]
        self._tables.append(pa.Table.from_pylist(completed, schema=SCHEMA))
        if self.store is not None:
            self.store.write_rows(row for row in completed if not str(row["key"]).startswith(UNKEPT))

    def _frame(self, requested: Sequence[Cell]) -> pd.DataFrame:
        """The rows of the requested cells in their order, under the names that they have in this run."""
        frame = to_frame(pa.concat_tables(self._tables))
        lacking = {cell.key for cell in requested} - set(frame["key"])
        if self.store is not None and lacking:
            stored = self.store.rows()
            frame = pd.concat([stored[stored["key"].isin(lacking)], frame], ignore_index=True)
        frame = one_per_key(frame).set_index("key").loc[[cell.key for cell in requested]].reset_index()
        frame = frame.assign(
            model=self.classifier.name,
            dataset=self.dataset,
            method=[cell.method.name for cell in requested],
            metric=[cell.metric.name for cell in requested],
        )
        unread = pa.Table.from_pylist(list(self._unread_rows()), schema=SCHEMA)
        return pd.concat([frame, to_frame(unread)], ignore_index=True) if len(unread) else frame

    def _unread_rows(self) -> Iterator[dict[str, object]]:
        for subject, error in self._unread.items():
            for method in self._methods:
                for metric in self._metrics:
                    key = self._keys.unkept(subject, method, metric)
                    yield complete_row({**self._described(subject, method, metric), "key": key, "error": error})


def _steps(chunk: Chunk) -> Iterator[Step]:
    """The steps that a chunk takes."""
    for method, metrics in chunk.missing.items():
        yield ("explain", method.name)
        for metric in metrics:
            yield ("score", metric.name, method.name)


def _columns(name: str, cost: Cost | None) -> dict[str, object]:
    return {} if cost is None else {f"{name}_{part}": value for part, value in cost._asdict().items()}


def _result(made: Map, one: Scored, row: int) -> dict[str, object]:
    """Score, or what a pooled metric has instead, reason and error of one sample."""
    if made.refusal is not None:
        return {"reason": made.refusal}
    error = made.errors[row] or one.error
    if error is not None or one.values is None:
        return {"error": error}
    reason = next((reason for reason, where in one.reasons.items() if where[row]), None)
    name = "values" if one.values.dim() > 1 else "score"
    return {name: one.values[row].tolist(), "reason": reason}
