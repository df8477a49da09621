"""The cells of a run, and the same under other conditions: everything that tells how far to believe its metrics.

What the model is needed for is more cells in the same store: nothing is computed twice, and a killed run goes on. They
come back as one table, the rows of the run with two columns more:

    trial               variant   what differs from the run
    run                           nothing
    shuffled                      the maps: each real method's own, its features in random order
    seed                1, ...    the seed of the real methods that have one
    draw                1, ...    the seed of the metrics that have one; real methods, their maps those of the run
    removal             blur ...  what stands where the metrics remove something; likewise
    oracle                        the methods: bounds to read the others against
    weights_noise       0, ...    the model, for a few methods and the class explained originally
    weights_disruption  0, ...    likewise
    inputs_noise        0, ...    likewise the inputs
    inputs_disruption   0, ...    likewise

All but `run` and `shuffled` are of the first samples alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from xaieval import perturbed
from xaieval.attributions.constant import Constant
from xaieval.attributions.permuted import Permuted
from xaieval.benchmark import Benchmark
from xaieval.classifier import Classifier
from xaieval.component import Method, Metric
from xaieval.config import ConfigError, default
from xaieval.datasets.base import Sample, Samples
from xaieval.progress import Progress
from xaieval.removal import NAMED, Removal, removal_of
from xaieval.rows import SCHEMA, conform, to_frame, to_table
from xaieval.settings import Settings
from xaieval.store import Store

TRIALS = "trials.parquet"

COLUMNS = ("trial", "variant")
"""What the table has beside the columns of `xaieval.rows.SCHEMA`."""

ORACLES = ("greedy_insertion", "greedy_elimination", "greedy_deletion", "infidelity_optimal", "ground_truth")
"""Methods made to score well on a metric, by the names of their YAMLs."""

KEPT = "prediction_kept"
"""The metric that says whether a perturbed prediction is the class explained; its rows name no method."""

C = TypeVar("C")


@dataclass(frozen=True)
class Run:
    """What is run.

    Attributes:
        classifier: The model.
        methods: Methods by name.
        metrics: Metrics by name.
        samples: The samples of the dataset.
        dataset: Its name.
        settings: What `conf/config.yaml` says.
        removal: What stands where something is removed, for oracles: a name, or what describes a `Removal`.
        shown: Show what is going on.

    Raises:
        ConfigError: There is no method to judge metrics by, no sample, or no store.
    """

    classifier: Classifier
    methods: Mapping[str, Method]
    metrics: Mapping[str, Metric]
    samples: Sequence[Sample]
    dataset: str
    settings: Settings
    removal: str | Mapping[str, Any] = "zero"
    shown: bool = True

    def __post_init__(self) -> None:
        """Check that there is something to run."""
        if not self.real:
            raise ConfigError(
                f"no method here knows the model ({', '.join(self.methods)}), and metrics are judged by what they "
                "give to those that do: add one, such as 'method=[gradient,random]'"
            )
        if not self.indices:
            raise ConfigError(f"this part of {self.dataset} holds no samples, got shard={self.settings.shard}")
        if self.settings.store is None:
            raise ConfigError("reliability goes on from what a store holds: name one with store.path=DIR")

    @property
    def real(self) -> dict[str, Method]:
        """The methods that look at the model and were not made to score well."""
        return {name: method for name, method in self.methods.items() if not (method.sentinel or method.oracle)}

    @property
    def indices(self) -> range:
        """The samples of the run."""
        return self.settings.indices(len(self.samples))

    @cached_property
    def results(self) -> Store:
        """Where runs have their rows."""
        return Store(str(self.settings.store), self.settings.gigabytes)

    @cached_property
    def further(self) -> Store:
        """The same store with the rows of all other trials; one for all, so that it merges their parts."""
        return Store(str(self.settings.store), self.settings.gigabytes, rows="reliability")


class Trial(NamedTuple):
    """Cells of one condition: what the trial is called, its variant, what it is in words, and what is run."""

    name: str
    variant: str
    words: str
    methods: Mapping[str, Method]
    metrics: Mapping[str, Metric]


def run_trials(run: Run) -> pd.DataFrame:
    """All cells; those that the store lacks are computed.

    The results are looked up and kept where a run has them, the others at the store's second place for rows.

    Returns:
        The columns of `SCHEMA`, `trial` and `variant`. Methods and metrics have the names of the run.
    """
    found = [_rows(run, Trial("run", "", "the run", run.methods, run.metrics), run.indices)]
    for trial in _trials(run):
        if trial.methods and trial.metrics:
            every = trial.name == "shuffled"
            found.append(_rows(run, trial, run.indices if every else run.indices[: run.settings.reliability.samples]))
    found += _perturbed(run, found[0])
    return pd.concat(found, ignore_index=True)


def _trials(run: Run) -> Iterator[Trial]:
    """The conditions under which model and samples stay as they are."""
    settings, methods, metrics = run.settings.reliability, run.real, run.metrics
    own = {name: Permuted(method, run.settings.seed) for name, method in methods.items()}
    yield Trial("shuffled", "", "shuffled maps", own, metrics)
    for number in range(1, settings.seeds + 1):
        yield Trial(
            "seed", str(number), f"other seeds of methods ({number})", _others(methods, _seeded(number)), metrics
        )
        yield Trial(
            "draw", str(number), f"other draws of metrics ({number})", methods, _others(metrics, _seeded(number))
        )
    for removal in dict.fromkeys(settings.removals):
        yield Trial("removal", removal, f"removal by {removal}", methods, _others(metrics, _removing(removal)))
    yield Trial("oracle", "", "oracles", {name: _oracle(run, name) for name in ORACLES}, metrics)


def _oracle(run: Run, name: str) -> Method:
    """The run's own, else as its YAML has it."""
    made: Method = run.methods.get(name) or default("method", name, removal=run.removal, seed=run.settings.seed)
    return made


