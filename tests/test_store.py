"""Rows and tensors on disk: known contents, damage, other processes, and kills at any moment."""

import os
import pickle
import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from xaieval import rows, store
from xaieval.rows import SCHEMA, expand_parameters, flat_parameters
from xaieval.store import Store, StoreError

NOON = datetime(2025, 1, 1, 12, tzinfo=UTC)


def row(key, **columns):
    return {
        "key": key,
        "sample": f"sample-{key}",
        "dataset": "photos",
        "model": "toy",
        "method": "gradient",
        "metric": "insertion",
        "method_parameters": '{"samples":5}',
        "metric_parameters": "{}",
        "higher_is_better": True,
        "lowest": 0.0,
        "highest": 1.0,
        "category": "faithfulness",
        "sentinel": False,
        "seed": 0,
        "precision": "float32",
        "device": "cpu",
        "score": 0.5,
        **columns,
    }


def parts(path):
    return sorted(item.name for item in (path / "parts").iterdir())


# Rows


def test_a_row_comes_back_as_it_was_written(tmp_path):
    given = row(
        "a",
        sources=("coffee", "cat"),
        units="gradient",
        target=7,
        target_rule="label",
        highest=float("inf"),
        method_forwards=50.0,
        method_backwards=25.0,
        method_seconds=0.125,
        metric_forwards=1.0,
        metric_backwards=2.0,
        metric_seconds=3.0,
        paid_forwards=4.0,
        paid_backwards=5.0,
        paid_seconds=6.0,
        versions="{}",
        config_hash="c",
        weights="w",
        time=NOON,
    )
    Store(tmp_path).write_rows([given])
    frame = Store(tmp_path).rows()
    assert list(frame.columns) == SCHEMA.names
    found = frame.iloc[0].to_dict()
    assert found["reason"] is None or found["reason"] != found["reason"]  # None or NaN, as pandas has it
    assert {name: found[name] for name in given} == given
    assert set(SCHEMA.names) - set(given) == {"reason", "error", "values"}


def test_a_store_sees_the_rows_of_its_own_place(tmp_path):
    tensor = torch.arange(3.0)
    results, further = Store(tmp_path), Store(tmp_path, rows="reliability")
    results.write_rows([row("a"), row("both", score=1)])
    further.write_rows([row("b")])
    further.write_rows([row("both", score=2)])
    further.merge()
    assert results.done(["a", "b"]) == {"a"}
    assert further.done(["a", "b"]) == {"b"}
    assert dict(results.rows()[["key", "score"]].to_numpy()) == {"a": 0.5, "both": 1}
    assert dict(Store(tmp_path, rows="reliability").rows()[["key", "score"]].to_numpy()) == {"b": 0.5, "both": 2}
    results.write_attribution("map", tensor, {})
    found = further.attribution("map")
    assert found is not None
    assert torch.equal(found[0], tensor)
    with pytest.raises(ValueError, match="rows must be one of parts, reliability, got 'attributions'"):
        Store(tmp_path, rows="attributions")


def test_what_a_row_leaves_out(tmp_path):
    before = datetime.now(UTC)
    Store(tmp_path).write_rows([row("a"), row("b", score=None, error="ValueError: no"), row("c", score=np.inf)])
    frame = Store(tmp_path).rows().set_index("key").sort_index()
    assert frame["sources"].tolist() == [("sample-a",), ("sample-b",), ("sample-c",)]
    assert frame["score"].isna().tolist() == [False, True, True]
    assert frame["reason"].isna().tolist() == [True, True, False]
    assert frame.loc["c", "reason"] == "not finite"
    assert frame["target"].isna().all()
    assert before <= frame["time"].min() <= frame["time"].max() <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("change", "named"),
    [({"colour": 1}, r"unknown columns \['colour'\]"), ({"dataset": None}, r"missing columns \['dataset'\]")],
)
def test_a_row_of_another_shape_is_refused(tmp_path, change, named):
    with pytest.raises(ValueError, match=named):
        Store(tmp_path).write_rows([row("a", **change)])


def test_an_empty_store_has_the_columns_and_nothing_done(tmp_path):
    empty = Store(tmp_path / "deep" / "down")
    empty.write_rows([])
    empty.merge()
    assert (list(empty.rows().columns), len(empty.rows()), empty.done(["a"])) == (SCHEMA.names, 0, set())
    assert parts(tmp_path / "deep" / "down") == []


