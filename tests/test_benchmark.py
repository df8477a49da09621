"""Which cells a run computes, what they cost, and what goes wrong in one of them without harming the others."""

import io
import warnings
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from xaieval.attributions.gradient import Gradient
from xaieval.attributions.guided_backprop import GuidedBackprop
from xaieval.attributions.input_x_gradient import InputXGradient
from xaieval.attributions.integrated_gradients import IntegratedGradients
from xaieval.attributions.permuted import Permuted
from xaieval.attributions.random import Random
from xaieval.attributions.smoothgrad import SmoothGrad
from xaieval.benchmark import Benchmark, CellError, check_cells
from xaieval.classifier import Classifier
from xaieval.component import Method, Metric
from xaieval.config import composed
from xaieval.curve import curve_name
from xaieval.datasets.base import Sample, Samples
from xaieval.datasets.preprocess import DatasetError
from xaieval.metrics.deletion import Deletion
from xaieval.metrics.infidelity import Infidelity
from xaieval.metrics.insertion import Insertion
from xaieval.metrics.max_sensitivity import MaxSensitivity
from xaieval.metrics.mu_fidelity import MuFidelity
from xaieval.metrics.pointing_game import PointingGame
from xaieval.metrics.sparseness import Sparseness
from xaieval.plan import CHUNK, UNKEPT, Keys, Part, Subject, shard_of
from xaieval.progress import Progress
from xaieval.removal import Zero
from xaieval.rows import SCHEMA
from xaieval.settings import Settings
from xaieval.store import Store
from xaieval.unsupported import UnsupportedError

CURVES = {"insertion": Insertion(grid=4, steps=4), "deletion": Deletion(grid=4, steps=4)}
RESPONSES = {
    "infidelity": Infidelity(samples=20, grid=4, fraction=0.25),
    "mu_fidelity": MuFidelity(samples=20, grid=4, fraction=0.25),
}
GRADIENT = {"gradient": Gradient()}


class Net(nn.Sequential):
    """Counts the inputs it is called with."""

    def __init__(self, seed=0):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            super().__init__(
                nn.Conv2d(3, 6, 3, stride=2), nn.Softplus(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)
            )
        self.inputs = 0

    def forward(self, inputs):
        self.inputs += len(inputs)
        return 5 * super().forward(inputs)


def samples_of(count=3, masks=(), **changes):
    generator = torch.Generator().manual_seed(1)
    found = []
    for number in range(count):
        mask = torch.zeros(12, 12, dtype=torch.bool)
        mask[2:7, 3:9] = True
        image = torch.rand(3, 12, 12, generator=generator)
        found.append(Sample(f"s{number}", image, number % 4, mask if number in masks else None, (f"photo {number}",)))
    return [replace(sample, **changes) for sample in found]


def run(methods=GRADIENT, metrics=CURVES, samples=None, net=None, store=None, dataset="toys", **options):
    net = net or Net()
    classifier = options.pop("classifier", None) or Classifier(net, name="net", batch_size=options.pop("batch_size", 8))
    work = Benchmark(classifier, methods, metrics, dataset, store=store, **options)
    return work.run(samples_of() if samples is None else samples)


def scores(rows):
    return rows.set_index(["method", "metric", "sample"])["score"].sort_index()


def same(first, second, tolerance=1e-5):
    pd.testing.assert_series_equal(scores(first), scores(second), rtol=tolerance, atol=tolerance)


# -- what is computed


def test_scores_are_those_of_the_library():
    outcome = run({"gradient": Gradient(), "random": Random(seed=3)}, {**CURVES, **RESPONSES})
    images = torch.stack([sample.input for sample in samples_of()])
    explicand = Classifier(Net(), batch_size=8).explicand(images, ids=["s0", "s1", "s2"])
    for name, method in (("gradient", Gradient()), ("random", Random(seed=3))):
        attribution = method(explicand)
        for metric, component in {**CURVES, **RESPONSES}.items():
            expected = component(explicand, attribution, method)
            found = scores(outcome.rows)[name, metric].to_numpy()
            np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)


