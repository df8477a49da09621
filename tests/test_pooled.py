"""Metrics that are defined on a dataset: their values in rows, and a score for each sample in tables."""

import json
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import score_rows
import torch
from known_answers import bind, linear
from score_rows import cells, frame
from torch import Tensor
from trial_frames import rows as trial_rows

from xaieval import evaluate, trials, verbs
from xaieval.attributions.gradient import Gradient
from xaieval.attributions.input_x_gradient import InputXGradient
from xaieval.attributions.random import Random
from xaieval.classifier import Classifier
from xaieval.comparison import scores_by_metric
from xaieval.component import Metric, component_json
from xaieval.config import default
from xaieval.datasets.base import Sample
from xaieval.differences import differences
from xaieval.evidence import evidences
from xaieval.laws import LawBroken, laws_of, metrics, name_of, verify
from xaieval.laws.categories import CATEGORIES
from xaieval.laws.components import SMALL, limited
from xaieval.leaderboard import leaderboards
from xaieval.pairs import pairs
from xaieval.pooled import ALONE, OTHER, UNKNOWN, pseudo_values, with_scores
from xaieval.profiles import profiles
from xaieval.ranks import ranks
from xaieval.reliability import reliabilities
from xaieval.results import ROWS, read_rows, write_rows
from xaieval.store import Store
from xaieval.variants import current_rows

ENOUGH = 24


@dataclass(frozen=True)
class PooledMass(Metric):
    """Share of the positive scores inside the masks of all samples together (arXiv:1704.03296)."""

    pooled: ClassVar[bool] = True
    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    category: ClassVar[str] = "localization"
    needs: ClassVar[tuple[str, ...]] = ("mask",)
    reference: ClassVar[str] = "arXiv:1704.03296"
    power: float = 1.0

    def undefined(self, explicand, attribution, units):
        """Also without a mask, and without a positive score inside or outside of it."""
        found = super().undefined(explicand, attribution, units)
        if explicand.mask is not None:
            found["empty mask"] = ~explicand.mask.flatten(1).any(1)
        return found

    def score(self, explicand, attribution, units, method) -> Tensor:
        """Mass inside the mask, and all of it, `(N, 2)`."""
        scores = explicand.features(attribution, units).clamp(min=0) ** self.power
        if explicand.present is not None:
            scores = scores * explicand.present
        return torch.stack([(scores * explicand.mask).flatten(1).sum(1), scores.flatten(1).sum(1)], 1)

    def aggregate(self, values: Tensor) -> float:
        """Their ratio, of sums."""
        inside, everything = values[~values.isnan().any(1)].double().sum(0).tolist()
        return inside / everything if everything else float("nan")


METRIC = PooledMass()
JSON = component_json(METRIC)
score_rows.METRICS["mass"] = (True, 0.0, 1.0, "localization")


def table_of(count, seed=0, share=0.6):
    """Values `(count, 2)`: the second positive, the first about a share of it."""
    random = np.random.default_rng(seed)
    whole = random.uniform(0.5, 2, count)
    return np.stack([whole * np.clip(share + 0.15 * random.normal(size=count), 0, 1), whole], 1)


def mass(method, values, **columns):
    """Rows of a method, with pairs of numbers, or reasons why there are none."""
    found = cells(method, "mass", [entry if isinstance(entry, str) else "" for entry in values], **columns)
    for row, entry in zip(found, values, strict=True):
        row["metric_parameters"] = columns.get("metric_parameters", JSON)
        if not isinstance(entry, str):
            row |= {"values": tuple(entry), "reason": None}
    return found


def column(rows, method="gradient"):
    return scores_by_metric(current_rows(rows))["mass"].table[method]


# -- the metric


def explicand(count=4, **options):
    masks = torch.zeros(count, 4, 4, dtype=torch.bool)
    masks[:, :2] = True
    return bind(linear(torch.ones(3, 4, 4)), torch.rand(count, 3, 4, 4), mask=masks, **options)


def maps(count=4):
    return torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(1)) + 0.1


