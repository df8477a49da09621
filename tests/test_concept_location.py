"""Concept location, on a bottleneck whose concepts are colors: its maps are known to the pixel."""

import math
import pickle
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from known_answers import Smooth, constant, ids, normal, random
from metric_promises import NoHost
from torch import nn

from xaieval.api import evaluate
from xaieval.attributions.constant import Constant
from xaieval.attributions.grad_cam import GradCAM
from xaieval.attributions.ground_truth import GroundTruth
from xaieval.attributions.input_x_gradient import InputXGradient
from xaieval.attributions.permuted import Permuted
from xaieval.attributions.random import Random
from xaieval.attributions.rise import RISE
from xaieval.classifier import Classifier
from xaieval.component import Method
from xaieval.concept_location import region_of, seen
from xaieval.concept_model import Bottleneck
from xaieval.datasets.base import Sample
from xaieval.laws.components import composed
from xaieval.metric_catalog import measured
from xaieval.metrics.concept_location import ConceptLocation
from xaieval.metrics.iou import Iou
from xaieval.metrics.pointing_game import PointingGame
from xaieval.metrics.relevance_mass import RelevanceMass
from xaieval.metrics.relevance_rank import RelevanceRank
from xaieval.metrics.top_recall import TopRecall
from xaieval.parts import Parts, Scheme
from xaieval.unsupported import UnsupportedError

SIDE = 12
SCHEME = Scheme(
    ("head", "body", "tail"), ("head: red", "head: blue", "body: green", "tail: blue", "bright"), (0, 0, 1, 2, -1)
)
COLORS = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 0, 1], [0.6, 0.8, 0]])
CORNERS = ((0, 0), (4, 5), (9, 8))
"""Of the squares of 3 x 3 pixels where head, body and tail are."""

HEAD = torch.tensor([[4.0, 3, 2, 1, 0.5], [1, 2, 3, 4, 0.5], [-1, -1, 9, 1, 9]])
EXTENT = {
    "mass": ConceptLocation(RelevanceMass(), first=3, place="mask"),
    "rank": ConceptLocation(RelevanceRank(), first=3, place="mask"),
    "iou": ConceptLocation(Iou(), first=3, place="mask"),
    "pointing": ConceptLocation(PointingGame(tolerance=0), first=3, place="mask"),
}
PRESETS = {name: metric for name, metric in composed("metric") if isinstance(metric, ConceptLocation)}


def clm(alpha=1, first=1):
    return ConceptLocation(TopRecall(alpha, above_chance=False), first)


def classifier(colors=COLORS, head=HEAD, scheme=SCHEME, batch_size=4, **options):
    """A bottleneck on pixels: the margin of a concept is the mean of its color."""
    base = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    margins, classes = nn.Linear(*colors.T.shape), nn.Linear(*head.T.shape)
    with torch.no_grad():
        base.get_parameter("0.weight").copy_(torch.eye(3)[:, :, None, None])
        margins.weight.copy_(colors)
        margins.bias.zero_()
        classes.weight.copy_(head)
        classes.bias.zero_()
    return Classifier(Bottleneck(base, "0", margins, classes, scheme), batch_size=batch_size, **options)


def masks(count=1):
    found = torch.zeros(count, 3, SIDE, SIDE, dtype=torch.bool)
    for part, (row, column) in enumerate(CORNERS):
        found[:, part, row : row + 3, column : column + 3] = True
    return found


def parts(holds=(1, 0, 1, 1, 1), visible=(1.0, 1.0, 1.0), count=1, scheme=SCHEME, known=True):
    """Those of some samples: which concepts hold, how much of each part is seen, and whether masks are known."""
    visible = torch.tensor(visible).expand(count, -1)
    centers = (torch.tensor(CORNERS) + 1.0).expand(count, -1, -1).masked_fill(visible[..., None] == 0, torch.nan)
    extent = masks(count) & (visible > 0)[..., None, None]
    return Parts(scheme, centers, visible, torch.tensor(holds).bool().expand(count, -1), extent if known else None)


def squares(strengths=((1.0, 0.8, 0.6),)):
    """A red head, a green body and a blue tail on black, so bright."""
    color = torch.eye(3)
    strength = torch.tensor(strengths)
    return torch.einsum("np,pc,nphw->nchw", strength, color, masks(len(strength)).float())


def bound(model=None, inputs=None, told=None, target=0, **options):
    inputs = squares() if inputs is None else inputs
    told = parts(count=len(inputs)) if told is None else told
    return (model or classifier()).explicand(inputs, target, ids(len(inputs)), parts=told, **options)