def _rows(
    run: Run,
    trial: Trial,
    indices: Sequence[int],
    classifier: Classifier | None = None,
    samples: Sequence[Sample] | None = None,
) -> pd.DataFrame:
    """The rows of a trial, of the run's model and samples or of others; those of others are explained by label."""
    other = samples is not None
    benchmark = Benchmark(
        classifier or run.classifier,
        trial.methods,
        trial.metrics,
        run.dataset,
        target="label" if other else run.settings.target,
        store=run.results if trial.name == "run" else run.further,
        seed=run.settings.seed,
        progress=Progress(run.shown and bool(trial.words), label=f"{trial.words}:"),
    )
    rows = benchmark.run(run.samples if samples is None else samples, indices).rows
    return rows.assign(model=run.classifier.name, trial=trial.name, variant=trial.variant)


# -- other components --------------------------------------------------------------------------------------------------


def _others(components: Mapping[str, C], change: Callable[[C], C]) -> dict[str, C]:
    """The components that the change makes others, changed. One that refuses the change is left out."""
    found = {}
    for name, component in components.items():
        with suppress(ValueError):
            other = change(component)
            if other != component:
                found[name] = other
    return found


def _seeded(number: int) -> Callable[[C], C]:
    """Raises every seed by a number, but for those of removals."""
    return lambda component: _altered(component, "seed", lambda seed: seed + number)


def _removing(name: str) -> Callable[[C], C]:
    """Puts a removal in the place of every other."""
    return lambda component: _altered(
        component, "removal", lambda removal: removal if removal_of(removal) == NAMED[name] else name
    )


def _altered(component: C, name: str, change: Callable[[Any], Any]) -> C:
    """The component with other values of the fields of one name, its own and those of the components it wraps."""
    if not is_dataclass(component) or isinstance(component, type):
        return component
    values = {field.name: getattr(component, field.name) for field in fields(component) if field.init}
    for field, value in values.items():
        if field == name:
            values[field] = change(value)
        elif not isinstance(value, Removal):
            values[field] = _altered(value, name, change)
    return replace(component, **values)