def test_it_gives_rows_of_numbers_and_whole_rows_of_nan():
    attribution = maps()
    attribution[1] = 0
    values, reasons = METRIC.evaluate(explicand(), attribution, units="importance")
    expected = torch.stack([attribution[:, 0, :2].sum((1, 2)), attribution.sum((1, 2, 3))], 1)
    torch.testing.assert_close(values[[0, 2, 3]], expected[[0, 2, 3]])
    assert values[1].isnan().all()
    assert reasons["zero attribution"].tolist() == [False, True, False, False]
    assert not reasons["value not finite"].any()
    assert METRIC.aggregate(values) == pytest.approx(float(expected[[0, 2, 3], 0].sum() / expected[[0, 2, 3], 1].sum()))


def test_one_number_that_is_not_finite_takes_its_row():
    @dataclass(frozen=True)
    class Broken(PooledMass):
        def score(self, explicand, attribution, units, method):
            values = super().score(explicand, attribution, units, method)
            values[2, 0] = torch.inf
            return values

    values, reasons = Broken().evaluate(explicand(), maps(), units="importance")
    assert values.isnan().tolist() == [[False, False]] * 2 + [[True, True]] + [[False, False]]
    assert reasons["value not finite"].tolist() == [False, False, True, False]


def test_without_what_it_needs_there_is_a_column_of_nan():
    values, reasons = METRIC.evaluate(bind(linear(torch.ones(3, 4, 4)), torch.rand(4, 3, 4, 4)), maps())
    assert values.shape == (4, 1)
    assert values.isnan().all()
    assert reasons["no mask"].all()


@pytest.mark.parametrize("shape", [(4,), (4, 0), (3, 2), (4, 2, 1), ()])
def test_a_wrong_shape_is_said(shape):
    @dataclass(frozen=True)
    class Wrong(PooledMass):
        def score(self, explicand, attribution, units, method):
            return torch.zeros(shape)

    with pytest.raises(
        ValueError, match=r"Wrong gave values \(.*\), expected \(4, K\): a pooled metric gives K numbers"
    ):
        Wrong()(explicand(), maps())


def test_what_is_no_tensor_is_said_and_pooled_rows_are_asked_for():
    @dataclass(frozen=True)
    class Listed(PooledMass):
        def score(self, explicand, attribution, units, method):
            return [1.0] * 4

    @dataclass(frozen=True)
    class Scalar(PooledMass):
        pooled: ClassVar[bool] = False

    with pytest.raises(ValueError, match=r"Listed gave a list, expected \(4, K\)"):
        Listed()(explicand(), maps())
    with pytest.raises(ValueError, match=r"Scalar gave values \(4, 2\), expected one for each of the 4 samples"):
        Scalar()(explicand(), maps())
    with pytest.raises(NotImplementedError, match="Bare is pooled, so one number of many samples is not their mean"):
        type("Bare", (Metric,), {"pooled": True})().aggregate(torch.ones(3, 2))


# -- a score for each sample


@pytest.mark.parametrize("count", [2, 3, 50, 1000])
def test_their_mean_is_the_aggregate(count):
    values = table_of(count)
    scores, reason = pseudo_values(METRIC, values)
    assert reason is None
    # sums of some thousand numbers of about 1, times n - 1: far below 1e-9
    assert np.mean(scores) == pytest.approx(values[:, 0].sum() / values[:, 1].sum(), abs=1e-9)


def test_scores_are_those_of_a_slow_derivation():
    values = table_of(7)
    theta = values[:, 0].sum() / values[:, 1].sum()
    without = []
    for left_out in range(7):
        kept = [values[row] for row in range(7) if row != left_out]
        without.append(sum(row[0] for row in kept) / sum(row[1] for row in kept))
    expected = [theta + 6 * (sum(without) / 7 - other) for other in without]
    np.testing.assert_allclose(pseudo_values(METRIC, values)[0], expected, atol=1e-12)


