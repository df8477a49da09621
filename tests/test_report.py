"""What a report tells: maps, curves and orders are those that the metrics saw, and what is missing is said."""

import base64
import io
import math
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile import FILE, PICTURES, SCRIPT, make_hostile
from PIL import Image
from report_pages import called
from score_rows import cells, frame, noise

from xaieval.attributions.gradient import Gradient
from xaieval.collate import collate
from xaieval.config import ConfigError
from xaieval.leaderboard import leaderboards
from xaieval.plan import Keys
from xaieval.report import data, page, pictures
from xaieval.report.album import SAMPLES, album, chosen_samples
from xaieval.report.compare import compared
from xaieval.report.experiments import experiments, here
from xaieval.report.sources import Source, read_sources
from xaieval.report.tables import failures
from xaieval.rows import SCHEMA
from xaieval.store import Store
from xaieval.variants import current_rows
from xaieval.verbs import run_verb

STORE = Path("runs/store")


@pytest.fixture(scope="module", autouse=True)
def project(tmp_path_factory):
    """A user's folder with a store, as the working directory."""
    folder = make_hostile(tmp_path_factory.mktemp("report"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        assert "18 of 72 cells failed" in str(called(*PICTURES, "hydra.run.dir=run"))
        yield folder
    for name in ("toy", "hostile_module"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def shown():
    return data.page_of([STORE], Path("report.html"))


def test_curves_are_those_that_the_metrics_measured(shown):
    scores = Store(STORE).rows().set_index(["sample", "method", "metric"])["score"]
    (shelf,) = shown.shelves
    assert len(shelf.album.samples) == 6
    for sample in shelf.album.samples:
        for method in ("gradient", "occlusion", "random"):
            for metric in ("deletion", "insertion"):
                parts, values = sample["curves"][method][metric]
                assert (parts[0], parts[-1]) == (0, 1)
                assert np.trapezoid(values, parts) == pytest.approx(scores[sample["name"], method, metric], abs=2e-4)


def test_maps_and_orders_are_those_of_the_methods(shown):
    (run,), problems = experiments(config for source in read_sources([STORE]) for config in source.configs)
    assert problems == []
    for shot in shown.shelves[0].album.samples:
        sample = run.samples[run.places[shot["name"]]]
        explicand = run.classifier.explicand(ids=[sample.id], **collate([sample]))
        values = explicand.features(Gradient()(explicand))[0].numpy()
        told = shot["maps"]["gradient"]
        low, high = float(told["low"]), float(told["high"])
        assert (told["signed"], low) == (True, -high)
        gray = np.asarray(Image.open(io.BytesIO(base64.b64decode(told["src"]))).convert("L"), float)
        drawn = low + (high - low) * gray / 255
        assert np.abs(drawn - values.clip(low, high)).mean() < 0.03 * (high - low)  # WEBP forgets a little
        sums = explicand.piece_scores(explicand.patches(14), Gradient()(explicand))
        (order,) = shot["orders"].values()
        assert np.argsort(order["gradient"]).tolist()[:5] == np.argsort(-sums[0].numpy(), kind="stable").tolist()[:5]
        assert shot["target"].startswith(f"class {int(explicand.target[0])} ")


def test_failures_of_one_kind_stand_together(shown):
    (failure,) = shown.failures
    assert (failure.names[2], failure.count) == ("failing", 18)
    assert failure.error == f"ArithmeticError: {SCRIPT}"
    assert failure.metrics == "deletion, insertion, sparseness"
    assert failure.samples.endswith("and 1 more")
    assert failures(frame(cells("gradient", "insertion", [0.5]))) == []


def test_the_folder_of_a_run_tells_the_same(shown):
    other = data.page_of([Path("run")], Path("report.html"))
    assert other.shelves[0].album.samples == shown.shelves[0].album.samples
    (command, config), *_ = other.origins[0].runs
    assert command.startswith("xaieval model=callable")
    assert "hostile_module.load" in config


def copied(folder):
    shutil.copytree(STORE, folder / "store")
    return folder / "store"


def test_without_its_configuration_a_store_has_no_pictures(tmp_path):
    store = copied(tmp_path)
    shutil.rmtree(store / "configs")
    (shelf,) = data.page_of([store], Path("report.html")).shelves
    assert shelf.album.samples == []
    assert shelf.album.notes[0].startswith("There are no pictures: no configuration")


def test_a_photo_that_has_changed_is_not_shown(tmp_path):
    path = Path("pictures") / FILE
    before = path.read_bytes()
    with Image.open("pictures/p1.png") as other:
        other.save(path)
    try:
        (shelf,) = data.page_of([STORE], Path("report.html")).shelves
    finally:
        path.write_bytes(before)
    assert {sample["name"] for sample in shelf.album.samples} == {f"p{number}.png" for number in range(5)}
    assert shelf.album.notes[0].startswith("1 of them is not shown")


def test_what_cannot_be_composed_any_more_is_said_and_the_rest_stands():
    Path("pictures").rename("elsewhere")
    try:
        found = data.page_of([STORE], Path("report.html"))
    finally:
        Path("elsewhere").rename("pictures")
    assert len(found.boards) == 1
    assert "pictures" in found.problems[0]
    assert found.shelves[0].album.notes[0].startswith("There are no pictures")


def test_a_dataset_that_is_gone_takes_no_other_with_it():
    (config, *_) = read_sources([STORE])[0].configs
    node = config.values["dataset"]["folder"]
    both = {"gone": {**node, "path": "nowhere"}, "folder": node}
    runs, (problem,) = experiments([replace(config, values={**config.values, "dataset": both})])
    assert len(runs) == 1
    assert problem.startswith("gone: ")


def test_a_map_that_was_dropped_is_missing_and_the_others_are_there(tmp_path):
    store = copied(tmp_path)
    for file in (store / "attributions").iterdir():
        file.unlink()
    (shelf,) = data.page_of([store], Path("report.html")).shelves
    assert [sample["maps"] for sample in shelf.album.samples] == [{}] * 6
    assert shelf.album.samples[0]["scores"]["insertion"]["gradient"][0] > 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nowhere"], "neither a store nor a run at nowhere"),
        (["--wide"], "report takes folders of stores and runs and --output FILE"),
        (["method=sobol"], "report takes folders of stores and runs and --output FILE"),
        (["--output"], "--output needs the name of a file"),
        (["--output", "no/where.html"], "there is no folder no"),
    ],
)
def test_a_wrong_word_gets_a_sentence(words, sentence):
    with pytest.raises(ConfigError, match=sentence):
        run_verb("report", words)


def test_a_missing_library_gets_a_sentence(monkeypatch):
    monkeypatch.setattr(page, "find_spec", lambda name: None if name == "jinja2" else name)
    with pytest.raises(ConfigError, match=r"needs jinja2, not installed here: pip install 'xaieval\[report\]'"):
        run_verb("report", [])


# -- parts


def source(name, rows):
    return Source(name, rows, None, ())


def test_two_runs_are_compared_sample_by_sample():
    first, better = noise(0), [value + 0.1 for value in noise(0)]
    names = ("a", "b")
    halves = [frame(cells("gradient", "insertion", scores)) for scores in (first, better)]
    (line,) = compared(*map(source, names, halves)).lines
    assert line.names == ("photos", "toy", "gradient", "insertion")
    assert line.order == pytest.approx(0.1)
    assert line.samples == 30
    assert line.difference.startswith("+.100 [")
    assert line.difference.endswith(" ▲")
    lower = [frame(cells("gradient", "deletion", scores)) for scores in (first, better)]
    assert compared(*map(source, names, lower)).lines[0].difference.endswith(" ▼")


def test_few_sources_get_no_arrow_and_other_models_are_compared_on_the_same_samples():
    first = noise(0, 10)
    runs = {"one": first, "two": [value + 0.1 for value in first]}
    halves = [frame(cells("gradient", "insertion", scores, model=name)) for name, scores in runs.items()]
    (line,) = compared(*map(source, "ab", halves)).lines
    assert line.names[1] == "one / two"
    trained = [half.assign(weights=digest) for half, digest in zip(halves, ("w1", "w2"), strict=True)]
    assert not any(note.startswith("Other weights") for note in compared(*map(source, "ab", trained)).notes)
    assert line.difference[-1] not in "▲▼"
    other = frame(cells("sobol", "insertion", [0.1, 0.2, 0.3]))
    assert compared(source("a", halves[0]), source("b", other)).lines == ()


def test_a_metric_is_compared_with_itself_alone():
    first = frame(cells("gradient", "insertion@5", noise(0)), cells("gradient", "deletion", noise(0)))
    second = frame(
        cells("gradient", "insertion@9", noise(1)),
        cells("gradient", "deletion", noise(1)),
        cells("sobol", "deletion", noise(1)),
    )
    found = compared(source("a", first), source("b", second))
    assert [line.names[2:] for line in found.lines] == [("gradient", "deletion")]
    said = "In one of the two only, so not compared: insertion samples=5, insertion samples=9, sobol."
    assert said in found.notes


def test_a_method_is_compared_with_itself_at_other_parameters_and_that_is_said():
    halves = [frame(cells("rise", "insertion", noise(seed), parameters={"samples": seed})) for seed in (3, 5)]
    found = compared(*map(source, "ab", halves))
    assert [line.names[2] for line in found.lines] == ["rise"]
    assert "Other parameters in the second: rise." in found.notes


def test_an_error_that_is_mended_is_none(tmp_path):
    store, again = copied(tmp_path), {"time": pd.Timestamp("2100-01-01", tz="UTC"), "error": None, "score": 0.5}
    rows = Store(store).rows()
    rows = rows[rows["error"].notna()].assign(**again)
    rows["key"] = "mended " + rows["key"]
    pq.write_table(pa.Table.from_pandas(rows, schema=SCHEMA, preserve_index=False), store / "parts" / "later.parquet")
    assert data.page_of([STORE], Path("report.html")).failures
    assert not data.page_of([store], Path("report.html")).failures


def test_cells_of_both_are_counted():
    one = frame(cells("gradient", "insertion", noise(0)), cells("sobol", "insertion", noise(1)))
    two = frame(cells("gradient", "insertion", noise(0)), cells("rise", "insertion", noise(1)))
    assert "30 cells are the very same in both, computed once." in compared(source("a", one), source("b", two)).notes


def test_runs_of_a_model_before_and_after_a_training_are_compared_and_that_is_said():
    halves = [frame(cells("gradient", "insertion", noise(0), weights=digest)) for digest in ("one", "two")]
    found = compared(*map(source, "ab", halves))
    assert [line.names[1] for line in found.lines] == ["toy"]
    assert "Other weights in the second: toy." in found.notes
    assert not any("weights" in note for note in compared(*map(source, "ab", halves[:1] * 2)).notes)


def test_pictures_are_of_the_weights_that_can_still_be_composed(tmp_path):
    store = copied(tmp_path)
    rows = Store(store).rows()
    rows = rows[rows["error"].isna()].assign(key="older " + rows["key"], weights="older")
    pq.write_table(pa.Table.from_pandas(rows, schema=SCHEMA, preserve_index=False), store / "parts" / "older.parquet")
    shelves = {shelf.title: shelf.album for shelf in data.page_of([store], Path("report.html")).shelves}
    (now, before) = sorted(shelves, key=lambda title: title.endswith("weights=older"))
    assert len(shelves[now].samples) == 6
    assert shelves[before].samples == []


def test_of_many_samples_the_best_and_worst_are_shown():
    (board,) = leaderboards(
        frame(cells("gradient", "insertion", noise(1, 99)), cells("random", "insertion", noise(2, 99)))
    )
    chosen = chosen_samples(board, 20)
    own = board.given["insertion"].table["gradient"].sort_values()  # a sentinel decides nothing
    assert len(chosen) == len(set(chosen)) == 20
    assert {*own.index[:2], *own.index[-2:]} <= set(chosen)


def test_only_the_samples_that_are_shown_bring_their_means(monkeypatch):
    monkeypatch.setattr(data, "SAMPLES", 2)
    (shelf,) = data.page_of([STORE], Path("report.html")).shelves
    names = {sample["name"] for sample in shelf.album.samples}
    rows = Store(STORE).rows()
    real = rows[(rows["metric"] == "insertion") & ~rows["sentinel"] & rows["sample"].isin(names)]
    assert len(names) == 2
    assert shelf.means["insertion"] == pytest.approx(real.groupby("sample")["score"].mean().to_dict())


def test_fifty_samples_of_twelve_methods_stay_below_fifteen_megabytes():
    draws = np.random.default_rng(0)
    grown, _, _ = pictures.map_bytes(draws.normal(size=(224, 224)), signed=True)  # nothing is harder to compress
    photo = pictures.photo(draws.uniform(size=(224, 224, 3)))
    script, style = page._table_library()
    order = 2 * 196 * 4  # the places of patches with commas, for deletion and insertion
    assert SAMPLES * (len(photo) + 12 * (len(grown) + order + 500)) + len(script) + len(style) < 15e6 - 2.5e6  # charts


def test_the_run_that_has_most_maps_of_a_sample_shows_it(shown):
    source = read_sources([STORE])[0]
    (run,), _ = experiments(source.configs)
    rows = source.rows[source.rows["error"].isna()]
    (board,) = leaderboards(rows)
    poor = replace(run, methods={text: part for text, part in run.methods.items() if part.name == "random"})
    for runs in ([poor, run], [run, poor]):
        found = album(board, current_rows(rows), runs, [Store(STORE)])
        assert [set(sample["maps"]) for sample in found.samples] == [{"gradient", "occlusion", "random"}] * 6
    assert not album(board, current_rows(rows), [poor, run], [Store(STORE)]).notes


def test_a_run_of_another_model_shows_nothing():
    source = read_sources([STORE])[0]
    runs, _ = experiments(source.configs)
    rows = source.rows[source.rows["error"].isna()].assign(model="another")
    (board,) = leaderboards(rows)
    found = album(board, current_rows(rows), runs, [Store(STORE)])
    assert found.samples == []
    assert found.notes[-1].startswith("There are no pictures")


def test_things_are_looked_up_under_the_device_on_which_they_were_computed():
    (config, *_) = read_sources([STORE])[0].configs
    elsewhere = replace(config, values={**config.values, "device": "cuda:1"})
    (here_, there), _ = experiments([config, elsewhere])
    assert (here_.device, there.device) == ("cpu", "cuda")
    assert here_.keys.model == Keys(here_.classifier).model != there.keys.model
    assert there.keys.model == Keys(here_.classifier, "cuda").model


def test_a_device_that_is_not_here_is_the_cpu():
    values = {"device": "npu:0", "model": {"net": {"device": "npu:0", "layers": None}}, "method": ["npu:0"]}
    assert here(values) == {**values, "device": "cpu", "model": {"net": {"device": "cpu", "layers": None}}}


def test_a_map_of_one_value_has_a_color():
    _, low, high = pictures.map_bytes(np.full((8, 8), 3.0), signed=False)
    assert math.isfinite(high)
    assert high > low
