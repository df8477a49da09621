"""`xaieval compare`: a new method held to the laws, and against everything that the store already has."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from xaieval.allocator import keep_freed_memory
from xaieval.benchmark import Benchmark, CellError, check_cells
from xaieval.component import Method, Metric, component_dict, component_json
from xaieval.config import CheckError, ConfigError, component, components, composed, default, load, located, names
from xaieval.datasets.base import Sample
from xaieval.evidence import of_oracles
from xaieval.kept_configs import KeptConfig, command_of, hash_of, keep_config, kept_configs
from xaieval.kept_verdicts import kept_verdicts
from xaieval.leaderboard import leaderboards
from xaieval.models.loading import suggest
from xaieval.progress import Progress
from xaieval.settings import Settings
from xaieval.standing import standing
from xaieval.store import Store
from xaieval.views import print_line

EXAMPLE = "`xaieval compare my_module:MyMethod experiment=photos`"


@dataclass(frozen=True)
class Newcomer:
    """The method that is compared, and the run it is compared in.

    Attributes:
        name: In tables.
        methods: Those of the run, with this one.
        values: What the run is composed of.
        words: That compose the run without the method.
        command: As it was typed.
    """

    name: str
    methods: dict[str, Method]
    values: dict[str, Any]
    words: tuple[str, ...]
    command: str


def compare(arguments: Sequence[str]) -> None:
    """`compare MODULE:NAME|NAME [KEY=VALUE ...]`: the laws on a method, then where it stands among those of the store.

    Only the cells of this method are computed. The others' are those that the store has, also of methods that the run
    does not name; oracles, which know the answer, are left out.

    Raises:
        ConfigError: No method, several, one that cannot be found, a name that is taken, or nothing to compare with.
        CheckError: The method breaks a law; the comparison is printed all the same.
        CellError: Cells of the method failed; likewise.
    """
    from xaieval import laws  # imports Captum

    keep_freed_memory()
    new = _newcomer(arguments)
    runs = _runs(new)
    lawful = laws.report(laws.check(new.methods[new.name]))
    rows = pd.concat([_compared(new, run) for run in runs], ignore_index=True)
    try:
        check_cells(rows)
    except CellError as error:
        if lawful:
            raise
        print_line(str(error))
    if not lawful:
        raise CheckError(f"{new.name} breaks laws, see above")


# -- the method --------------------------------------------------------------------------------------------------------


def _newcomer(arguments: Sequence[str]) -> Newcomer:
    words = [word for word in arguments if "=" in word or word.startswith("~")]
    named = [word for word in arguments if word not in words]
    if len(named) != 1 or named[0].startswith("-"):
        raise ConfigError(f"compare takes one method and words of a run, as in {EXAMPLE}, got {list(arguments)}")
    return _imported(named[0], words) if ":" in named[0] else _known(named[0], words)


def _imported(written: str, words: Sequence[str]) -> Newcomer:
    """What `module:name` names; words such as `method.name.samples=5` are its parameters."""
    module, _, attribute = written.partition(":")
    name, target = _name_of(attribute), f"{module}.{attribute}"
    found = located(target, written)  # says what is missing before anything is composed
    if isinstance(found, Metric) or (isinstance(found, type) and issubclass(found, Metric)):
        raise ConfigError(
            f"{written} is a metric: compare takes a method. `xaieval check {written}` holds a metric to its laws, "
            "`xaieval reliability` tells how far to believe it"
        )
    others, own = _parted(words, name)
    values = composed([*others, *(f"++{word.lstrip('+')}" for word in own)])
    node = values["method"].get(name, {})
    if name in names("method") or "_target_" in node:
        raise ConfigError(
            f"{written} would be called {name}, as another method is. A name of its own: `xaieval compare my_{name} "
            f"+method.my_{name}._target_={target}`; where that other method stands: `xaieval compare {name}`; and "
            "after each the words of the run"
        )
    values["method"][name] = {"_target_": target, **node}
    return Newcomer(name, components(values, "method"), values, others, command_of(["compare", written, *words]))


def _known(name: str, words: Sequence[str]) -> Newcomer:
    """A method that the words of the run describe, or else a YAML of the package."""
    values = composed(words)
    methods = components(values, "method")
    if name not in methods and name not in names("method"):
        raise ConfigError(
            f"there is no method {name!r}{suggest(name, [*names('method'), *methods])}; one of your own is written "
            f"MODULE:NAME, as in {EXAMPLE}"
        )
    if name not in methods:
        methods[name] = default("method", name, removal=values["removal"], seed=values["seed"])
        values["method"][name] = component_dict(methods[name])
    return Newcomer(name, methods, values, _parted(words, name)[0], command_of(["compare", name, *words]))


def _parted(words: Sequence[str], name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The words of the run, and those that are about a method."""
    own = tuple(word for word in words if word.lstrip("+~").startswith(f"method.{name}."))
    return tuple(word for word in words if word not in own), own


def _name_of(attribute: str) -> str:
    """As files are named: `MyMethod` is my_method, `GradCAM` grad_cam."""
    last = attribute.rpartition(".")[2]
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", last).lower()