def test_scores_of_a_mean_are_the_values_themselves():
    @dataclass(frozen=True)
    class Mean(PooledMass):
        def aggregate(self, values):
            return float(values[:, 0].mean())

    values = table_of(20)
    np.testing.assert_allclose(pseudo_values(Mean(), values)[0], values[:, 0], atol=1e-12)


def test_their_variance_is_that_of_the_delta_method():
    """The jackknife differs from the delta method by terms of order 1 / n: here 1 / 400, tolerance four of these."""
    values = table_of(400)
    first, second = values.T
    ratio = first.mean() / second.mean()
    delta = np.var(first - ratio * second, ddof=1) / (400 * second.mean() ** 2)
    scores = pseudo_values(METRIC, values)[0]
    assert np.var(scores, ddof=1) / 400 == pytest.approx(delta, rel=4 / 400)


def test_the_interval_is_that_of_the_aggregate_over_resampled_samples():
    """With 200 samples, and 20 000 resamples of them in NumPy alone.

    Ends of intervals of 10 000 resamples vary by a hundredth of the half width; the ratio is not linear in resampled
    counts by terms of order 1 / sqrt(200) of it, here much less as numerator and denominator go together.
    """
    values = table_of(200)
    random = np.random.default_rng(7)
    drawn = values[random.integers(0, 200, (20_000, 200))].sum(1)
    low, high = np.percentile(drawn[:, 0] / drawn[:, 1], [2.5, 97.5])
    (board,) = leaderboards(frame(mass("gradient", values), mass("random", table_of(200, 1, 0.3))))
    (found,) = board.columns
    interval = found.scores["gradient"].interval
    assert interval.mean == pytest.approx(values[:, 0].sum() / values[:, 1].sum(), abs=1e-9)
    half = (high - low) / 2
    assert interval.low == pytest.approx(low, abs=half / 20)
    assert interval.high == pytest.approx(high, abs=half / 20)
    # far from the interval of the mean of ratios, which is another number
    assert abs(interval.mean - (values[:, 0] / values[:, 1]).mean()) < half


def test_samples_of_one_photo_are_drawn_together():
    """Each sample twice, under its photo: the interval is that of single samples, not smaller by the root of two."""
    values = table_of(60)
    once, twice = mass("gradient", values), mass("gradient", np.concatenate([values, values]))
    for number, row in enumerate(twice):
        row["sources"] = (f"photo {number % 60:02}",)
    one, two = (leaderboards(frame(rows))[0].columns[0].scores["gradient"].interval for rows in (once, twice))
    assert two.mean == pytest.approx(one.mean, abs=1e-12)
    # pseudo-values of 2 n samples of two alike are those of n to 1 / n; both intervals are of 10 000 resamples
    assert two.high - two.low == pytest.approx(one.high - one.low, rel=0.04)


def test_undefined_samples_are_left_out_and_counted():
    values = table_of(30).tolist()
    with_holes = [*values[:4], "zero attribution", *values[4:], "empty mask"]
    rows = frame(mass("gradient", with_holes))
    scores = column(rows)
    assert np.flatnonzero(scores.isna()).tolist() == [4, 31]
    np.testing.assert_allclose(scores.dropna(), column(frame(mass("gradient", values))), atol=1e-12)
    (board,) = leaderboards(rows)
    found = board.columns[0].scores["gradient"]
    assert (found.valid, found.reasons) == (30, {"zero attribution": 1, "empty mask": 1})


def test_one_sample_has_the_aggregate_and_no_interval():
    rows = frame(mass("gradient", [(1.0, 4.0)]))
    assert column(rows).tolist() == [0.25]
    interval = leaderboards(rows)[0].columns[0].scores["gradient"].interval
    assert (interval.mean, interval.n) == (0.25, 1)
    assert np.isnan(interval.low)


@pytest.mark.parametrize(
    ("values", "reason"), [([(0.0, 0.0), (0.0, 0.0)], "value not finite"), ([(0.0, 0.0), (1.0, 2.0)], ALONE)]
)
def test_where_there_is_no_number_or_no_spread_there_is_a_reason(values, reason):
    rows = with_scores(frame(mass("gradient", values)))
    assert rows["score"].isna().all()
    assert rows["reason"].tolist() == [reason] * 2