def test_curves_are_kept_beside_the_maps(tmp_path):
    store, metrics = Store(tmp_path), {**CURVES, "pointing_game": PointingGame()}
    run({"gradient": Gradient()}, {"insertion": CURVES["insertion"]}, store=store)  # the others join it later
    run({"gradient": Gradient()}, metrics, samples_of(masks=(0, 1, 2)), store=store)
    classifier = Classifier(Net(), name="net", batch_size=8)
    keys, part, sample = Keys(classifier), Part.of("gradient", Gradient()), samples_of()[1]
    kept = store.scalars(str(keys.curves(Subject.of(1, sample, "toys", "predicted"), part))) or {}
    explicand = classifier.explicand(sample.input[None], ids=[sample.id])
    assert len(kept) == 2
    for direction in CURVES:
        curve = explicand.curve(Gradient()(explicand), 4, 4, "zero", direction)
        found = kept[curve_name(4, 4, Zero(), direction, 0)]
        torch.testing.assert_close(found, torch.cat((curve.scores.values[0], curve.fraction[0, :, None]), 1))


def test_rows_say_what_they_are():
    rows = run(metrics=CURVES, samples=samples_of(2), seed=7, config_hash="abc").rows
    assert list(rows.columns) == SCHEMA.names
    row = rows.iloc[0]
    assert (row["sample"], row["sources"], row["dataset"], row["model"]) == ("s0", ("photo 0",), "toys", "net")
    assert (row["method"], row["metric"], row["units"], row["category"]) == (
        "gradient", "insertion", "gradient", "faithfulness",
    )  # fmt: skip
    assert (row["higher_is_better"], row["lowest"], row["highest"], row["sentinel"]) == (True, 0, 1, False)
    assert (row["target_rule"], row["seed"], row["precision"], row["device"]) == ("predicted", 7, "float32", "cpu")
    assert row["config_hash"] == "abc"
    assert set(rows["weights"]) == {Keys(Classifier(Net(), precision="bfloat16")).weights}
    assert not set(rows["weights"]) & set(run(samples=samples_of(1), net=Net(seed=1)).rows["weights"])
    assert row["target"] == Classifier(Net()).explicand(samples_of(1)[0].input[None]).target.item()


def test_the_label_can_be_explained():
    rows = run(target="label").rows
    assert rows["target"].tolist() == [0, 0, 1, 1, 2, 2]
    assert set(rows["target_rule"]) == {"label"}


def test_every_evaluation_is_paid_for_once():
    net = Net()
    methods = {"gradient": Gradient(), "again": InputXGradient(), "smoothgrad": SmoothGrad(samples=3)}
    rows = run(methods, {**CURVES, **RESPONSES, "max_sensitivity": MaxSensitivity(copies=2)}, net=net).rows
    assert rows["paid_forwards"].sum() == pytest.approx(net.inputs)


def test_ten_methods_cost_one_set_of_responses():
    net, methods = Net(), {f"random {seed}": Random(seed=seed) for seed in range(10)}
    rows = run(methods, RESPONSES, net=net).rows
    assert net.inputs == 3 * (1 + 20)  # the clean scores and the response
    assert set(rows["metric_forwards"]) == {21.0}  # what each would have cost alone
    for seed in (0, 9):
        alone = run({f"random {seed}": methods[f"random {seed}"]}, RESPONSES).rows
        same(rows[rows["method"] == f"random {seed}"], alone)


def test_costs_alone_do_not_depend_on_what_was_there(tmp_path):
    costs = [f"{part}_{kind}" for part in ("method", "metric") for kind in ("forwards", "backwards")]
    methods = {"gradient": Gradient(), "again": InputXGradient()}
    store, metrics = Store(tmp_path), {**CURVES, **RESPONSES}
    fresh = run(methods, metrics).rows
    run({"gradient": Gradient()}, CURVES, store=store)
    run({"gradient": Gradient()}, metrics, store=store)
    resumed = run(methods, metrics, store=store).rows
    pd.testing.assert_frame_equal(fresh[costs], resumed[costs])


