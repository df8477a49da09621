"""The command `xaieval`: runs and sweeps through Hydra, and verbs.

A first argument without `=` or `-` is a verb; everything else composes a run.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
import pandas as pd
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from xaieval.allocator import keep_freed_memory
from xaieval.benchmark import Benchmark, CellError, check_cells
from xaieval.config import CheckError, ConfigError, choose_device, components, load, plain
from xaieval.datasets.preprocess import DatasetError
from xaieval.kept_configs import KeptConfig, command_of, hash_of, keep_config
from xaieval.progress import Progress
from xaieval.results import report, write_rows
from xaieval.sentences import explain
from xaieval.settings import Settings
from xaieval.store import Store, StoreError
from xaieval.sweep import JointLeaderboard
from xaieval.verbs import run_verb

log = logging.getLogger(__name__)


def main() -> None:
    """Entry point of the console script."""
    arguments = sys.argv[1:]
    _find_own_modules()
    if sweep := [argument for argument in arguments if argument in ("-m", "--multirun")]:
        sys.argv[1:] = [*sweep, *(argument for argument in arguments if argument not in sweep)]  # Hydra wants it first
    try:
        if arguments and "=" not in arguments[0] and not arguments[0].startswith(("-", "+", "~")):
            run_verb(arguments[0], arguments[1:])
        else:
            _compose_and_run()
    except BrokenPipeError:  # the reader, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit("\nStopped. The finished cells are kept: the same command goes on from there.")
    except Exception as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1" or not _expected(error):
            raise
        sys.exit(_worded(error, arguments))


def _compose_and_run() -> None:
    full = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra lets errors through, `main` puts them into words
    try:
        hydra.main(config_path="pkg://xaieval.conf", config_name="config", version_base="1.3")(job)()
    finally:
        os.environ["HYDRA_FULL_ERROR"] = full or ""
        JointLeaderboard.finish()


def _find_own_modules() -> None:
    """Let `my.Mine` be found in the working directory, here and in the workers of launchers."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    known = os.environ.get("PYTHONPATH", "")
    if here not in known.split(os.pathsep):
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (here, known)))


def _expected(error: Exception) -> bool:
    """Whether an error says in its own words what is wrong, so that nobody needs the lines of code that led to it."""
    return isinstance(
        error, ValueError | TypeError | RuntimeError | OSError | ImportError | HydraException | OmegaConfBaseException
    )


def _worded(error: Exception, arguments: Sequence[str]) -> str:
    if isinstance(error, HydraException | OmegaConfBaseException):
        return f"xaieval: {explain(error, arguments)}"
    if isinstance(error, ConfigError | CheckError | DatasetError | CellError | StoreError):
        return f"xaieval: {error}"
    return f"xaieval: {type(error).__name__}: {error} (HYDRA_FULL_ERROR=1 shows where it was raised)"


def job(config: DictConfig) -> None:
    """One job: every chosen method and metric on every chosen dataset with every chosen model.

    Raises:
        CellError: Some cells failed, after all others are finished.
    """
    keep_freed_memory()
    context = HydraConfig.get()
    sweeping = context.mode == RunMode.MULTIRUN
    if Path(context.runtime.cwd).is_dir():
        os.chdir(context.runtime.cwd)  # a worker may have started elsewhere, and paths are relative to the command
    folder = Path(context.runtime.output_dir)
    try:
        rows = _rows(config, context)
        write_rows(rows, folder)
        if not sweeping:
            report(rows, folder, _store(config))
        check_cells(rows)
    except Exception as error:
        if sweeping:  # Hydra tells of the first job that failed only
            log.error("job %s: %s", context.job.num, error)
        raise


def _rows(config: DictConfig, context: Any) -> pd.DataFrame:
    """The rows of all cells of a configuration."""
    choose_device(config)
    values = plain(config)
    settings = Settings.of(values)
    parts = {group: components(values, group) for group in ("method", "metric", "dataset", "model")}
    store = None if settings.store is None else Store(settings.store, settings.gigabytes)
    name = hash_of(values)
    if store is not None:
        keep_config(store.path, name, KeptConfig(command_of(context.overrides.task), values))
    found = []
    for classifier in parts["model"].values():
        for dataset in parts["dataset"].values():
            samples = load(dataset, classifier)
            benchmark = Benchmark(
                classifier,
                parts["method"],
                parts["metric"],
                dataset.name,
                target=settings.target,
                store=store,
                seed=settings.seed,
                config_hash=name,
                progress=_progress(context),
            )
            found.append(benchmark.run(samples, settings.indices(len(samples))))
    return pd.concat([outcome.rows for outcome in found], ignore_index=True)


def _store(config: DictConfig) -> Path | None:
    path = config.store.path
    return None if path is None else Path(str(path))


def _progress(context: Any) -> Progress:
    alone = context.runtime.choices.get("hydra/launcher", "basic") == "basic"
    label = f"#{context.job.num}" if context.mode == RunMode.MULTIRUN else ""
    return Progress(label=label, plain=not alone)


if __name__ == "__main__":
    main()