def test_each_method_metric_dataset_and_model_is_by_itself():
    other = component_json(PooledMass(power=2.0))
    parts = [
        mass("gradient", table_of(30)),
        mass("smoothgrad", table_of(30, 1)),
        mass("gradient", table_of(30, 2), model="other", key=None),
        mass("gradient", table_of(30, 3), metric_parameters=other),
    ]
    expected = [values[:, 0].sum() / values[:, 1].sum() for values in (table_of(30, seed) for seed in range(4))]
    rows = with_scores(
        frame(*[[row | {"key": f"{part} {row['sample']}"} for row in found] for part, found in enumerate(parts)])
    )
    means = [rows.loc[rows["key"].str.startswith(f"{part} "), "score"].mean() for part in range(4)]
    np.testing.assert_allclose(means, expected, atol=1e-12)


def test_other_metrics_keep_their_scores():
    scores = score_rows.noise(0)
    rows = frame(cells("gradient", "insertion", scores), mass("gradient", table_of(30)))
    tables = scores_by_metric(current_rows(rows))
    assert tables["insertion"].table["gradient"].tolist() == scores
    assert with_scores(rows[rows["metric"] == "insertion"]) is not rows
    assert with_scores(rows.drop(columns="values")) is not None


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ('{"_target_": "no_such_file.Metric"}', "there is no module 'no_such_file'"),
        ('{"_target_": "test_pooled.Gone"}', "test_pooled has no 'Gone'"),
        ('{"_target_": "test_pooled.PooledMass", "size": 3}', "has no parameter 'size'"),
        ('{"_target_": "xaieval.metrics.sparseness.Sparseness"}', "Sparseness is not pooled"),
        ("{}", "has no _target_"),
    ],
)
def test_a_metric_that_is_no_more_has_a_reason_and_a_warning(parameters, sentence):
    rows = frame(mass("gradient", table_of(3), metric_parameters=parameters))
    with pytest.warns(UserWarning, match=sentence):
        found = with_scores(rows)
    assert found["score"].isna().all()
    assert set(found["reason"]) == {UNKNOWN}


def test_values_of_an_earlier_version_are_told_apart():
    rows = frame(mass("gradient", [(1.0, 4.0, 2.0), (1.0, 4.0), (1.0, 2.0)]))
    rows = rows.sort_values("sample").reset_index(drop=True)
    found = with_scores(rows)
    assert found["reason"].fillna("").tolist() == [OTHER, "", ""]
    assert found["score"][1:].mean() == pytest.approx(2 / 6)


def test_rows_in_another_order_or_under_one_index_give_the_same():
    rows = frame(mass("gradient", table_of(50)), mass("random", table_of(50, 1)))
    shuffled = rows.sample(frac=1, random_state=5).assign(index=0).set_index("index")
    assert [board.text() for board in leaderboards(rows)] == [board.text() for board in leaderboards(shuffled)]


# -- runs


def samples_of(count):
    random = torch.Generator().manual_seed(3)
    found = []
    for number in range(count):
        mask = torch.zeros(8, 8, dtype=torch.bool)
        mask[2:6, number % 3 : 5] = number != 1
        found.append(Sample(f"s{number:02}", torch.rand(3, 8, 8, generator=random), 0, mask, (f"p{number}",)))
    return found


def classifier():
    weights = torch.linspace(-1, 2, 3 * 64).view(3, 8, 8)
    return Classifier(linear(weights), name="linear", batch_size=8)


METHODS = {"gradient": Gradient(), "input": InputXGradient(), "random": Random()}


def run(store=None, count=ENOUGH, metrics=None):
    return evaluate(classifier(), samples_of(count), METHODS, metrics or {"mass": METRIC}, store=store, progress=False)