# -- what is not computed again


def test_a_second_run_calls_nothing(tmp_path, monkeypatch):
    store, metrics = Store(tmp_path), {**CURVES, **RESPONSES}
    first = run(metrics=metrics, samples=samples_of(3, masks=(1,)), store=store)
    net = Net()
    monkeypatch.setattr(Classifier, "explicand", lambda *_, **__: pytest.fail("an explicand was built"))
    second = run(metrics=metrics, samples=samples_of(3, masks=(1,)), net=net, store=Store(tmp_path))
    assert (first.computed, second.computed, net.inputs) == (12, 0, 0)
    pd.testing.assert_frame_equal(first.rows, second.rows)


def test_an_added_method_computes_its_cells_only(tmp_path):
    store, metrics = Store(tmp_path), {**CURVES, **RESPONSES}
    first = run(metrics=metrics, store=store)
    net, methods = Net(), {"gradient": Gradient(), "random": Random()}
    second = run(methods, metrics, net=net, store=store)
    assert net.inputs == 3 * 2 * 3  # the inner points of two curves: neither targets nor classes nor ends
    assert second.computed == 3 * len(metrics)
    same(second.rows[second.rows["method"] == "gradient"], first.rows)
    same(second.rows, run(methods, metrics).rows)


def test_an_added_metric_uses_the_kept_map(tmp_path):
    store, methods = Store(tmp_path), {"smoothgrad": SmoothGrad(samples=4)}
    run(methods, {"insertion": CURVES["insertion"]}, store=store)
    net = Net()
    rows = run(methods, CURVES, net=net, store=store).rows
    assert net.inputs == 3 * 3  # the deletion curve's inner points
    same(rows, run(methods, CURVES).rows)
    assert set(rows["method_forwards"]) == {4.0}
    assert set(rows["units"]) == {"gradient"}


def test_a_dropped_map_is_computed_again(tmp_path):
    methods = {"smoothgrad": SmoothGrad(samples=4)}
    run(methods, {"insertion": CURVES["insertion"]}, store=Store(tmp_path, gigabytes=0))
    net = Net()
    rows = run(methods, CURVES, net=net, store=Store(tmp_path, gigabytes=0)).rows
    assert net.inputs == 3 * (4 + 3)
    same(rows, run(methods, CURVES).rows)


@pytest.mark.parametrize("kept", [True, False], ids=["from the store", "of this run"])
def test_a_shuffled_map_is_not_made_again(tmp_path, kept):
    method, metrics, net = IntegratedGradients(5), {"sparseness": Sparseness()}, Net()
    methods: dict[str, Method] = {"shuffled": Permuted(method)}
    store = Store(tmp_path)
    if kept:
        run({"own": method}, metrics, store=store)
    else:
        methods = {"own": method, **methods}
    rows = run(methods, metrics, net=net, store=store).rows
    assert net.inputs == (0 if kept else 3 * (1 + 5))  # the clean scores and the map
    costs = rows[rows["method"] == "shuffled"][["method_forwards", "method_backwards", "paid_forwards"]]
    assert costs.drop_duplicates().to_numpy().tolist() == [[5, 5, 0]]


def test_added_samples_are_computed_alone(tmp_path):
    store = Store(tmp_path)
    run(samples=samples_of(CHUNK + 1), store=store)
    outcome = run(samples=samples_of(CHUNK + 3), store=store)
    assert outcome.computed == 2 * len(CURVES)
    same(outcome.rows, run(samples=samples_of(CHUNK + 3)).rows)