def value(metric, where, method=None):
    method = method or InputXGradient()
    return metric(where, method(where), method)


# -- which concepts --


def test_concepts_come_in_the_order_of_weight_times_score():
    """Scores are the strengths times 9/144: .0625, 0.0375, .05, .0375 and .0775 (.6 red, .8 green)."""
    where = bound(inputs=squares([(1.0, 0.8, 0.6)] * 3), target=[0, 1, 2])
    scores = np.array([1.0, 0.6, 0.8, 0.6, 0.6 * 1 + 0.8 * 0.8])
    expected = np.argsort(-HEAD.numpy() * scores, axis=1, kind="stable")
    assert expected.tolist() == [[0, 1, 2, 4, 3], [2, 3, 1, 0, 4], [4, 2, 3, 1, 0]]
    assert ConceptLocation(first=5).concepts(where).tolist() == expected.tolist()
    assert ConceptLocation(first=2).concepts(where).tolist() == expected[:, :2].tolist()
    assert ConceptLocation(first=99).concepts(where).tolist() == expected.tolist()


def test_weights_are_those_that_the_model_is_called_with():
    where = bound(target=1)
    other = where.with_weights({"head.weight": HEAD.flip(0)})
    assert ConceptLocation(first=1).concepts(where).tolist() == [[2]]
    assert ConceptLocation(first=1).concepts(other.retargeted(other.target + 1)).tolist() == [[0]]


def test_equal_importance_is_taken_in_the_order_of_the_concepts():
    where = bound(classifier(head=torch.zeros(3, 5)))
    assert ConceptLocation(first=4).concepts(where).tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize(
    ("told", "counts"),
    [
        (parts(), [True, False, True, True, False]),  # the head is not blue, and nothing says where it is bright
        (parts(holds=(1, 1, 0, 0, 1)), [True, True, False, False, False]),
        (parts(visible=(0.0, 0.1, 1.0)), [False, False, True, True, False]),
    ],
)
def test_concepts_count_that_hold_have_a_place_and_are_seen(told, counts):
    where = bound(told=told)
    for place in ("center", "mask"):
        assert seen(where, told, place)[0].tolist() == counts
    order = [0, 1, 2, 4, 3]
    for first in (1, 2, 3, 5):
        expected = sum(counts[concept] for concept in order[:first])
        assert clm(first=first).counted(where).tolist() == [expected]
    assert clm(first=0).counted(where).tolist() == [sum(counts)]


def test_all_that_are_seen_are_looked_at_whatever_the_model_makes_of_them():
    told = Parts.stack([part.each(lambda rows: rows[0]) for part in (parts(), parts(holds=(0, 1, 0, 0, 0)))])
    where = bound(inputs=squares([(1.0, 1.0, 1.0)] * 2), told=told, target=2)
    found = ConceptLocation(first=0)
    assert found.concepts(where)[:, 0].tolist() == [0, 1]
    assert found.counted(where).tolist() == [3, 1]
    assert found.each(where, InputXGradient()).isfinite().tolist() == [[True] * 3, [True, False, False]]


def test_the_region_of_a_concept_is_its_part_or_the_pixel_of_its_center():
    told = parts(count=5)
    centers = told.centers.clone()
    centers[0, 0], centers[3, 2] = torch.tensor([2.4, 1.6]), torch.tensor([-0.4, 11.4])
    centers[2, 1] = torch.nan
    told = Parts(SCHEME, centers, told.visible, told.concepts, told.masks)
    where = bound(inputs=squares([(1.0, 1.0, 1.0)] * 5), told=told)
    concepts = torch.tensor([0, 1, 2, 3, 4])
    assert torch.equal(region_of(where, told, concepts, "mask")[:4], masks()[0, [0, 0, 1, 2]])
    points = region_of(where, told, concepts, "center")
    assert [point.nonzero().tolist() for point in points] == [[[2, 2]], [[1, 1]], [], [[0, 11]], []]
    assert not region_of(where, told, concepts, "mask")[4].any()


# -- what it says --


@pytest.mark.parametrize("name", EXTENT)
def test_maps_on_their_parts_are_the_best(name):
    """The maps of red, green and blue are the squares themselves."""
    assert value(EXTENT[name], bound()).tolist() == pytest.approx([1])


@pytest.mark.parametrize("alpha", [1, 3, 6])
def test_a_map_on_its_part_hits_the_center(alpha):
    """Nine pixels tie, of which an area of twelve has all."""
    assert value(clm(alpha), bound()).tolist() == [1]
    assert value(clm(alpha, first=0), bound()).tolist() == [1]