def test_a_frame_becomes_a_table_and_a_frame_again(tmp_path):
    given = row("b", score=float("nan"), reason="zero map", target=7, method_forwards=2.0, sources=("x", "y"))
    Store(tmp_path).write_rows([row("a"), given, row("c", score=None, error="ValueError: no")])
    frame = Store(tmp_path).rows()
    table = rows.to_table(frame)
    assert table.schema == SCHEMA
    assert table["score"].null_count == 0
    pq.write_table(table, tmp_path / "rows.parquet")
    pd.testing.assert_frame_equal(rows.to_frame(pq.read_table(tmp_path / "rows.parquet")), frame)
    assert rows.to_table(frame.iloc[:0]).num_rows == 0


def test_one_row_per_key(tmp_path):
    def at(minutes):
        return NOON + timedelta(minutes=minutes)

    writer = Store(tmp_path)
    writer.write_rows([row("later", score=0.1, time=at(0)), row("success", score=0.3, time=at(0))])
    writer.write_rows([row("later", score=0.2, time=at(1)), row("success", score=None, error="E", time=at(1))])
    writer.write_rows([row("errors", score=None, error="second", time=at(2))])
    writer.write_rows([row("errors", score=None, error="first", time=at(1))])
    frame = writer.rows().set_index("key")
    assert frame["score"].drop("errors").to_dict() == {"later": 0.2, "success": 0.3}
    assert frame.loc["errors", "error"] == "second"
    assert list(frame.index) == ["success", "later", "errors"]


def test_done_are_scores_and_reasons_but_no_errors(tmp_path):
    Store(tmp_path).write_rows(
        [
            row("score"),
            row("reason", score=float("nan"), reason="zero map"),
            row("error", score=None, error="RuntimeError: no"),
            row("healed", score=None, error="RuntimeError: no"),
        ]
    )
    Store(tmp_path).write_rows([row("healed")])
    asked = ["score", "reason", "error", "healed", "unknown"]
    assert Store(tmp_path).done(asked) == {"score", "reason", "healed"}
    assert Store(tmp_path).done(iter(["score"])) == {"score"}


# Merging


def test_merge_joins_own_parts_only(tmp_path):
    writer = Store(tmp_path)
    for key in "abc":
        writer.write_rows([row(key)])
    foreign = tmp_path / "parts" / "elsewhere-1-0123456789ab.parquet"
    (tmp_path / "parts" / parts(tmp_path)[0]).rename(foreign)
    before = writer.rows()
    writer.write_rows([row("d")])
    writer.merge()
    assert len(parts(tmp_path)) == 2
    assert foreign.exists()
    assert sorted(writer.rows()["key"]) == sorted([*before["key"], "d"])
    writer.write_rows([row("e")])
    writer.merge()  # the merged part and the new one
    assert len(parts(tmp_path)) == 2
    assert sorted(writer.rows()["key"]) == list("abcde")


def test_a_copy_in_another_process_leaves_these_parts_alone(tmp_path):
    writer = Store(tmp_path)
    writer.write_rows([row("a")])
    writer.write_rows([row("b")])
    script = "import pickle, sys; pickle.load(sys.stdin.buffer).merge()"
    subprocess.run([sys.executable, "-c", script], input=pickle.dumps(writer), check=True)
    assert len(parts(tmp_path)) == 2


def test_a_merge_killed_before_it_removes_parts_doubles_nothing(tmp_path, monkeypatch):
    writer = Store(tmp_path)
    writer.write_rows([row("a"), row("b")])
    writer.write_rows([row("c")])

    def killed(self, missing_ok=False):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            writer.merge()
    assert len(parts(tmp_path)) == 3
    assert sorted(Store(tmp_path).rows()["key"]) == ["a", "b", "c"]


def test_a_reader_survives_the_merge_of_another_process(tmp_path, monkeypatch):
    writer, reader = Store(tmp_path), Store(tmp_path)
    for key in "abc":
        writer.write_rows([row(key)])
    listing = reader._listing

    def listing_then_merge():
        found = listing()
        writer.merge()
        return found

    monkeypatch.setattr(reader, "_listing", listing_then_merge)
    assert sorted(reader.rows()["key"]) == ["a", "b", "c"]
    assert reader.done("abcd") == {"a", "b", "c"}