def test_budgets_differ_by_key(tmp_path):
    store = Store(tmp_path)
    first = run({"smoothgrad": SmoothGrad(samples=2)}, store=store).rows
    second = run({"smoothgrad": SmoothGrad(samples=3)}, store=store).rows
    assert not set(first["key"]) & set(second["key"])
    assert len(store.rows()) == len(first) + len(second)


@pytest.mark.parametrize(
    "change",
    [
        {"net": Net(seed=1)},
        {"target": "label"},
        {"samples": samples_of(3)[::-1][:2] + [replace(samples_of(1)[0], input=torch.zeros(3, 12, 12))]},
        {"classifier": Classifier(Net(), name="net", mean=[0.5] * 3, std=[0.5] * 3)},
        {"classifier": Classifier(Net(), name="net", precision="bfloat16")},
        {"classifier": Classifier(Net(), name="net", layers={"normgrad": "0"})},
        {"dataset": "others"},
    ],
    ids=["weights", "target", "pixels", "normalization", "precision", "layers", "dataset"],
)
def test_what_changes_a_number_is_computed_again(tmp_path, change):
    store = Store(tmp_path)
    run(store=store)
    assert run(store=store, **change).computed == (2 if "samples" in change else 6)


@pytest.mark.parametrize("change", [{"batch_size": 1}, {"seed": 5}, {"config_hash": "other"}, {"indices": (2, 0, 1)}])
def test_what_changes_no_number_is_found(tmp_path, change):
    store = Store(tmp_path)
    run(store=store)
    samples = [samples_of()[index] for index in change.pop("indices", (0, 1, 2))]
    assert run(store=store, samples=samples, **change).computed == 0


def test_a_mask_changes_localization_only(tmp_path):
    store, metrics = Store(tmp_path), {**CURVES, "pointing_game": PointingGame(tolerance=2)}
    run(metrics=metrics, samples=samples_of(2, masks=(0, 1)), store=store)
    moved = [replace(sample, mask=sample.mask.roll(3, 0)) for sample in samples_of(2, masks=(0, 1))]
    net = Net()
    assert run(metrics=metrics, samples=moved, store=store, net=net).computed == 2
    assert net.inputs == 0


def test_stored_rows_have_the_names_of_this_run(tmp_path):
    store = Store(tmp_path)
    run({"old": Gradient()}, {"old": CURVES["insertion"]}, store=store)
    outcome = run({"new": Gradient()}, {"newer": CURVES["insertion"]}, store=store)
    assert outcome.computed == 0
    assert set(outcome.rows["method"]) == {"new"}
    assert set(outcome.rows["metric"]) == {"newer"}


def test_what_has_no_source_is_not_kept(tmp_path):
    @dataclass(frozen=True)
    class Local(Method):
        units: ClassVar[str] = "gradient"
        reference: ClassVar[str] = ""

        def attribute(self, explicand):
            return explicand.gradient.clone()

    store = Store(tmp_path)
    for _ in range(2):
        stream = io.StringIO()
        outcome = run({"local": Local(), "gradient": Gradient()}, store=store, progress=Progress(stream=stream))
        assert "nothing of local is kept" in stream.getvalue()
        rows = outcome.rows
        assert rows["score"].notna().all()
        assert rows["key"].str.startswith(UNKEPT).tolist() == (rows["method"] == "local").tolist()
    assert outcome.computed == 6
    assert set(store.rows()["method"]) == {"gradient"}


def test_a_damaged_map_is_computed_again(tmp_path):
    store = Store(tmp_path)
    run(metrics={"insertion": CURVES["insertion"]}, store=store)
    for file in (tmp_path / "attributions").iterdir():
        file.write_bytes(file.read_bytes()[:-40])
    with pytest.warns(UserWarning, match="damaged"):
        rows = run(store=store).rows
    same(rows, run().rows)


# -- chunks