def test_maps_elsewhere_miss():
    """A model that takes blue for a red head looks at the tail."""
    wrong = COLORS.clone()
    wrong[0] = COLORS[3]
    where, chance = bound(classifier(wrong)), 9 / SIDE**2
    assert value(ConceptLocation(RelevanceMass(), 1, "mask"), where).tolist() == pytest.approx([-chance / (1 - chance)])
    for alpha, area in ((1, 12), (3, 36), (6, 72)):  # nine are blue, and the center is one of the others, which tie
        missed = (area - 9) / (SIDE**2 - 9)
        assert value(clm(alpha), where).tolist() == pytest.approx([missed])
        shown = (missed - alpha / 12) / (1 - alpha / 12)
        assert value(ConceptLocation(TopRecall(alpha)), where).tolist() == pytest.approx([shown])


def test_the_value_is_the_mean_over_the_concepts_that_count():
    """Of the first four the head is red, right, not blue, skipped, the body green, wrong; brightness has no place."""
    wrong = COLORS.clone()
    wrong[2] = COLORS[0]
    where = bound(classifier(wrong))
    metric = clm(1, first=4)
    assert metric.concepts(where).tolist() == [[0, 2, 1, 4]]
    each, missed = metric.each(where, InputXGradient()), 3 / (SIDE**2 - 9)
    torch.testing.assert_close(each, torch.tensor([[1, missed, math.nan, math.nan]]), equal_nan=True)
    assert metric.counted(where).tolist() == [2]
    assert value(metric, where).tolist() == pytest.approx([(1 + missed) / 2])


def test_agrees_with_a_loop_over_samples_and_concepts():
    count = 6
    generator = torch.Generator().manual_seed(4)
    colors, head = torch.randn(5, 3, generator=generator), torch.randn(3, 5, generator=generator)
    holds = random(count, 5, seed=5) > 0.3
    told = parts(count=count)
    told = Parts(SCHEME, told.centers, (random(count, 3, seed=6) > 0.2).float(), holds, told.masks)
    inputs, target = random(count, 3, SIDE, SIDE), [0, 1, 2, 0, 1, 2]
    where = bound(classifier(colors, head), inputs, told, target)
    for metric in (clm(1, first=3), *EXTENT.values()):
        expected = []
        for row in range(count):
            scores = colors.double() @ inputs[row].double().mean((1, 2))
            values = []
            for concept in (-head[target[row]].double() * scores).argsort()[:3].tolist():
                part = SCHEME.part_of[concept]
                if part < 0 or not holds[row, concept] or not told.visible[row, part]:
                    continue
                mask = masks()[0, part]
                if metric.place == "center":
                    mask = torch.zeros_like(mask)
                    mask[tuple(told.centers[row, part].int().tolist())] = True
                map_ = (colors[concept][:, None, None] * inputs[row]).sum(0)[None, None]
                alone = where.part(slice(row, row + 1), [row]).like(mask=mask[None])
                values.append(metric.metric(alone, map_, units="importance").item())
            expected.append(np.mean([one for one in values if not math.isnan(one)]) if values else math.nan)
        assert sum(map(math.isnan, expected)) < 3
        assert value(metric, where).tolist() == pytest.approx(expected, abs=1e-5, nan_ok=True)


# -- chance, bounds and other methods --


@pytest.mark.parametrize("alpha", [1, 3, 6])
def test_a_constant_map_is_at_chance_exactly(alpha):
    assert value(clm(alpha), bound(), Constant()).tolist() == pytest.approx([alpha / 12])
    assert value(ConceptLocation(TopRecall(alpha), 3), bound(), Constant()).tolist() == pytest.approx([0], abs=1e-6)
    for name in ("mass", "rank", "iou", "pointing"):
        assert value(EXTENT[name], bound(), Constant()).tolist() == pytest.approx([0], abs=1e-6)


@pytest.mark.parametrize("method", [Random(), Permuted(InputXGradient())], ids=["random", "permuted"])
@pytest.mark.parametrize("alpha", [1, 3, 6])
def test_maps_that_know_nothing_hit_as_often_as_chance_says(method, alpha):
    count, chance = 600, alpha / 12
    values = value(clm(alpha), bound(inputs=squares([(1.0, 0.8, 0.6)] * count)), method)
    assert abs(values.mean() - chance) < 4 * (chance * (1 - chance) / count) ** 0.5
    assert values.mean() != chance