def test_rows_hold_the_values_and_come_back_from_the_store(tmp_path, monkeypatch):
    rows = run(tmp_path / "store")
    assert rows["error"].isna().all()
    assert rows["score"].isna().all()
    undefined = rows["sample"] == "s01"
    assert rows.loc[undefined, "reason"].tolist() == ["empty mask"] * 3
    assert rows.loc[undefined, "values"].isna().all()
    assert rows.loc[~undefined, "reason"].isna().all()
    samples = [sample for sample in samples_of(ENOUGH) if sample.id != "s01"]
    work = classifier().explicand(
        torch.stack([sample.input for sample in samples]),
        None,
        [sample.id for sample in samples],
        mask=torch.stack([sample.mask for sample in samples if sample.mask is not None]),
    )
    for name, method in METHODS.items():
        expected = METRIC(work, method(work), method)
        kept = rows[(rows["method"] == name) & ~undefined]["values"].tolist()
        np.testing.assert_allclose(np.array(kept), expected.double().numpy(), rtol=1e-5)
        theta = column(rows, name).mean()
        assert theta == pytest.approx(METRIC.aggregate(expected), rel=1e-5)
    monkeypatch.setattr(PooledMass, "score", None)  # nothing is computed again
    pd.testing.assert_frame_equal(run(tmp_path / "store"), rows)
    stored = Store(tmp_path / "store").rows()
    assert leaderboards(stored)[0].text() == leaderboards(rows)[0].text()


def test_a_run_that_was_stopped_goes_on(tmp_path):
    first = run(tmp_path, count=5)
    rows = run(tmp_path, count=12)
    fresh = run(count=12)
    assert first["values"].tolist() == rows[rows["sample"] < "s05"]["values"].tolist()
    assert rows["values"].tolist() == fresh["values"].tolist()
    assert leaderboards(rows)[0].frame()["mean"].tolist() == leaderboards(fresh)[0].frame()["mean"].tolist()


def test_beside_other_metrics_and_where_a_metric_fails(tmp_path):
    @dataclass(frozen=True)
    class Wrong(PooledMass):
        def score(self, explicand, attribution, units, method):
            return torch.zeros(explicand.count)

    with pytest.warns(UserWarning, match=r"Wrong gave values \(3,\), expected \(3, K\)"):
        rows = run(count=3, metrics={"mass": METRIC, "sparseness": "sparseness", "wrong": Wrong()})
    by_metric = {name: rows[rows["metric"] == name] for name in ("mass", "sparseness", "wrong")}
    assert by_metric["sparseness"]["score"].notna().all()
    assert by_metric["sparseness"]["values"].isna().all()
    assert by_metric["mass"]["values"].notna().sum() == 2 * 3
    assert by_metric["wrong"]["error"].notna().all()


def test_files_keep_the_values_and_old_files_are_read(tmp_path):
    rows = run(count=4)
    write_rows(rows, tmp_path)
    found = read_rows([tmp_path / ROWS])
    wanted = rows.set_index("key").loc[found["key"]].reset_index()
    assert found["values"].tolist() == wanted["values"].tolist()
    assert leaderboards(found)[0].text() == leaderboards(rows)[0].text()
    old = pq.read_table(tmp_path / ROWS).drop_columns("values")
    pq.write_table(old, tmp_path / "old.parquet")
    again = read_rows([tmp_path / "old.parquet"])
    assert again["values"].isna().all()
    assert again.drop(columns="values").equals(found.drop(columns="values"))


def test_a_store_without_the_column_is_read(tmp_path):
    rows = run(tmp_path, count=4, metrics={"sparseness": "sparseness"})
    for part in (tmp_path / "parts").iterdir():
        pq.write_table(pq.read_table(part).drop_columns("values"), part)
    assert Store(tmp_path).rows()["values"].isna().all()
    pd.testing.assert_frame_equal(run(tmp_path, count=4, metrics={"sparseness": "sparseness"}), rows)


# -- what is made of rows