def test_chunks_change_nothing(monkeypatch):
    metrics = {**CURVES, **RESPONSES, "pointing_game": PointingGame(tolerance=2)}
    methods = {"smoothgrad": SmoothGrad(samples=3), "random": Random()}
    whole = run(methods, metrics, samples_of(5, masks=(0, 1, 4))).rows
    monkeypatch.setattr("xaieval.plan.CHUNK", 1)
    same(run(methods, metrics, samples_of(5, masks=(0, 1, 4))).rows, whole, 1e-4)


def test_masks_may_be_missing_for_some():
    rows = run(metrics={"pointing_game": PointingGame(tolerance=2), **CURVES}, samples=samples_of(4, masks=(1, 2))).rows
    game = rows[rows["metric"] == "pointing_game"].set_index("sample")
    assert game.loc[["s0", "s3"], "reason"].tolist() == ["no mask", "no mask"]
    assert game.loc[["s0", "s3"], "score"].isna().all()
    assert game.loc[["s1", "s2"], "score"].notna().all()
    assert rows[rows["metric"] != "pointing_game"]["score"].notna().all()


def test_images_of_several_sizes():
    small = [replace(sample, id=f"small {sample.id}", input=sample.input[:, :8, :8].clone()) for sample in samples_of()]
    assert run(samples=samples_of() + small).rows["score"].notna().all()


def test_over_its_budget_a_metric_is_skipped():
    rows = run({"smoothgrad": SmoothGrad(samples=3)}, {"max_sensitivity": MaxSensitivity(copies=2, budget=2)}).rows
    assert set(rows["reason"]) == {"skipped: cost"}
    assert rows["error"].isna().all()


def test_the_budget_counts_kept_maps_too(tmp_path):
    store = Store(tmp_path)
    run({"smoothgrad": SmoothGrad(samples=3)}, {"sparseness": Sparseness()}, store=store)
    metrics = {"max_sensitivity": MaxSensitivity(copies=2, budget=2)}
    assert set(run({"smoothgrad": SmoothGrad(samples=3)}, metrics, store=store).rows["reason"]) == {"skipped: cost"}


def test_less_memory_gives_the_same_scores():
    class Small(Net):
        def forward(self, inputs):
            if len(inputs) > 3:
                raise torch.OutOfMemoryError("above three samples")
            return super().forward(inputs)

    metrics = {**CURVES, **RESPONSES}
    methods = {"smoothgrad": SmoothGrad(samples=4), "random": Random()}
    same(
        run(methods, metrics, net=Small(), samples=samples_of(5)).rows,
        run(methods, metrics, samples=samples_of(5)).rows,
    )


# -- errors


@dataclass(frozen=True)
class Raising(Method):
    """Raises."""

    units: ClassVar[str] = "gradient"
    reference: ClassVar[str] = ""

    def attribute(self, explicand):
        raise ArithmeticError("two\n  lines")


@dataclass(frozen=True)
class WrongShape(Raising):
    def attribute(self, explicand):
        return explicand.gradient[:, :, 1:]


@dataclass(frozen=True)
class Elsewhere(Raising):
    def attribute(self, explicand):
        return explicand.gradient.to("meta")


@dataclass(frozen=True)
class Text(Raising):
    def attribute(self, explicand):
        return "a map"


@dataclass(frozen=True)
class OneNaN(Raising):
    """NaN on the sample s1."""

    def attribute(self, explicand):
        values = explicand.gradient.clone()
        for row, name in enumerate(explicand.ids):
            if name == "s1":
                values[row, 0, 0, 0] = torch.nan
        return values


@dataclass(frozen=True)
class RaisingMetric(Metric):
    higher_is_better: ClassVar[bool] = True
    category: ClassVar[str] = "complexity"
    reference: ClassVar[str] = ""

    def score(self, explicand, attribution, units, method):
        raise KeyError("scale")


@dataclass(frozen=True)
class Mean(RaisingMetric):
    """One number instead of one for each sample."""

    def score(self, explicand, attribution, units, method):
        return attribution.mean()