# -- other models and inputs -------------------------------------------------------------------------------------------


class _Explained(NamedTuple):
    """A sample, the class explained in the run, and its place in the dataset."""

    id: str
    target: int
    place: int


def _perturbed(run: Run, rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The rows of perturbed models and inputs, one after the other.

    Without a method that is cheap enough there is still whether predictions stay: it tells cost from what was not run.
    """
    settings, samples, methods = run.settings.reliability, _explained(run, rows), _cheap(run, rows)
    count = settings.perturbations * settings.iterations
    if not (count and len(samples)):
        return
    for name in perturbed.WEIGHTS:
        for number, model in enumerate(perturbed.classifiers(run.classifier, name, count, run.settings.seed)):
            yield from _both(run, _named(run, name, number, methods), model, samples)
    for name in perturbed.INPUTS:
        given = (samples, name, count, run.settings.seed, run.classifier.modality)
        for number, changed in enumerate(perturbed.samples(*given)):
            yield from _both(run, _named(run, name, number, methods), run.classifier, changed)


def _named(run: Run, name: str, number: int, methods: Mapping[str, Method]) -> Trial:
    return Trial(name, str(number), f"{name.replace('_', ', ')} ({number + 1})", methods, run.metrics)


def _both(run: Run, trial: Trial, model: Classifier, samples: Sequence[Sample]) -> Iterator[pd.DataFrame]:
    """The rows of a perturbed trial, and whether each prediction is still the class explained."""
    everything = range(len(samples))
    if trial.methods:
        yield _rows(run, trial, everything, model, samples)
    kept = trial._replace(words="", methods={"": Constant()}, metrics={KEPT: perturbed.PredictionKept()})
    yield _rows(run, kept, everything, model, samples)


def _explained(run: Run, rows: pd.DataFrame) -> Samples[_Explained]:
    """The first samples, with the class explained in the run as their class; read when they are asked for."""
    known = rows.dropna(subset=["target"]).drop_duplicates("sample").set_index("sample")["target"]
    ids = getattr(run.samples, "ids", None)
    entries = []
    for index in run.indices[: run.settings.reliability.samples]:
        name = ids[index] if ids else run.samples[index].id
        if name in known.index:
            entries.append(_Explained(name, int(known[name]), index))
    return Samples(entries, lambda entry: replace(run.samples[entry.place], target=entry.target))


def _cheap(run: Run, rows: pd.DataFrame) -> dict[str, Method]:
    """The first real methods whose map of a sample costs no more than it may."""
    settings = run.settings.reliability
    costs = rows.groupby("method")["method_forwards"].mean()
    names = [name for name in run.real if costs[name] <= settings.evaluations]
    return {name: run.methods[name] for name in names[: settings.methods]}


# -- files -------------------------------------------------------------------------------------------------------------


def write_trials(trials: pd.DataFrame, folder: Path) -> Path:
    """The table as a Parquet file of the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    table, file, temporary = to_table(trials), folder / TRIALS, folder / f".{TRIALS}.tmp"
    for name in COLUMNS:
        table = table.append_column(name, pa.array(trials[name].to_list(), pa.string()))
    pq.write_table(table, temporary)
    temporary.replace(file)
    return file


def read_trials(folder: Path) -> pd.DataFrame:
    """The table that `write_trials` wrote to the folder.

    Raises:
        ConfigError: It is not there.
    """
    file = folder / TRIALS
    if not file.is_file():
        raise ConfigError(
            f"there are no trials at {file}: run them first, as in `xaieval reliability {folder} "
            "'method=[gradient,random]' metric=insertion`"
        )
    table = pq.read_table(file)
    frame = to_frame(conform(table, SCHEMA.names))
    return frame.assign(**{name: table[name].to_pylist() for name in COLUMNS})