@pytest.mark.parametrize("name", ["mass", "rank", "iou", "pointing"])
def test_the_ground_truth_of_a_concept_is_its_part(name):
    creature = masks().any(1)
    assert value(EXTENT[name], bound(mask=creature), GroundTruth()).tolist() == pytest.approx([1])


def test_the_ground_truth_of_a_concept_without_masks_is_its_center():
    where = bound(told=parts(known=False), mask=masks().any(1))
    assert value(clm(1), where, GroundTruth()).tolist() == [1]


def test_other_methods_explain_concepts_as_they_explain_classes():
    """Grad-CAM of a color's mean is its channel, positive; RISE finds the square that a color is on."""
    for method in (GradCAM(), GradCAM(layer="base.0")):
        assert value(ConceptLocation(RelevanceMass(), 3, "mask"), bound(), method).tolist() == [1]
    metric = ConceptLocation(PointingGame(tolerance=3), 1, "mask", budget=0)
    assert value(metric, bound(), RISE(samples=600, grid=4)).tolist() == pytest.approx([1])


# -- where it is undefined --


@dataclass(frozen=True)
class Nothing(Method):
    """A map of the class, and none of its concepts."""

    units: ClassVar[str] = "importance"

    def attribute(self, explicand):
        concepts = explicand.classifier.classes == len(SCHEME.concepts)
        return torch.zeros_like(explicand.inputs[:, :1]) if concepts else explicand.inputs[:, :1].clone()


@pytest.mark.parametrize(
    ("metric", "told", "reason"),
    [
        (clm(1), parts(holds=(0, 1, 1, 1, 1)), "no concept seen among the first 1"),
        (clm(1, first=2), parts(visible=(0.0, 1.0, 1.0)), "no concept seen among the first 2"),
        (clm(1, first=0), parts(holds=(0, 1, 0, 0, 1), visible=(0.0, 1.0, 1.0)), "no concept seen"),
        (EXTENT["mass"], parts(known=False), "no masks of parts"),
    ],
)
def test_without_a_place_there_is_no_value(metric, told, reason):
    where = bound(told=told)
    values, reasons = metric.evaluate(where, InputXGradient()(where), InputXGradient())
    assert values.isnan().tolist() == [True]
    assert [name for name, holds in reasons.items() if bool(holds.any())] == [reason]


@pytest.mark.parametrize("model", [classifier(), Classifier(Smooth())], ids=["bottleneck", "no bottleneck"])
def test_without_parts_there_is_no_value(model):
    where = model.explicand(squares(), 0)
    values, reasons = clm(1).evaluate(where, InputXGradient()(where), InputXGradient())
    assert values.isnan().all()
    assert reasons["no parts"].all()


def test_a_concept_without_a_map_is_skipped():
    where = bound()
    values, reasons = clm(1, 3).evaluate(where, Nothing()(where), Nothing())
    assert values.isnan().all()
    assert reasons["no map of a concept has a value"].tolist() == [True]


def test_a_model_without_concepts_is_refused_and_a_run_goes_on():
    where = bound(Classifier(constant()))
    with pytest.raises(UnsupportedError, match="the model has no concepts; choose a concept bottleneck"):
        value(clm(1), where, Constant())
    sample = Sample("one", squares()[0], 0, None, ("one",), parts=parts().each(lambda rows: rows[0]))
    rows = evaluate(Classifier(constant()), [sample], methods=[Constant()], metrics=[clm(1)])
    assert rows["score"].isna().all()
    assert rows["reason"].tolist() == ["unsupported layers: the model has no concepts"]


def test_concepts_are_those_of_the_samples_by_name():
    scheme = Scheme(("part",), ("tail: blue",), (0,))
    model = classifier(COLORS[3:4], torch.ones(2, 1), scheme)
    assert value(EXTENT["mass"], bound(model)).tolist() == pytest.approx([1])
    assert value(clm(1, first=5), bound(model)).tolist() == [1]


def test_other_concepts_than_those_of_the_samples_are_refused():
    model = classifier(COLORS[3:4], torch.ones(2, 1), Scheme(("tail",), ("tail: long",), (0,)))
    with pytest.raises(
        ValueError, match=r"nothing of the concept 'tail: long', one of 1 of the model's 1; they tell of"
    ):
        value(clm(1), bound(model))