@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        (Raising(), r"^ArithmeticError: two lines$"),
        (WrongShape(), r"ValueError: WrongShape.*shape \(3, 3, 11, 12\), expected"),
        (Elsewhere(), "ValueError: Elsewhere.* on meta, expected"),
        (Text(), "Text is a str, expected"),
    ],
)
def test_a_failing_method_loses_its_own_cells(tmp_path, method, sentence):
    store = Store(tmp_path)
    rows = run({"bad": method, "gradient": Gradient()}, store=store).rows.set_index("method")
    assert rows.loc["bad", "error"].str.contains(sentence).all()
    assert rows.loc["bad", "score"].isna().all()
    assert rows.loc["gradient", "error"].isna().all()
    same(rows.loc[["gradient"]].reset_index(), run().rows)
    with pytest.raises(CellError, match="6 of 12 cells failed"):
        check_cells(rows.reset_index())


def test_nan_in_one_map_loses_that_sample(tmp_path):
    store = Store(tmp_path)
    rows = run({"bad": OneNaN()}, store=store).rows
    assert rows["error"].notna().tolist() == [False, False, True, True, False, False]
    assert rows["error"].dropna().str.contains("NaN or infinite scores, expected a finite score").all()
    assert run({"bad": OneNaN()}, store=store).computed == 2


def test_a_failing_metric_loses_its_own_cells():
    rows = run(metrics={"bad": RaisingMetric(), "mean": Mean(), **CURVES}).rows.set_index("metric")
    assert rows.loc["bad", "error"].str.contains("KeyError: 'scale'").all()
    assert rows.loc["mean", "error"].notna().all()
    assert rows.loc[list(CURVES), "error"].isna().all()


def test_what_a_model_does_not_support_is_undefined_and_no_error(tmp_path):
    store = Store(tmp_path)
    rows = run({"guided": GuidedBackprop(), "gradient": Gradient()}, store=store).rows.set_index("method")
    check_cells(rows.reset_index())
    assert rows.loc["guided", "score"].isna().all()
    assert rows.loc["guided", "reason"].str.contains("^unsupported layers: net calls no relu, relu6 or hardtanh").all()
    assert rows.loc["gradient", "reason"].isna().all()
    assert run({"guided": GuidedBackprop()}, store=store).computed == 0


@dataclass(frozen=True)
class Refusing(Method):
    """No map of the first samples of a chunk."""

    units: ClassVar[str] = "gradient"
    reference: ClassVar[str] = "none"
    refuses: ClassVar[str] = "unsupported layers: completeness gap above 1 %"
    refused: int = 1

    def attribute(self, explicand):
        first = torch.arange(explicand.count) < self.refused
        return explicand.gradient.masked_fill(first[:, None, None, None], torch.nan)


@pytest.mark.parametrize("refused", [1, 3])
def test_a_sample_of_which_a_method_gives_no_map_is_undefined_and_no_error(tmp_path, refused):
    store, methods = Store(tmp_path), {"refusing": Refusing(refused)}
    rows = run(methods, store=store).rows
    check_cells(rows)
    samples = rows["sample"].isin([f"s{number}" for number in range(refused)])
    assert set(rows.loc[samples, "reason"]) == {Refusing.refuses}
    assert rows.loc[samples, "score"].isna().all()
    same(rows[~samples], run().rows[~samples].assign(method="refusing"))
    assert run(methods, store=store).computed == 0
    more = run(methods, {"sparseness": Sparseness()}, store=store).rows  # maps of the others are kept, these made again
    assert more["reason"].notna().tolist() == [True] * refused + [False] * (3 - refused)


def test_a_metric_whose_copies_a_method_refuses_is_undefined(monkeypatch):
    def refused(*arguments):
        raise UnsupportedError("act1 saturates")

    monkeypatch.setattr(Infidelity, "score", refused)
    rows = run(metrics=RESPONSES).rows.set_index("metric")
    check_cells(rows.reset_index())
    assert set(rows.loc["infidelity", "reason"]) == {"unsupported layers: act1 saturates"}
    assert rows.loc["mu_fidelity", "reason"].isna().all()