# Damage


def truncated(data):
    return data[: len(data) // 2]


def flipped(data):
    return data[:60] + bytes(255 - byte for byte in data[60:90]) + data[90:]


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: b"PAR1 is not", truncated, flipped])
def test_a_damaged_part_is_set_aside_and_its_cells_are_open_again(tmp_path, damage):
    writer = Store(tmp_path)
    writer.write_rows([row("kept")])
    (kept,) = parts(tmp_path)
    writer.write_rows([row("lost")])
    (name,) = set(parts(tmp_path)) - {kept}
    path = tmp_path / "parts" / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(UserWarning, match=r"is damaged .*renamed to .*\.damaged, it is computed again"):
        assert writer.rows()["key"].tolist() == ["kept"]
    assert parts(tmp_path) == sorted([kept, f"{name}.damaged"])
    assert writer.done(["kept", "lost"]) == {"kept"}
    writer.write_rows([row("lost")])
    assert writer.done(["kept", "lost"]) == {"kept", "lost"}


def without_key(table):
    return table.drop_columns(["key"])


def scores_as_text(table):
    return table.set_column(SCHEMA.names.index("score"), "score", pa.array(["0.5"]))


@pytest.mark.parametrize(
    ("change", "problem"), [(without_key, "no column 'key'"), (scores_as_text, "'score' is string")]
)
def test_a_part_of_another_schema_is_set_aside(tmp_path, change, problem):
    reader = Store(tmp_path)
    table = pa.Table.from_pylist([rows.complete_row(row("a"))], schema=SCHEMA)
    pq.write_table(change(table), tmp_path / "parts" / "foreign.parquet")
    with pytest.warns(UserWarning, match=problem):
        assert len(reader.rows()) == 0
    assert parts(tmp_path) == ["foreign.parquet.damaged"]


def test_parts_of_earlier_and_later_versions_are_read(tmp_path):
    table = pa.Table.from_pylist([rows.complete_row(row("a", units="gradient", reason="r"))], schema=SCHEMA)
    reader = Store(tmp_path)
    pq.write_table(table.drop_columns(["units", "error"]), tmp_path / "parts" / "earlier.parquet")
    frame = reader.rows()
    assert list(frame.columns) == SCHEMA.names
    assert list(frame.loc[0, ["key", "score"]]) == ["a", 0.5]
    assert frame["units"].isna().all()
    assert reader.done(["a"]) == {"a"}
    later = table.set_column(0, "key", pa.array(["b"])).append_column("new", pa.array([1]))
    pq.write_table(later, tmp_path / "parts" / "later.parquet")
    assert sorted(reader.rows()["key"]) == ["a", "b"]


# A store that cannot be written


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_file_in_the_way(tmp_path, place):
    (tmp_path / "file").write_text("here")
    with pytest.raises(
        StoreError, match=r"cannot be written: .*Expected a folder .*name another folder with store\.path="
    ):
        Store(tmp_path / place)
    assert (tmp_path / "file").read_text() == "here"


def test_a_full_disk_leaves_what_is_there(tmp_path, monkeypatch):
    full = Store(tmp_path)
    full.write_rows([row("a")])
    full.write_rows([row("b")])

    def no_space(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", no_space)
        with pytest.raises(StoreError, match="No space left on device"):
            full.write_rows([row("c")])
        with pytest.raises(StoreError, match="No space left on device"):
            full.write_attribution("k", torch.zeros(1), {})
        with pytest.raises(StoreError, match="No space left on device"):
            full.write_scalars("k", {"a": torch.zeros(1)})
        with pytest.warns(UserWarning, match="stay unmerged, nothing is lost"):
            full.merge()
    assert [path.name for path in tmp_path.rglob("*.tmp")] == []
    assert sorted(full.rows()["key"]) == ["a", "b"]
    full.merge()
    assert (len(parts(tmp_path)), sorted(full.rows()["key"])) == (1, ["a", "b"])


def test_a_disk_that_fails_to_read_is_no_damage(tmp_path, monkeypatch):
    broken = Store(tmp_path)
    broken.write_rows([row("a")])

    def fails(*args, **options):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(pq, "ParquetFile", fails)
        with pytest.raises(StoreError, match="cannot be read: Input/output error"):
            broken.rows()
    assert broken.rows()["key"].tolist() == ["a"]


# Tensors


@pytest.mark.parametrize(
    "tensor",
    [
        torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)),
        torch.arange(6.0).reshape(2, 3).t(),
        torch.ones(2, 3, 4, 4).to(memory_format=torch.channels_last),
        torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
        torch.tensor([True, False]),
        torch.tensor(3.0),
        torch.zeros(0, 3),
    ],
)
def test_an_attribution_comes_back_as_it_was_written(tmp_path, tensor):
    Store(tmp_path).write_attribution(
        "key", tensor.clone().requires_grad_(tensor.is_floating_point()), {"units": "gradient"}
    )
    found = Store(tmp_path).attribution("key")
    assert found is not None
    torch.testing.assert_close(found[0], tensor, rtol=0, atol=0)
    assert found[1] == {"units": "gradient"}
    assert found[0].is_contiguous()


