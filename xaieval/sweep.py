"""The joint leaderboard of a sweep: one table over the cells of all its jobs, wherever they ran."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from xaieval.results import ROWS, read_rows, report, write_rows

MARK = ".started"


class JointLeaderboard(Callback):
    """Prints the leaderboard over exactly the requested cells of all jobs when a sweep ends.

    Each job leaves its cells as `rows.parquet` in its own folder below that of the sweep, so it does not matter which
    process or machine ran it, as long as they share the disk.

    Attributes:
        folder: The folder of the sweep that is running, until its leaderboard is printed.
        store: Its store.
    """

    folder: ClassVar[Path | None] = None
    store: ClassVar[Path | None] = None

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Note the folder, and the time: an earlier sweep may have left files there."""
        folder = Path(str(config.hydra.sweep.dir)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MARK).touch()
        type(self).folder = folder
        type(self).store = None if config.store.path is None else Path(str(config.store.path)).absolute()

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Print and write the leaderboard."""
        self.finish()

    @classmethod
    def finish(cls) -> None:
        """Print the leaderboard of the running sweep, if there is one. Hydra leaves it out where a job failed."""
        if cls.folder is None:
            return
        folder, cls.folder = cls.folder, None
        start = (folder / MARK).stat().st_mtime_ns
        files = [file for file in folder.rglob(ROWS) if file.parent != folder and file.stat().st_mtime_ns >= start]
        if files:
            rows = read_rows(sorted(files))
            write_rows(rows, folder)
            report(rows, folder, cls.store)
