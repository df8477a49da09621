"""The ground truth as a map: the best that metrics of localization give, and a reason where there is none."""

from dataclasses import replace

import pytest
import torch
from known_answers import bind, ids, random
from networks import network

from xaieval.attributions.gradient import Gradient
from xaieval.attributions.ground_truth import LAWS, GroundTruth
from xaieval.benchmark import Benchmark
from xaieval.classifier import Classifier
from xaieval.component import Metric
from xaieval.datasets.base import Sample
from xaieval.laws import composed, methods, name_of, toys
from xaieval.laws.families import CONVOLUTIONAL
from xaieval.metrics.attribution_localization import AttributionLocalization
from xaieval.metrics.insertion import Insertion
from xaieval.metrics.iou import Iou
from xaieval.metrics.pointing_game import PointingGame
from xaieval.metrics.relevance_mass import RelevanceMass
from xaieval.metrics.relevance_rank import RelevanceRank
from xaieval.metrics.roc_auc import RocAuc
from xaieval.metrics.top_k_intersection import TopKIntersection
from xaieval.store import Store
from xaieval.support import refusal

LOCALIZATION = {name: metric for name, metric in composed("metric") if metric.category == "localization"}


def masks():
    """A rectangle, one that is nearly everything, three pixels, scattered pixels, and a ring."""
    found = torch.zeros(5, 20, 24, dtype=torch.bool)
    found[0, 4:12, 4:9] = True
    found[1, 1:, :] = True
    found[2, 5, 6:9] = True
    found[3] = random(20, 24) > 0.6
    found[4, 2:18, 3:20] = True
    found[4, 6:12, 8:14] = False
    return found


def explicand(mask, **options):
    return bind(network(), random(len(mask), 3, *mask.shape[1:]), 1, ids=ids(len(mask)), mask=mask, **options)


def test_it_is_the_mask():
    values = GroundTruth()(explicand(masks()))
    assert torch.equal(values[:, 0], masks().float())


def test_absent_features_are_outside():
    present = torch.ones(5, 20, 24, dtype=torch.bool)
    present[:, :, 7:] = False
    where = explicand(masks(), present=present)
    assert torch.equal(GroundTruth()(where)[:, 0], (masks() & present).float())


def test_it_costs_nothing():
    where = explicand(masks())
    GroundTruth()(where)
    assert where.cost[:2] == (0, 0)
    assert GroundTruth.oracle
    assert not GroundTruth.sentinel


# -- what metrics of localization give it --


@pytest.mark.parametrize(
    "metric",
    [
        RelevanceMass(),
        RelevanceRank(),
        RocAuc(),
        Iou(),
        Iou("maximum", 0.2),
        Iou("mean", 1.0),
        PointingGame(0, largest_chance=1.0),
        PointingGame(3, largest_chance=0.9),
    ],
    ids=str,
)
def test_it_has_the_largest_value_that_there_is(metric):
    values, reasons = metric.evaluate(where := explicand(masks()), GroundTruth()(where))
    defined = ~values.isnan()
    torch.testing.assert_close(values[defined], torch.full_like(values[defined], metric.bounds[1]))
    assert int(defined.sum()) >= 3
    assert {name for name, holds in reasons.items() if holds.any()} <= {"mask covers everything", "chance above 0.9"}


def test_where_the_object_is_smaller_than_k_no_map_has_all_of_the_top_k():
    """K is 10 of 480 features, and one mask has 3 of them."""
    where = explicand(masks())
    values = TopKIntersection().raw(where, GroundTruth()(where))
    torch.testing.assert_close(values, torch.tensor([1, 1, 0.3, 1, 1]))


def test_without_an_upper_bound_it_has_what_the_size_of_the_object_allows():
    where = explicand(masks())
    share = masks().float().mean((1, 2))
    torch.testing.assert_close(AttributionLocalization()(where, GroundTruth()(where)), 1 / share - 1)


@pytest.mark.parametrize("name", LOCALIZATION)
def test_no_other_map_has_more(name):
    """Nor have 50 random maps, and the mask with noise; among all metrics of localization."""
    metric: Metric = LOCALIZATION[name]
    where = explicand(masks().repeat_interleave(3, 1).repeat_interleave(3, 2))  # 15 pixels reach far on smaller ones
    inside = GroundTruth()(where)
    best = metric(where, inside)
    assert bool(best.isfinite().any())
    for seed in range(50):
        noise = random(*inside.shape, seed=seed)
        for other in (noise, inside + noise, inside - 0.1 * noise):
            assert bool((metric(where, other) <= best + 1e-6)[best.isfinite()].all())


# -- where there is no ground truth --


def samples(*found):
    images = random(len(found), 3, 20, 24)
    return [Sample(f"s{n}", images[n], 0, mask, (f"photo {n}",)) for n, mask in enumerate(found)]


def rows_of(found, store=None, **other):
    work = Benchmark(
        Classifier(network(), batch_size=8, name="net"),
        {"ground_truth": GroundTruth(), **other},
        {"relevance_mass": RelevanceMass(), "insertion": Insertion(4, 4)},
        "toys",
        store=store,
    )
    return work.run(samples(*found)).rows


def test_without_a_mask_a_run_notes_the_reason_and_no_error():
    """One sample has no mask, one an empty one."""
    mask = masks()[0]
    rows = rows_of((mask, None, torch.zeros_like(mask)), gradient=Gradient()).set_index("sample")
    truth = rows[rows["method"] == "ground_truth"]
    assert truth["error"].isna().all()
    assert truth.loc["s0", "score"].notna().all()
    assert truth.loc["s0", "reason"].isna().all()
    for sample in ("s1", "s2"):
        assert truth.loc[sample, "score"].isna().all()
        assert (truth.loc[sample, "reason"] == "no mask").all()
    assert rows.loc["s2"].query("method == 'gradient' and metric == 'insertion'")["score"].notna().all()


def test_another_mask_is_not_answered_from_the_store(tmp_path):
    """The map depends on it, and so does every score of the map, also of a metric that reads no mask."""
    store, (first, _, second, *_) = Store(tmp_path), masks()
    rows_of((first,), store)
    kept = rows_of((second,), store)
    fresh = rows_of((second,))
    assert kept["score"].tolist() == fresh["score"].tolist()
    assert rows_of((first,), store)["score"].tolist() != fresh["score"].tolist()


def test_it_supports_every_model():
    assert refusal(bind(network(), random(1, 3, 8, 8)), GroundTruth()) == ""


# -- laws, with masks --


def masked(make):
    """The explicand of a law, with its bright pixels as the mask."""

    def explicand(module, inputs=None, **options):
        inputs = toys.images() if inputs is None else inputs
        return make(module, inputs, **options | {"mask": inputs.mean(1) > 0.5})

    return explicand


@pytest.mark.parametrize(
    "law",
    [law for law in methods.laws_of(GroundTruth()) if name_of(law) in {*LAWS, "hooks", "planted"} - {"layout"}],
    ids=name_of,
)
def test_with_masks_it_keeps_the_laws_that_it_is_excepted_from(law):
    law(GroundTruth(), replace(CONVOLUTIONAL, bind=masked(toys.explicand)))


def test_strided_inputs_have_the_same_map():
    """The law of layout binds its inputs itself."""
    where = explicand(masks())
    turned = where.inputs.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    values = GroundTruth()(where.like(inputs=turned))
    assert torch.equal(values, GroundTruth()(where))
    assert values.is_contiguous()