def test_scalars_come_back_even_if_they_share_memory(tmp_path):
    both = torch.arange(6.0).reshape(2, 3)
    Store(tmp_path).write_scalars("key", {"logit": both[0], "rival": both[1], "all": both})
    found = Store(tmp_path).scalars("key")
    assert found is not None
    assert {name: value.tolist() for name, value in found.items()} == {
        "logit": [0.0, 1.0, 2.0],
        "rival": [3.0, 4.0, 5.0],
        "all": [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]],
    }


def test_what_was_never_written_is_none(tmp_path):
    empty = Store(tmp_path)
    assert (empty.attribution("key"), empty.scalars("key")) == (None, None)


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: b"no tensors here", truncated])
def test_damaged_tensors_are_set_aside(tmp_path, damage):
    writer = Store(tmp_path)
    writer.write_attribution("key", torch.ones(100), {})
    writer.write_scalars("key", {"a": torch.ones(100)})
    for folder in ("attributions", "scalars"):
        path = tmp_path / folder / "key.safetensors"
        path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(UserWarning, match="is damaged"):
        assert writer.attribution("key") is None
    with pytest.warns(UserWarning, match="is damaged"):
        assert writer.scalars("key") is None
    assert sorted(path.name for path in tmp_path.rglob("*.damaged")) == ["key.safetensors.damaged"] * 2
    writer.write_attribution("key", torch.zeros(1), {})
    found = writer.attribution("key")
    assert found is not None
    assert found[0].tolist() == [0.0]


def kept(path):
    return {item.stem for item in (path / "attributions").iterdir()}


def age(path, key, seconds):
    file = path / "attributions" / f"{key}.safetensors"
    os.utime(file, (time.time() - seconds,) * 2)


def test_the_oldest_unused_attributions_are_dropped(tmp_path):
    size = 1000  # one map of 250 floats
    limited = Store(tmp_path, gigabytes=4.5 * size * 1e-9)
    for number, key in enumerate("abc"):
        limited.write_attribution(key, torch.zeros(225), {})
        age(tmp_path, key, 100 - number)
    assert limited.attribution("a") is not None  # reading makes it the youngest
    for number, key in enumerate("de"):
        limited.write_attribution(key, torch.zeros(225), {})
        age(tmp_path, key, 50 - number)
    assert kept(tmp_path) == {"a", "c", "d", "e"}
    limited.write_attribution("f", torch.zeros(225), {})
    assert kept(tmp_path) == {"a", "d", "e", "f"}


def test_the_folder_is_rarely_looked_at(tmp_path, monkeypatch):
    looks = []
    sizes = store._sizes

    def counted(folder):
        looks.append(folder)
        return sizes(folder)

    monkeypatch.setattr(store, "_sizes", counted)
    roomy = Store(tmp_path, gigabytes=1e-3)
    for number in range(60):
        roomy.write_attribution(str(number), torch.zeros(1000), {})  # 4 kB; a tenth of the megabyte is 25 of them
    assert len(looks) == 3
    assert len(kept(tmp_path)) == 60


def test_no_room_keeps_nothing(tmp_path):
    none = Store(tmp_path, gigabytes=0)
    none.write_attribution("a", torch.zeros(4), {})
    assert kept(tmp_path) == set()


@pytest.mark.parametrize("gigabytes", [-1, float("nan")])
def test_room_must_be_a_size(tmp_path, gigabytes):
    with pytest.raises(ValueError, match="gigabytes must be a number of at least 0, got"):
        Store(tmp_path, gigabytes=gigabytes)


