"""The verbs of the command: everything that is not a run."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from xaieval import leaderboard as boards
from xaieval.allocator import keep_freed_memory
from xaieval.benchmark import check_cells
from xaieval.collate import collate
from xaieval.compare import compare
from xaieval.concept_report import concepts
from xaieval.config import GROUPS, CheckError, ConfigError, components, composed, default, load, located, names, only
from xaieval.differences import differences
from xaieval.export import chosen_format, exported
from xaieval.faithfulness_report import of_masking, write_figures
from xaieval.kept_verdicts import keep_verdicts, kept_verdicts
from xaieval.listing import about
from xaieval.models.loading import suggest
from xaieval.pairs import pairs
from xaieval.ranks import ranks
from xaieval.reliability import report
from xaieval.report.command import report_page
from xaieval.results import ROWS, read_rows
from xaieval.rows import one_per_key
from xaieval.settings import Settings
from xaieval.store import Store, write_whole
from xaieval.support import refusal
from xaieval.trials import Run, read_trials, run_trials, write_trials
from xaieval.views import layers, print_line, sheet


def run_verb(verb: str, arguments: Sequence[str]) -> None:
    """Run a verb with its arguments.

    Raises:
        ConfigError: There is no such verb, or it takes other arguments.
    """
    if verb not in VERBS:
        hint = suggest(verb, VERBS)
        raise ConfigError(
            f"there is no verb {verb!r}{hint}; there are {', '.join(VERBS)}, and KEY=VALUE composes a run, such as "
            "method=sobol"
        )
    VERBS[verb](arguments)


def list_parts(arguments: Sequence[str]) -> None:
    """`list [GROUP ...] [model=NAME]`: what can be composed, a line each, and which methods support a model.

    Raises:
        ConfigError: There is no such group, or several models or datasets.
    """
    overrides = [argument for argument in arguments if "=" in argument]
    groups = [argument for argument in arguments if argument not in overrides]
    if overrides:
        _list_support(groups, composed(overrides))
        return
    for group in groups or GROUPS:
        if group not in GROUPS:
            raise ConfigError(f"there is no group {group!r}{suggest(group, GROUPS)}; there are {', '.join(GROUPS)}")
        print_line(f"{group}:" if len(groups) != 1 else "")
        width = max(map(len, names(group)))
        for name in names(group):
            print_line(f"  {name:{width}}  {about(group, name)}")


def _list_support(groups: Sequence[str], values: dict[str, Any]) -> None:
    """For each method whether it explains a model, tried on one sample, and why not.

    Raises:
        ConfigError: Another group than that of methods, several models or datasets, or no sample.
    """
    if list(groups) != ["method"]:
        raise ConfigError(
            "list takes KEY=VALUE only for methods, as in `xaieval list method model=resnet18`, which tells those that "
            f"support the model, got the group {' '.join(groups) or '(none)'}"
        )
    classifier, dataset = only("model", values), only("dataset", values)
    sample = next(iter(load(dataset, classifier)), None)
    if sample is None:
        raise ConfigError(f"{dataset.name} has no sample to try the methods on: choose another dataset=")
    explicand = classifier.explicand(ids=[sample.id], **collate([sample]))
    print_line(f"{classifier.name}, tried on {sample.id}:")
    width = max(map(len, names("method")))
    for name in names("method"):
        why = refusal(explicand, default("method", name))
        print_line(f"  {name:{width}}  {f'no   {why}' if why else 'yes'}")


def check(arguments: Sequence[str]) -> None:
    """`check MODULE:NAME ...`: the laws on methods or metrics.

    Raises:
        ConfigError: Nothing is named, or it cannot be found.
        CheckError: A law does not hold.
    """
    if not arguments:
        raise ConfigError("check what? Name a method or metric, as in `xaieval check my_module:MyMethod`")
    from xaieval import laws

    held = [laws.report(laws.check(_named(name))) for name in arguments]
    if not all(held):
        broken = [name for name, good in zip(arguments, held, strict=True) if not good]
        raise CheckError(f"{', '.join(broken)} breaks laws, see above")


def _named(name: str) -> Any:
    """What `module:name` names, or a YAML of the package."""
    module, colon, attribute = name.partition(":")
    if not colon:
        for group in ("method", "metric"):
            if name in names(group):
                return default(group, name)
        hint = suggest(name, [*names("method"), *names("metric")])
        raise ConfigError(
            f"check takes MODULE:NAME, such as my_module:MyMethod, or the name of a YAML, got {name!r}{hint}"
        )
    return located(f"{module}.{attribute}", name)


def catalog(arguments: Sequence[str]) -> None:
    """`catalog method|metric [PATH]`: all methods or metrics with formula, cost and claims, to a file or the screen.

    Raises:
        ConfigError: Neither of the two, or more than one path.
    """
    if not arguments or arguments[0] not in ("method", "metric") or len(arguments) > 2:
        raise ConfigError(
            "catalog takes `method` or `metric` and one file to write, as in `xaieval catalog method docs/methods.md`, "
            f"got {list(arguments)}"
        )
    page = importlib.import_module(f"xaieval.{arguments[0]}_catalog").catalog()
    if len(arguments) > 1:
        Path(arguments[1]).write_text(page, encoding="utf-8")
    else:
        sys.stdout.write(page)


def leaderboard(arguments: Sequence[str]) -> None:
    """`leaderboard [RUN | store.path=DIR] [FLAG ...]`: the table of a run's folder, or of all that a store holds.

    More tables below it: `--differences` to the sentinels, `--pairs` for every pair of methods whether they differ by
    more than chance, `--ranks` for each method's rank and how firm it is.

    Raises:
        ConfigError: An unknown flag, or nothing at this place.
    """
    flags = [argument for argument in arguments if argument.startswith("--")]
    if set(flags) - set(TABLES):
        raise ConfigError(f"leaderboard knows the flags {', '.join(TABLES)}, got {' '.join(flags)}")
    runs = [Path(argument) for argument in arguments if argument not in flags and "=" not in argument]
    store = Path(str(composed([word for word in arguments if "=" in word])["store"]["path"]))
    rows = _rows_of_runs(runs) if runs else _rows_of_store(store)
    found = boards.leaderboards(rows, kept_verdicts(store))
    boards.show(found)
    for flag, tables in TABLES.items():
        if flag in flags:
            shown = tables(found)
            boards.show(shown)
            print_line("" if shown else f"{flag}: there is nothing to compare")


def export(arguments: Sequence[str]) -> None:
    """`export [RUN | STORE ...] [store.path=DIR] [format=FORMAT] [output=FILE]`: rows or leaderboards for elsewhere.

    The formats csv and parquet hold the rows with a column for every parameter, latex and markdown the leaderboards
    with intervals. Without a format the file's name tells it, without a file it is shown.

    Raises:
        ConfigError: A flag, an unknown format, or nothing at a place.
    """
    words = dict(word.split("=", 1) for word in arguments if word.startswith(("format=", "output=")))
    places = [argument for argument in arguments if "=" not in argument]
    if flags := [place for place in places if place.startswith("-")]:
        raise ConfigError(f"export knows no flags, got {' '.join(flags)}: write format=latex output=table.tex")
    kind = chosen_format(words)
    others = [word for word in arguments if "=" in word and word.partition("=")[0] not in words]
    store = Path(str(composed(others)["store"]["path"]))
    found = list(map(Path, places)) or [store]
    stores = [place for place in found if (place / "parts").is_dir() or not places]
    runs = [place for place in found if place not in stores]
    rows = one_per_key(pd.concat([*map(_rows_of_store, stores), *([_rows_of_runs(runs)] if runs else [])]))
    if rows.empty:
        raise ConfigError(f"there are no rows in {', '.join(map(str, found))}: run something first")
    content = exported(
        rows, kind, {about: one for place in (store, *stores) for about, one in kept_verdicts(place).items()}
    )
    if "output" not in words:
        sys.stdout.write(content.decode())
        return
    file = Path(words["output"])
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, content)
    print_line(f"In {file}: {len(rows)} rows" + ("" if kind in ("csv", "parquet") else " as leaderboards"))


def faithfulness(arguments: Sequence[str]) -> None:
    """`faithfulness RUN ...`: the table of ACU, RACU and MaSF of a run's folder, and pictures of its curves there.

    Raises:
        ConfigError: No folder, nothing at this place, or rows without these metrics.
    """
    folders = [Path(argument) for argument in arguments]
    if not folders:
        raise ConfigError("faithfulness of what? Name the folder of a run, as in `xaieval faithfulness runs/mine`")
    rows = of_masking(_rows_of_runs(folders))
    if rows.empty:
        raise ConfigError(
            f"there are no faithfulness curves in {' '.join(arguments)}: compute 'metric=[acu,racu,masf]', as "
            "`xaieval experiment=faithful_text` does"
        )
    boards.show(boards.leaderboards(rows))
    folder = folders[0] if folders[0].is_dir() else folders[0].parent
    for file in write_figures(rows, folder):
        print_line(f"In {file}")


def _rows_of_runs(folders: Sequence[Path]) -> pd.DataFrame:
    files = [folder / ROWS if folder.is_dir() else folder for folder in folders]
    for file in files:
        if not file.is_file():
            raise ConfigError(
                f"there are no rows at {file}: name the folder of a run, such as runs/2026-01-31/12-00-00"
            )
    return read_rows(files)


def _rows_of_store(path: Path) -> pd.DataFrame:
    if not (path / "parts").is_dir():
        raise ConfigError(f"there is no store at {path}: run something first, or name another with store.path=DIR")
    return Store(path).rows()


def reliability(arguments: Sequence[str]) -> None:
    """`reliability [FOLDER] [KEY=VALUE ...]`: how far to believe the metrics of a run, from more cells in its store.

    With a folder alone, from the trials that are in it. What is said is written to the folder, runs/reliability unless
    told. The store keeps the verdicts, so that later leaderboards of the model on the dataset carry their marks.

    Raises:
        ConfigError: An unknown flag, several folders, models or datasets, no method that knows the model, or no trials.
        CellError: Some cells failed, after all others are finished.
    """
    words = [argument for argument in arguments if "=" in argument or argument.startswith("~")]
    folders = [argument for argument in arguments if argument not in words]
    if flags := [folder for folder in folders if folder.startswith("-")]:
        raise ConfigError(f"reliability knows no flags, got {' '.join(flags)}")
    if len(folders) > 1:
        raise ConfigError(
            f"reliability writes to one folder, as in `xaieval reliability out method=sobol`, got {folders}"
        )
    folder = Path(folders[0] if folders else "runs/reliability")
    if folders and not words:
        report(read_trials(folder), folder)
        return
    values = composed(words)
    trials = _trials(values)
    write_trials(trials, folder)
    for table in report(trials, folder):
        keep_verdicts(Path(str(values["store"]["path"])), table.by_column)
    check_cells(trials)


def _trials(values: dict[str, Any]) -> pd.DataFrame:
    """The cells of a composed run, and those that tell how far to believe it."""
    keep_freed_memory()
    classifier, dataset = only("model", values), only("dataset", values)
    run = Run(
        classifier,
        components(values, "method"),
        components(values, "metric"),
        load(dataset, classifier),
        dataset.name,
        Settings.of(values),
        values["removal"],
    )
    return run_trials(run)


def train(arguments: Sequence[str]) -> None:
    """`train text|scenes [KEY=VALUE ...]`: a classifier of texts or of drawn scenes, into a folder that models read.

    Raises:
        ConfigError: Anything but one of these classifiers.
    """
    kind = arguments[0] if arguments else ""
    if kind not in ("text", "scenes"):
        raise ConfigError(
            "train what? `xaieval train text masking=half_det` trains a text classifier, `xaieval train scenes "
            f"network=vit` a classifier of drawn scenes, got {list(arguments)}"
        )
    trainer = importlib.import_module(f"xaieval.train_{kind}")
    getattr(trainer, f"train_{kind}")(arguments[1:])


TABLES: dict[str, Callable[[Sequence[boards.Leaderboard]], Sequence[boards.Shown]]] = {
    "--differences": differences,
    "--pairs": pairs,
    "--ranks": ranks,
}

VERBS: dict[str, Callable[[Sequence[str]], None]] = {
    "list": list_parts,
    "check": check,
    "compare": compare,
    "leaderboard": leaderboard,
    "export": export,
    "faithfulness": faithfulness,
    "reliability": reliability,
    "report": report_page,
    "concepts": concepts,
    "sheet": sheet,
    "train": train,
    "layers": layers,
    "catalog": catalog,
}