# -- the others --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """One model on one dataset, and what the store has of other methods there.

    Attributes:
        benchmark: The run, with further methods of the store, which the run does not name.
        samples: Of the dataset.
        indices: Of the samples that are explained.
        names: Of the further methods, by what the benchmark calls them: with their parameters, as the run may have
            others of their names.
        stored: Names of the other methods of which the store has scores.
        verdicts: The store's folder, which keeps what is known of the metrics.
    """

    benchmark: Benchmark
    samples: Sequence[Sample]
    indices: range
    names: dict[str, str]
    stored: set[str]
    verdicts: Path


def _runs(new: Newcomer) -> list[Run]:
    """Each model on each dataset where there is something to compare with.

    Raises:
        ConfigError: There is nothing to compare with.
    """
    settings = Settings.of(new.values)
    if settings.store is None:
        raise ConfigError("compare takes the other methods from a store: name one with store.path=DIR")
    store = Store(settings.store, settings.gigabytes)
    parts = {group: components(new.values, group) for group in ("metric", "dataset", "model")}
    pairs = [(classifier, dataset) for classifier in parts["model"].values() for dataset in parts["dataset"].values()]
    kept, configs, config_hash = store.rows(), kept_configs(store.path), hash_of(new.values)
    found = []
    for classifier, dataset in pairs:
        benchmark = Benchmark(
            classifier,
            new.methods,
            parts["metric"],
            dataset.name,
            target=settings.target,
            store=store,
            seed=settings.seed,
            config_hash=config_hash,
            progress=Progress(),
        )
        others = _of_others(new, benchmark, kept)
        if others.empty:
            continue
        samples = load(dataset, classifier)
        further = _further(new, others, configs)
        benchmark = replace(benchmark, methods={**new.methods, **{" ".join(pair): further[pair] for pair in further}})
        names = {" ".join(pair): pair[0] for pair in further}
        stored = set(others["method"])
        found.append(Run(benchmark, samples, settings.indices(len(samples)), names, stored, store.path))
    if not found:
        where = ", ".join(f"{dataset.name} with {classifier.name}" for classifier, dataset in pairs)
        raise ConfigError(
            f"there is nothing to compare with: the store {settings.store} has no score of another method by "
            f"{', '.join(parts['metric'])} on {where}. {_filled(new)} fills it"
        )
    keep_config(store.path, config_hash, KeptConfig(new.command, new.values))
    return found


def _of_others(new: Newcomer, benchmark: Benchmark, kept: pd.DataFrame) -> pd.DataFrame:
    """Scores of other methods by the run's metrics under its conditions. Oracles know the answer and are no rivals."""
    conditions = {
        "dataset": benchmark.dataset,
        "model": benchmark.classifier.name,
        "target_rule": benchmark.target,
        "precision": benchmark.classifier.precision,
        "device": benchmark.classifier.device.type,
    }
    metrics = {component_json(metric) for metric in benchmark.metrics.values()}
    alike = pd.concat([kept[column] == value for column, value in conditions.items()], axis=1).all(axis=1)
    judged = kept["metric_parameters"].isin(metrics) & kept["error"].isna()
    return kept[alike & judged & (kept["method"] != new.name) & ~of_oracles(kept)]


def _further(new: Newcomer, others: pd.DataFrame, configs: Mapping[str, KeptConfig]) -> dict[tuple[str, str], Method]:
    """Methods of the store that the run does not name, by name and parameters, as they are composed now.

    So their rows are found by their keys, and none counts of an earlier version of a method's code or of the model.
    """
    known = {(name, component_json(method)) for name, method in new.methods.items()}
    found: dict[tuple[str, str], Method] = {}
    columns = ["method", "method_parameters", "config_hash"]
    for name, parameters, config in others[columns].drop_duplicates().itertuples(index=False, name=None):
        if (name, parameters) not in known and config in configs:
            with suppress(ConfigError, KeyError):  # its file is gone, or it is not what the configuration names
                method = component("method", configs[config].values["method"][name], f"method.{name}")
                if component_json(method) == parameters:
                    found[name, parameters] = method
    return found


def _compared(new: Newcomer, run: Run) -> pd.DataFrame:
    """Computes the method's cells and prints where it stands; the rows of the method."""
    outcome = run.benchmark.run(run.samples, run.indices, only=[new.name])
    rows = outcome.rows.replace({"method": run.names})
    own = rows["method"] == new.name
    rivals = rows[~own & ~of_oracles(rows)]
    for board in leaderboards(pd.concat([rows[own], rivals]), kept_verdicts(run.verdicts)):
        print_line(f"\n{standing(board, new.name).text()}")
    if gone := sorted(run.stored - set(rivals["method"])):
        print_line(
            f"Left out, though the store has scores of them: {', '.join(gone)}. Their code, the model or the samples "
            "are others now, or no configuration of their run is kept."
        )
    missing = {
        name: count for name, count in outcome.missing.items() if name in new.methods and not new.methods[name].oracle
    }
    if missing:
        counts = ", ".join(f"{name} {count}" for name, count in missing.items())
        print_line(
            f"The store lacks {sum(missing.values())} cells of other methods of this run, which are not compared "
            f"({counts}): {_filled(new)} computes them."
        )
    return rows[own]


def _filled(new: Newcomer) -> str:
    """The command that computes all cells of the run but those of the method."""
    return f"`{shlex.join(['xaieval', *new.words])}`"