def test_temporary_files_are_ignored_and_old_ones_removed(tmp_path):
    Store(tmp_path).write_rows([row("a")])
    for folder in ("parts", "attributions", "scalars"):
        for name, seconds in (("young", 60.0), ("old", 7200.0)):
            file = tmp_path / folder / f"{name}.parquet.host-1-abc.tmp"
            file.write_bytes(b"half a fi")
            os.utime(file, (time.time() - seconds,) * 2)
    reader = Store(tmp_path)
    assert reader.rows()["key"].tolist() == ["a"]
    assert sorted(path.name for path in tmp_path.rglob("*.tmp")) == ["young.parquet.host-1-abc.tmp"] * 3


# Killed at any moment

WORKER = """
import random, sys
import torch
from tests_store_row import row
from xaieval.store import Store

store, name = Store(sys.argv[1]), sys.argv[2]
for unit in range(10_000):
    keys = [f"{name}-{unit}-{cell}" for cell in range(3)]
    if store.done(keys) == set(keys):
        continue
    store.write_attribution(f"{name}-{unit}", torch.full((64, 64), float(unit)), {"unit": str(unit)})
    store.write_rows([row(key) for key in keys])
    print(unit, flush=True)
    if unit % 5 == 4:
        store.merge()
"""


@pytest.fixture
def start(tmp_path):
    (tmp_path / "worker.py").write_text(WORKER)
    row_source = Path(__file__).read_text().partition("def row(")[2].partition("\n\n\n")[0]
    (tmp_path / "tests_store_row.py").write_text(f"def row({row_source}\n")

    def run(name):
        command = [sys.executable, str(tmp_path / "worker.py"), str(tmp_path / "store"), name]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    return run


def test_kill_loses_and_doubles_nothing(tmp_path, start):
    moments = random.Random(0)
    done: dict[str, set[int]] = {"one": set(), "two": set()}
    for _ in range(3):
        workers = {name: start(name) for name in done}
        for worker in workers.values():
            assert worker.stdout is not None
            assert worker.stdout.readline().strip().isdigit()  # it is at work
        time.sleep(moments.uniform(0.0, 0.4))
        for name, worker in workers.items():
            worker.send_signal(signal.SIGKILL)
            units = [int(line) for line in worker.communicate()[0].split()]
            assert not done[name] & set(units), "a finished unit was computed again"
            done[name] |= set(units)
    reader = Store(tmp_path / "store")
    frame = reader.rows()
    acknowledged = {f"{name}-{unit}-{cell}" for name, units in done.items() for unit in units for cell in range(3)}
    assert frame["key"].is_unique
    assert acknowledged <= set(frame["key"])
    assert frame.groupby(frame["key"].str.rpartition("-")[0]).size().unique().tolist() == [3]  # whole units only
    for unit in frame["key"].str.rpartition("-")[0].unique():
        found = reader.attribution(unit)
        assert found is not None
        assert found[0].unique().tolist() == [float(found[1]["unit"])]
    assert list(tmp_path.rglob("*.damaged")) == []


# Parameters


def test_parameters_get_columns():
    frame = pd.DataFrame(
        {
            "method_parameters": ['{"_target_":"a.B","method":{"samples":5},"layers":["x","y"]}', '{"removal":"zero"}'],
            "metric_parameters": ["{}", '{"grid":14}'],
        },
        index=[3, 9],
    )
    wide = expand_parameters(frame)
    assert list(wide.columns[2:]) == [
        "method._target_",
        "method.method.samples",
        "method.layers",
        "method.removal",
        "metric.grid",
    ]
    assert list(wide.loc[3, ["method._target_", "method.method.samples"]]) == ["a.B", 5]
    assert wide.loc[3, "method.layers"] == ("x", "y")
    assert wide["metric.grid"].isna().tolist() == [True, False]
    assert wide.loc[9, "metric.grid"] == 14
    assert len(expand_parameters(frame.iloc[:0])) == 0


def test_flat_parameters():
    assert flat_parameters('{"a":{"b":{"c":1},"d":[1,[2]]},"e":null}') == {"a.b.c": 1, "a.d": (1, (2,)), "e": None}
    assert flat_parameters("{}") == {}