def photos(seed=0, count=40):
    return frame(
        mass("gradient", table_of(count, seed, 0.7)),
        mass("smoothgrad", table_of(count, seed + 1, 0.6)),
        mass("lime", table_of(count, seed + 2, 0.5)),
        mass("random", table_of(count, seed + 3, 0.3)),
    )


def test_all_tables_take_it():
    boards = leaderboards(photos())
    (board,) = boards
    assert [method.name for method in board.methods] == ["gradient", "smoothgrad", "lime", "random"]
    assert board.columns[0].best(["gradient", "smoothgrad", "lime"]) == {"gradient"}
    means = dict(zip(*(board.frame()[name] for name in ("method", "mean")), strict=True))
    theta = {name: table_of(40, seed, share).sum(0) for name, seed, share in (("gradient", 0, 0.7), ("lime", 2, 0.5))}
    for name, (inside, everything) in theta.items():
        assert means[name] == pytest.approx(inside / everything, abs=1e-9)
    lines = pairs(boards)[0].frame().to_dict("records")
    (difference,) = [line for line in lines if {line["first"], line["second"]} == {"gradient", "lime"}]
    expected = theta["gradient"][0] / theta["gradient"][1] - theta["lime"][0] / theta["lime"][1]
    assert abs(difference["mean"]) == pytest.approx(expected, abs=1e-9)
    assert difference["p"] < 0.01
    for tables in (differences(boards), ranks(boards)):
        assert tables
        assert all(table.text() and table.markdown() and len(table.frame()) for table in tables)
    assert not profiles(boards).empty