def test_errors_are_tried_again(tmp_path, monkeypatch):
    store = Store(tmp_path)
    run({"bad": Raising()}, store=store)
    monkeypatch.setattr(Raising, "attribute", lambda self, explicand: explicand.gradient)
    outcome = run({"bad": Raising()}, store=store)
    assert outcome.computed == 6
    check_cells(outcome.rows)
    assert len(store.rows()) == 6


def test_one_class_outside_the_model_loses_that_sample():
    samples = samples_of()
    samples[1] = replace(samples[1], target=99)
    samples.append(replace(samples[2], id="unlabeled", target=None))
    rows = run(samples=samples, target="label").rows.set_index("sample")
    assert rows.loc["s1", "error"].str.contains(r"s1: ValueError: target must lie in 0 to 3").all()
    assert rows.loc["unlabeled", "error"].str.contains("unlabeled has no label").all()
    assert rows.loc[["s0", "s2"], "error"].isna().all()


def test_an_unreadable_sample_loses_its_own_cells(tmp_path):
    def read(sample):
        if sample.id == "s1":
            raise DatasetError("s1.png is empty")
        return sample

    outcome = run(samples=Samples(samples_of(), read), store=Store(tmp_path))
    rows = outcome.rows.set_index("sample")
    assert rows.loc["s1", "error"].tolist() == ["DatasetError: s1.png is empty"] * 2
    assert rows.loc[["s0", "s2"], "score"].notna().all()
    assert "s1" not in set(Store(tmp_path).rows()["sample"])


def test_a_model_without_logits_ends_the_run():
    class Tuple(Net):
        def forward(self, inputs):
            return super().forward(inputs), None

    with pytest.raises(TypeError, match="returned a tuple, expected logits"):
        run(net=Tuple())


def test_a_summary_joins_errors_that_differ_in_numbers():
    rows = run({"bad": WrongShape()}, samples=samples_of(3, masks=(0,))).rows
    with pytest.raises(CellError) as caught:
        check_cells(rows)
    assert str(caught.value).count("WrongShape") == 1
    assert "bad, 6 cells" in str(caught.value)


def test_a_target_that_is_none():
    with pytest.raises(ValueError, match="target must be one of predicted, label, got 'labels'"):
        run(target="labels")


def test_an_interrupt_is_no_error_of_a_method(monkeypatch):
    def stop(self, explicand):
        raise KeyboardInterrupt

    monkeypatch.setattr(Raising, "attribute", stop)
    with pytest.raises(KeyboardInterrupt):
        run({"bad": Raising()})


def test_nothing_to_do():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outcome = run(samples=[])
    assert outcome.rows.empty
    check_cells(outcome.rows)


# -- shards


@pytest.mark.parametrize(("limit", "places"), [(5, [1, 3]), (None, [1, 3, 5, 7]), (20, [1, 3, 5, 7])])
def test_a_shard_is_of_the_samples_below_the_limit(limit, places):
    settings = Settings.of(composed(["shard=2/2"]) | {"dataset": {"limit": limit}})
    assert list(settings.indices(9)) == places


def test_shards_take_every_sample_once():
    parts = [shard_of(11, f"{part}/4") for part in range(1, 5)]
    assert parts[1] == range(1, 11, 4)
    assert sorted(index for part in parts for index in part) == list(range(11))


@pytest.mark.parametrize("shard", ["0/4", "5/4", "1", "1/", "a/b", "1/0", "-1/2"])
def test_shards_that_are_none(shard):
    with pytest.raises(ValueError, match="k/n"):
        shard_of(10, shard)


def test_subjects_name_the_pixels():
    first, second = (Subject.of(0, sample, "toys", "predicted") for sample in samples_of(2))
    assert first.key != replace(second, id=first.id).key
