"""`xaieval export`: rows for other programs, leaderboards for papers."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from xaieval.config import ConfigError
from xaieval.kept_verdicts import Column
from xaieval.leaderboard import leaderboards
from xaieval.models.loading import suggest
from xaieval.rows import SCHEMA, expand_parameters
from xaieval.verdicts import Verdict

FORMATS = {"csv": ".csv", "parquet": ".parquet", "latex": ".tex", "markdown": ".md"}
"""What can be written, and how files of it end."""


def chosen_format(words: Mapping[str, str]) -> str:
    """The format that is asked for, else what the output's name ends with, else csv.

    Raises:
        ConfigError: There is no such format, or Parquet and no file to write it to.
    """
    output = words.get("output", "")
    ends = {ending: name for name, ending in FORMATS.items()}
    suffix = Path(output).suffix
    if "format" not in words and output and suffix not in ends:
        raise ConfigError(
            f"output={output} does not tell the format: let it end with {', '.join(ends)}, or add one of "
            f"{', '.join(f'format={name}' for name in FORMATS)}"
        )
    name = words.get("format") or ends.get(suffix, "csv")
    if name not in FORMATS:
        raise ConfigError(f"there is no format {name!r}{suggest(name, FORMATS)}; there are {', '.join(FORMATS)}")
    if name == "parquet" and not output:
        raise ConfigError("parquet is no text that could be shown: name a file, as in output=rows.parquet")
    return name


def exported(rows: pd.DataFrame, kind: str, verdicts: Mapping[Column, Verdict]) -> bytes:
    """Rows as CSV or Parquet, one for each cell, with a column for every parameter; their leaderboards otherwise.

    Args:
        rows: The columns of `xaieval.rows.SCHEMA`.
        kind: One of `FORMATS`.
        verdicts: What is known of the metrics, as from `xaieval.kept_verdicts`.
    """
    if kind == "csv":
        return str(_plain(rows, lists=False).to_csv(index=False)).encode()
    if kind == "parquet":
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pandas(_plain(rows, lists=True), preserve_index=False), buffer)
        return buffer.getvalue()
    boards = leaderboards(rows, verdicts)
    return "\n".join(board.latex() if kind == "latex" else board.markdown() for board in boards).encode()


def _plain(rows: pd.DataFrame, lists: bool) -> pd.DataFrame:
    """Rows with their parameters, each column of one type: what has several, or is a list, is told as JSON.

    Args:
        rows: The columns of `xaieval.rows.SCHEMA`.
        lists: Leave the lists of rows, such as `sources`, as they are.
    """
    frame = expand_parameters(rows)
    parameters = frame.columns.difference(SCHEMA.names, sort=False)
    listed = parameters if lists else [*parameters, "sources", "values"]
    return frame.assign(**{name: _of_one_type(frame[name]) for name in listed})


def _of_one_type(column: pd.Series[Any]) -> pd.Series[Any]:
    found = column.convert_dtypes()
    return column.map(_told) if found.dtype == object else found


def _told(value: Any) -> Any:
    missing = not isinstance(value, tuple) and pd.isna(value)
    return None if missing else value if isinstance(value, str) else json.dumps(value)