def test_the_command_takes_it(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_rows(photos(), tmp_path)
    verbs.leaderboard([str(tmp_path), "--pairs", "--ranks", "--differences"])
    said = capsys.readouterr().out
    assert "mass" in said
    assert "there is nothing to compare" not in said


def pooled_trials(values, trial="run", variant="", **options):
    """Rows of a trial with pairs of numbers instead of scores."""
    numbers = {method: list(range(len(table))) for method, table in values.items()}
    found = trial_rows(numbers, trial, variant, parameters=json.loads(JSON), **options)
    listed = [
        tuple(values[method][int(number)]) for method, number in zip(found["method"], found["score"], strict=True)
    ]
    return found.assign(values=pd.Series(listed, index=found.index, dtype=object), score=np.nan)


def test_reliability_takes_it(tmp_path):
    run_ = {name: table_of(40, seed, share) for seed, (name, share) in enumerate((("a", 0.7), ("b", 0.6), ("c", 0.5)))}
    nothing = ("random", "random_coarse", "edge_detector", "centre_blob")
    blind = {name: table_of(40, 5 + seed, 0.3) for seed, name in enumerate(run_)}
    found = pd.concat(
        [
            pooled_trials(run_ | {name: table_of(40, 20 + seed, 0.3) for seed, name in enumerate(nothing)}),
            pooled_trials(blind, "shuffled"),
            pooled_trials({name: table + 0.001 for name, table in run_.items()}, "draw", "1"),
            pooled_trials({name: table * 1.001 for name, table in run_.items()}, "seed", "1"),
            pooled_trials({name: table * [0.9, 1] for name, table in run_.items()}, "removal", "blur"),
            pooled_trials({"greedy_insertion": table_of(40, 11, 0.95)}, "oracle"),
        ]
    )
    (evidence,) = evidences(found)
    assert list(evidence.sentinels.columns) == sorted(nothing)
    for tables, values in ((evidence.scores, run_), (evidence.shuffled, blind)):
        for name, pairs_ in values.items():
            assert tables[name].mean() == pytest.approx(pairs_[:, 0].sum() / pairs_[:, 1].sum(), abs=1e-9)
    (draw,) = evidence.draws
    assert draw["a"].mean() == pytest.approx(
        (run_["a"] + 0.001)[:, 0].sum() / (run_["a"] + 0.001)[:, 1].sum(), abs=1e-9
    )
    (table,) = reliabilities(found)
    assert table.verdicts[0].belief == "believe", table.text()
    record = table.frame().iloc[0]
    assert record["random.better"] == 3
    assert record["retest.correlation"] > 0.99
    trials.write_trials(found, tmp_path)
    back = trials.read_trials(tmp_path)
    assert reliabilities(back)[0].text() == table.text()


# -- laws


@dataclass(frozen=True)
class PooledCosine(Metric):
    """Cosine between contributions and gradient times input, over the features of all samples (arXiv:1704.03296)."""

    pooled: ClassVar[bool] = True
    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    category: ClassVar[str] = "faithfulness"
    accepts: ClassVar[tuple[str, ...]] = ("contribution",)
    reference: ClassVar[str] = "arXiv:1704.03296"

    def score(self, explicand, attribution, units, method):
        """Three inner products `(N, 3)`."""
        expected = (explicand.gradient * explicand.inputs).sum(1).flatten(1)
        scores = explicand.features(attribution, units).flatten(1)
        if explicand.present is not None:
            expected, scores = (table * explicand.present.flatten(1) for table in (expected, scores))
        pairs = ((scores, expected), (scores, scores), (expected, expected))
        return torch.stack([(one * other).sum(1) for one, other in pairs], 1)

    def aggregate(self, values):
        """The cosine."""
        both, one, other = values[~values.isnan().any(1)].double().sum(0).tolist()
        return both / (one * other) ** 0.5 if one * other else float("nan")


LAWS = [
    pytest.param(law, metric, id=f"{type(metric).__name__}-{name_of(law)}")
    for metric in (METRIC, PooledCosine())
    for law in laws_of(metric)
]


@pytest.mark.parametrize(("law", "metric"), LAWS)
def test_law(law, metric):
    verify(law, metric)


def pooled_like(metric):
    """A pooled metric of the same category whose aggregate is the mean."""

    def score(self, explicand, attribution, units, method):
        values = metric.evaluate(explicand, attribution, method, units)[0]
        return torch.stack([values, torch.ones_like(values)], 1)

    def aggregate(self, values):
        kept = values[~values.isnan().any(1)]
        return float(kept[:, 0].sum() / kept[:, 1].sum())

    names = ("higher_is_better", "bounds", "category", "needs", "accepts")
    same = {name: getattr(metric, name) for name in names}
    return type("Like", (Metric,), {**same, "pooled": True, "score": score, "aggregate": aggregate})()


@pytest.mark.parametrize(
    "name", ["sparseness", "local_lipschitz", "mprt", "completeness_gap", "accumulated_prediction_sensitivity"]
)
def test_laws_of_categories_judge_the_aggregate(name):
    metric = limited(default("metric", name), SMALL)
    like, laws = pooled_like(metric), CATEGORIES[metric.category]
    for law in laws:
        if name_of(law) not in metric.exceptions:
            law(like)
            with pytest.raises(LawBroken):
                law(turned(like)) if name_of(law) != "map_is_ignored" else law(METRIC)


def turned(metric):
    """The metric with the other direction and its aggregate moved, so that nothing holds."""
    aggregate = type(metric).aggregate
    moved = {"aggregate": lambda self, values: 1 + aggregate(self, values)}
    return type("Turned", (type(metric),), {"higher_is_better": not metric.higher_is_better, **moved})()


def test_laws_that_an_aggregate_breaks():
    class First(PooledMass):
        def aggregate(self, values):
            return float(values[0, 0])

    class Untrue(PooledMass):
        def aggregate(self, values):
            return float(values.sum() / values.sum())

    class Writes(PooledMass):
        def aggregate(self, values):
            found = super().aggregate(values)
            values[~values.isnan()] = 0
            return found

    class Lacking(PooledMass):
        aggregate = Metric.aggregate

    for kind, sentence in ((First, "in reverse order"), (Untrue, "with a row of NaN"), (Writes, "writes into")):
        with pytest.raises(LawBroken, match=sentence):
            metrics.law_aggregate(kind())
    with pytest.raises(LawBroken, match="it is pooled and has no aggregate"):
        metrics.law_attributes(Lacking())