@pytest.mark.parametrize(
    ("options", "message"), [({"place": "edge"}, "one of center, mask, got 'edge'"), ({"first": -1}, "got -1")]
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        ConceptLocation(**options)


# -- cost --


def test_the_maps_of_concepts_are_made_once_for_all_metrics_and_booked():
    where, method = bound(), InputXGradient()
    attribution = method(where)
    assert where.cost[:2] == (1, 1)
    clm(1)(where, attribution, method)
    assert where.cost[:2] == (3, 2)  # the concept scores, and the gradient of one
    clm(6)(where, attribution, method)
    EXTENT["mass"](where, attribution, method)
    assert where.cost[:2] == (5, 4)  # of the two more that it looks at
    clm(1, first=3)(where, attribution, method)
    assert where.cost[:2] == (5, 4)


def test_over_the_budget_nothing_is_spent():
    where, method = bound(), RISE(samples=30, grid=4)
    attribution = method(where)
    spent = where.cost
    values, reasons = ConceptLocation(budget=29).evaluate(where, attribution, method)
    assert values.isnan().all()
    assert reasons["skipped: cost"].all()
    assert where.cost[:2] == spent[:2]
    assert ConceptLocation(budget=30)(where, attribution, method).isfinite().all()


# -- the same whatever the surroundings --

METRICS = [clm(1, 2), ConceptLocation(first=0), *EXTENT.values()]


def many(rows=tuple(range(5)), **options):
    rows, device = list(rows), options.get("device", "cpu")
    holds = random(5, 5, seed=8) > 0.3
    told = parts(count=5)
    told = Parts(SCHEME, told.centers, told.visible, holds, told.masks).each(lambda one: one[rows].to(device))
    model = classifier(normal(5, 3), normal(3, 5, seed=1), **options)
    inputs = random(5, 3, SIDE, SIDE, seed=2)[rows].to(device)
    return model.explicand(inputs, 1, [ids(5)[row] for row in rows], parts=told)


@pytest.mark.parametrize("metric", METRICS, ids=repr)
def test_neighbors_order_and_batch_size_change_nothing(metric):
    method = InputXGradient()
    expected = value(metric, many(), method)
    assert expected.isfinite().sum() > 2
    for size in (1, 2, 7):
        torch.testing.assert_close(value(metric, many(batch_size=size), method), expected, equal_nan=True)
    rows = [4, 2, 0]
    torch.testing.assert_close(value(metric, many(rows), method), expected[rows], equal_nan=True)
    torch.testing.assert_close(value(metric, many([3]), method), expected[3:4], equal_nan=True)


@pytest.mark.parametrize("metric", [metric for metric in METRICS if metric.first], ids=repr)
def test_the_host_is_not_asked(metric):
    first, method = many(), InputXGradient()
    value(metric, first, method)  # the model of the concepts is made, once for a classifier
    where = first.like()
    attribution = method(where)
    with NoHost():
        metric(where, attribution, method)
    nowhere = many(device="meta")
    assert value(metric, nowhere, method).is_meta


def test_only_where_all_concepts_are_looked_at_the_host_is_asked():
    assert ConceptLocation().syncs == ""
    assert ConceptLocation(first=0).syncs


def test_perturbed_copies_have_the_parts_of_their_samples():
    where = bound(inputs=squares([(1.0, 0.8, 0.6), (0.5, 0.9, 1.0)]))
    expected = value(clm(1, 2), where)
    for batch in where.batches(2):
        copies = batch.copies(batch.inputs)
        torch.testing.assert_close(value(clm(1, 2), copies), batch.of_rows(expected))


@pytest.mark.parametrize("name", PRESETS)
def test_presets(name):
    metric = PRESETS[name]
    assert pickle.loads(pickle.dumps(metric)) == metric
    assert value(metric, bound()).tolist() == pytest.approx([1])
    assert metric.bounds == metric.metric.bounds


def test_there_is_a_preset_for_each_number_of_the_paper_and_for_extents():
    assert {name: (PRESETS[name].metric, PRESETS[name].place) for name in PRESETS} == {
        "concept_location": (TopRecall(), "center"),
        **{f"clm_alpha{alpha}": (TopRecall(alpha, above_chance=False), "center") for alpha in (1, 3, 6)},
        "concept_mass": (RelevanceMass(), "mask"),
        "concept_rank": (RelevanceRank(), "mask"),
        "concept_iou": (Iou(), "mask"),
        "concept_pointing": (PointingGame(tolerance=0), "mask"),
    }
    assert {metric.first for metric in PRESETS.values()} == {1}


def test_the_catalog_counts_it_on_a_bottleneck():
    alone, again, reasons = measured(PRESETS["clm_alpha6"])
    assert alone[:2] == (2, 1)  # the concept scores, and the gradient of one
    assert again[:2] == (1, 1)
    assert "no concept seen among the first 1" in reasons
