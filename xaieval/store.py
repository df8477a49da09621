"""Attributions, responses and rows on disk: a killed run loses nothing, and no run computes the same thing twice.

A store is a folder::

    parts/          rows, Parquet: one file per unit of work, merged when a process ends
    reliability/    likewise, rows that are no result but tell how far to believe results
    attributions/   maps, safetensors by content key; the oldest are dropped above `gigabytes`
    scalars/        clean scores, responses, end points of curves, curves; safetensors by content key
    configs/        what runs were composed of, JSON by the hash that rows name, see `xaieval.kept_configs`

Every file is written to `<name>.<host>-<pid>-<uuid>.tmp`, synced and renamed, so a file with its final name is whole.
There are no locks: two processes may compute the same cell, and `Store.rows` gives one row per key.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import time
import uuid
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from xaieval.rows import SCHEMA, complete_row, conform, foreign, one_per_key, to_frame

TEMPORARY_SECONDS = 3600.0
"""A temporary file of this age belongs to a process that was killed."""

PLACES = ("parts", "reliability")
"""Where rows may be: the results, and what `xaieval.trials` computes beside them."""


class StoreError(RuntimeError):
    """The store's folder cannot be read or written; what it already holds stays."""


class Store:
    """Rows and tensors of past runs in one folder, shared by any number of processes.

    Args:
        path: The folder; made where it does not exist.
        gigabytes: How much the attributions may take. A process looks again after every tenth of it that it writes, so
            several processes together can pass it by a tenth each.
        rows: The folder of its rows, of `PLACES`. A store sees these alone; all places share attributions and scalars.

    Raises:
        StoreError: The folder cannot be made.
        ValueError: `gigabytes` is negative, or there is no such place for rows.
    """

    def __init__(self, path: str | Path, gigabytes: float = 10.0, rows: str = "parts") -> None:
        if not gigabytes >= 0:
            raise ValueError(
                f"Store: gigabytes must be a number of at least 0, got {gigabytes}: 0 keeps no attributions"
            )
        if rows not in PLACES:
            raise ValueError(f"Store: rows must be one of {', '.join(PLACES)}, got {rows!r}")
        self.path = Path(path)
        self.gigabytes = gigabytes
        self._parts, self._attributions, self._scalars = (
            self.path / name for name in (rows, "attributions", "scalars")
        )
        self._written: list[Path] = []
        self._room = 0.0  # bytes of attributions to write until the next look at their folder
        with self._explained("written"):
            for folder in (self._parts, self._attributions, self._scalars):
                folder.mkdir(parents=True, exist_ok=True)
                _remove_leftovers(folder)

    def write_rows(self, rows: Iterable[Mapping[str, object]]) -> None:
        """Writes the rows of one unit of work as one part; when this returns, they survive a kill.

        Args:
            rows: One mapping per cell with the columns of `xaieval.rows.SCHEMA`. Absent ones are null, but for `time`
                (now), `sources` (the sample) and `score` (NaN). What is not finite has a reason or an error, if only
                `not finite`.

        Raises:
            StoreError: The part cannot be written.
            ValueError: A column is unknown, or a required one is missing.
        """
        completed = [complete_row(row) for row in rows]
        if completed:
            self._written.append(self._write_part(pa.Table.from_pylist(completed, schema=SCHEMA)))

    def merge(self) -> None:
        """Joins the parts this process wrote. Killed in between, it leaves rows twice, and `rows` gives them once."""
        mine = [path for path in self._written if path.name.startswith(f"{_process()}-")]  # a fork inherits the list
        tables = [table for table in map(self._read_part, mine) if table is not None]
        if len(tables) < 2:
            return
        try:
            self._written = [self._write_part(pa.concat_tables(tables))]
            with self._explained("written"):
                for path in mine:
                    path.unlink(missing_ok=True)
        except StoreError as error:
            warnings.warn(f"The parts of this run stay unmerged, nothing is lost. {error}", stacklevel=2)

    def rows(self) -> pd.DataFrame:
        """Every cell the store knows: one row per key, a success before an error, a later before an earlier.

        Returns:
            The columns of `xaieval.rows.SCHEMA`, oldest row first. `sources` holds tuples, `target` nullable integers.

        Raises:
            StoreError: The folder cannot be read.
        """
        return one_per_key(to_frame(self._read(SCHEMA.names)))

    def done(self, keys: Iterable[str]) -> set[str]:
        """Which of the keys need no computation: those with a score or a reason for none. Errors are tried again."""
        table = self._read(["key", "error"])
        wanted = pc.is_in(table["key"], value_set=pa.array(list(keys), pa.string()))
        return set(table.filter(pc.and_(wanted, pc.is_null(table["error"])))["key"].to_pylist())

    def attribution(self, key: str) -> tuple[Tensor, dict[str, str]] | None:
        """The attribution under this key and its metadata, on the CPU, or None where the store has none.

        Raises:
            StoreError: The file cannot be read.
        """
        path = self._attributions / f"{key}.safetensors"
        found = self._read_tensors(path)
        if found is None or "attribution" not in found[0]:
            return None
        with contextlib.suppress(OSError):  # a store that is only read keeps its times
            os.utime(path)
        tensors, metadata = found
        return tensors["attribution"], metadata

    def write_attribution(self, key: str, tensor: Tensor, metadata: Mapping[str, str]) -> None:
        """Keeps an attribution of any shape and dtype; when this returns, it survives a kill.

        Raises:
            StoreError: The file cannot be written.
        """
        data = save({"attribution": _plain(tensor)}, dict(metadata))
        self._write(self._attributions / f"{key}.safetensors", data)
        self._room -= len(data)
        if self._room < 0:
            self._drop_oldest()

    def scalars(self, key: str) -> dict[str, Tensor] | None:
        """The named small tensors under this key, on the CPU, or None where the store has none.

        Raises:
            StoreError: The file cannot be read.
        """
        found = self._read_tensors(self._scalars / f"{key}.safetensors")
        return None if found is None else found[0]

    def write_scalars(self, key: str, tensors: Mapping[str, Tensor]) -> None:
        """Keeps named small tensors, such as the changes of score of a response.

        Raises:
            StoreError: The file cannot be written.
        """
        data = save({name: _plain(tensor) for name, tensor in tensors.items()})
        self._write(self._scalars / f"{key}.safetensors", data)

    def _read(self, columns: list[str]) -> pa.Table:
        """All readable parts, until a listing brings nothing new: another process may merge its parts meanwhile."""
        tables: dict[str, pa.Table | None] = {}
        while new := [path for path in self._listing() if path.name not in tables]:
            tables.update({path.name: self._read_part(path, columns) for path in new})
        found = [table for _, table in sorted(tables.items()) if table is not None]
        return pa.concat_tables([conform(SCHEMA.empty_table(), columns), *found])

    def _listing(self) -> list[Path]:
        with self._explained("read"):
            try:
                return [path for path in self._parts.iterdir() if path.suffix == ".parquet"]
            except FileNotFoundError:
                return []

    def _read_part(self, path: Path, columns: list[str] = SCHEMA.names) -> pa.Table | None:
        """These columns of a part, or None where it has vanished or is damaged."""
        with self._explained("read"):
            try:
                with pq.ParquetFile(path, page_checksum_verification=True) as file:
                    problem = foreign(file.schema_arrow)
                    if not problem:
                        return conform(file.read(columns=columns, use_threads=False), columns)
            except FileNotFoundError:
                return None
            except (pa.ArrowException, OSError) as error:
                if getattr(error, "errno", None) is not None:  # the disk's fault, not the file's
                    raise
                problem = str(error)
        _set_aside(path, problem)
        return None

    def _read_tensors(self, path: Path) -> tuple[dict[str, Tensor], dict[str, str]] | None:
        with self._explained("read"):
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                return None
        try:
            tensors = load(data)
        except SafetensorError as error:
            _set_aside(path, str(error))
            return None
        length = int.from_bytes(data[:8], "little")  # safetensors: length of the header, header as JSON, values
        return tensors, json.loads(data[8 : 8 + length]).get("__metadata__", {})

    def _drop_oldest(self) -> None:
        """Where attributions take too much, drops those unused longest, down to nine tenths so that looks are rare."""
        limit = self.gigabytes * 1e9
        with self._explained("written"):
            _remove_leftovers(self._attributions)
            files = sorted(_sizes(self._attributions))
            total = sum(size for _, size, _ in files)
            goal = limit if total <= limit else 0.9 * limit
            for _, size, path in files:
                if total <= goal:
                    break
                path.unlink(missing_ok=True)
                total -= size
        self._room = min(limit - total, 0.1 * limit)

    def _write_part(self, table: pa.Table) -> Path:
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
        path = self._parts / f"{_process()}-{uuid.uuid4().hex[:12]}.parquet"
        self._write(path, sink.getvalue().to_pybytes())
        return path

    def _write(self, path: Path, data: bytes) -> None:
        with self._explained("written"):
            write_whole(path, data)

    @contextlib.contextmanager
    def _explained(self, verb: str) -> Iterator[None]:
        """Turns an error of the file system into a sentence."""
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"The store {str(self.path)!r} cannot be {verb}: {error.strerror or error}. Expected a folder this "
                "process may write, on a disk with free space: make room, or name another folder with store.path=. "
                "What the store already holds stays."
            ) from error


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file that is whole as soon as it has its name, and survives a power cut.

    Raises:
        OSError: It cannot be written.
    """
    temporary = path.with_name(f"{path.name}.{_process()}-{uuid.uuid4().hex[:12]}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(path.parent)


def _set_aside(path: Path, problem: str) -> None:
    with contextlib.suppress(OSError):  # another process was first, or the store is only read
        path.replace(f"{path}.damaged")
    problem = " ".join(problem.split())
    warnings.warn(f"{path} is damaged ({problem}): renamed to {path.name}.damaged, it is computed again", stacklevel=2)


def _plain(tensor: Tensor) -> Tensor:
    """A dense copy on the CPU that shares memory with nothing, as safetensors asks for."""
    return tensor.detach().to("cpu", copy=True).contiguous()


def _process() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"


def _sizes(folder: Path) -> Iterator[tuple[float, int, Path]]:
    """Time of last use, size and path of each tensor file; those that vanish meanwhile are left out."""
    for path in folder.glob("*.safetensors"):
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            yield status.st_mtime, status.st_size, path


def _remove_leftovers(folder: Path) -> None:
    """Removes temporary files of killed processes: by age, as process numbers mean nothing on a shared disk."""
    for path in folder.glob("*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > TEMPORARY_SECONDS:
                path.unlink()


def _sync_folder(folder: Path) -> None:
    """Makes a rename survive a power cut. Some network disks cannot sync a folder: there the rename must do."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)
