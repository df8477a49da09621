"""What a run leaves: rows and leaderboards in files, and what it prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from xaieval import leaderboard
from xaieval.differences import differences
from xaieval.faithfulness_report import write_figures
from xaieval.kept_verdicts import kept_verdicts
from xaieval.leaderboard import Leaderboard, Shown
from xaieval.pairs import pairs
from xaieval.profiles import profiles
from xaieval.ranks import ranks
from xaieval.rows import SCHEMA, conform, one_per_key, to_frame, to_table

ROWS = "rows.parquet"


def write_rows(rows: pd.DataFrame, folder: Path) -> None:
    """The rows of a run, one for each requested cell, as Parquet."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{ROWS}.tmp"
    pq.write_table(to_table(rows), temporary)
    temporary.replace(folder / ROWS)


def read_rows(files: list[Path]) -> pd.DataFrame:
    """The rows of several runs together, one for each cell."""
    tables = [conform(pq.read_table(file), SCHEMA.names) for file in files]
    return one_per_key(to_frame(pa.concat_tables([SCHEMA.empty_table(), *tables])))


def write_tables(boards: Sequence[Leaderboard], folder: Path) -> list[Path]:
    """Leaderboards, differences to sentinels, pairs and ranks as Markdown and CSV; performance profiles as CSV."""
    written = []
    kinds: dict[str, Sequence[Shown]] = {
        "leaderboard": boards,
        "differences": differences(boards),
        "pairs": pairs(boards),
        "ranks": ranks(boards),
    }
    for name, tables in kinds.items():
        if tables:
            (folder / f"{name}.md").write_text("\n".join(table.markdown() for table in tables))
            (folder / f"{name}.csv").write_text(leaderboard.csv(tables))
            written += [folder / f"{name}.md", folder / f"{name}.csv"]
    shares = profiles(boards)
    if not shares.empty:
        shares.to_csv(folder / "profiles.csv", index=False)
        written.append(folder / "profiles.csv")
    return written


def report(rows: pd.DataFrame, folder: Path, store: Path | None = None) -> None:
    """Print the leaderboards of the rows, write all tables and figures beside the rows, and say where.

    Args:
        rows: One for each cell.
        folder: Of the run.
        store: Where verdicts on metrics are kept; None: only the rows tell.
    """
    if rows.empty:
        print("No cells: this part of the dataset holds no samples.")  # noqa: T201
        return
    boards = leaderboard.leaderboards(rows, kept_verdicts(store))
    written = [folder / ROWS, *write_tables(boards, folder), *write_figures(rows, folder)]
    leaderboard.show(boards)
    short = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    print(f"In {short}: {', '.join(file.name for file in written)}")  # noqa: T201
