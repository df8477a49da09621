"""FunnyBirds' protocol on scenes of squares: each metric against a slow derivation, perfect maps, undefined values."""

import itertools
import math

import numpy as np
import pytest
import torch
from part_worlds import CLASSES, CORNERS, OBJECTS, SIDE, Squares, Use, bound, part_map, parts_of, shown, square
from scipy.ndimage import binary_dilation
from scipy.stats import spearmanr

from xaieval.attributions.gradient import Gradient
from xaieval.classifier import Classifier
from xaieval.component import Method
from xaieval.metrics.background_independence import BackgroundIndependence
from xaieval.metrics.controlled_synthetic_data_check import ControlledSyntheticDataCheck
from xaieval.metrics.deletion_check import DeletionCheck
from xaieval.metrics.distractibility import Distractibility
from xaieval.metrics.part_completeness import PartCompleteness
from xaieval.metrics.preservation_check import PreservationCheck
from xaieval.metrics.single_deletion import SingleDeletion
from xaieval.part_importance import THRESHOLDS, choose_threshold, minimal_sets

WEIGHTS = (3.0, 2.5, 2.0, 1.5, 0.2, 0.1)
METRICS = (
    *(ControlledSyntheticDataCheck, PreservationCheck, DeletionCheck, Distractibility, PartCompleteness),
    *(SingleDeletion, BackgroundIndependence),
)


def scenes():
    return [shown(0), shown(1, drawn=(0, 1, 2, 3, 4)), shown(2, under=(2,)), shown(3, objects=1), shown(0)]


def model():
    return Use(WEIGHTS, (1.5, 0.1), power=1.3)


def maps(seed=0, count=5):
    """Signed noise about .05, so that most sums are positive."""
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed)) * 0.5 + 0.05


# -- the definitions once more, sample by sample and without the package ---------------------------------------------


class Slow:
    def __init__(self, network, world, target, attribution, threshold):
        self.network, self.world, self.target, self.threshold = network, world, target, threshold
        self.map = attribution.sum(0).double().numpy()
        self.seen = [part for part in world.drawn if part not in world.under]
        self.whole = self.logits(world.image())

    def logits(self, image):
        with torch.no_grad():
            return self.network(image[None])[0].double().numpy()

    def sum_in(self, corner):
        mask = np.zeros((SIDE, SIDE), bool)
        mask[square(corner)] = True
        return self.map[binary_dilation(mask, np.ones((5, 5), bool))].sum()

    def important(self, corner):
        return self.sum_in(corner) > self.threshold * self.map.sum()

    @property
    def parts(self):
        return [part for part in self.seen if self.important(CORNERS[part])]

    def drop(self, **changed):
        return self.whole[self.target] - self.logits(self.world.image(**changed))[self.target]

    def csdc(self):
        own = CLASSES[self.target]
        if self.whole.argmax() != self.target or tuple(v for v in own if v >= 0) != self.world.variants[:5]:
            return math.nan
        telling = [part for part in self.seen if own[part] >= 0]
        sets = [set(s) for size in range(1, 6) for s in itertools.combinations(telling, size)]
        enough = [s for s in sets if sum(all(row[p] == own[p] for p in s) for row in CLASSES) == 1]
        minimal = [s for s in enough if not any(other < s for other in enough)]
        return max((len(s & set(self.parts)) / len(s) for s in minimal), default=math.nan)

    def pc(self):
        gone = [part for part in self.world.drawn if part not in self.parts]
        return float(self.logits(self.world.image(without=gone)).argmax() == self.whole.argmax())

    def dc(self):
        return float(self.logits(self.world.image(without=self.parts)).argmax() != self.whole.argmax())

    def irrelevant(self, drop):
        return drop < 0.05 * abs(self.whole[self.target])

    def d(self):
        found = [self.important(CORNERS[p]) for p in self.seen if self.irrelevant(self.drop(without=[p]))]
        objects = range(self.world.objects)
        found += [self.important(OBJECTS[n]) for n in objects if self.irrelevant(self.drop(objects=[n]))]
        return 1 - np.mean(found) if found else math.nan

    def complete(self):
        return 0.5 * ((self.csdc() + self.pc() + self.dc()) / 3 + self.d())

    def sd(self):
        sums = [self.sum_in(CORNERS[part]) for part in self.seen]
        return 0.5 + 0.5 * spearmanr(sums, [self.drop(without=[part]) for part in self.seen]).statistic

    def bi(self):
        return 1 - np.mean([not self.irrelevant(self.drop(objects=[n])) for n in range(self.world.objects)])


NAMES = dict(zip(METRICS, ("csdc", "pc", "dc", "d", "complete", "sd", "bi"), strict=True))
CHECKED = ("csdc", "pc", "dc", "d", "complete")


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("threshold", [0.02, 0.1, 0.3])
def test_agrees_with_a_slow_derivation(metric, threshold):
    network, worlds, targets = model(), scenes(), [0, 1, 2, 3, 2]
    made = metric(threshold=threshold) if NAMES[metric] in CHECKED else metric()
    for seed in range(3):
        given, expected = maps(seed), []
        for row, world in enumerate(worlds):
            slow = Slow(network, world, targets[row], given[row], threshold)
            positive = slow.map.sum() > 0 or NAMES[metric] not in CHECKED
            expected.append(getattr(slow, NAMES[metric])() if positive else math.nan)
        found = made(bound(network, worlds, targets), given, units="gradient")
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("metric", METRICS)
def test_same_in_any_batch_and_order(metric):
    network, worlds, targets = model(), scenes(), [0, 1, 2, 3, 2]
    expected = metric()(bound(network, worlds, targets), maps(1))
    for size in (1, 2, 64):
        torch.testing.assert_close(
            metric()(bound(network, worlds, targets, batch_size=size), maps(1)), expected, equal_nan=True
        )
    for row, world in enumerate(worlds):
        alone = metric()(bound(network, [world], targets[row]), maps(1)[row : row + 1])
        torch.testing.assert_close(alone, expected[row : row + 1], equal_nan=True)
    turned = metric()(bound(network, worlds[::-1], targets[::-1]), maps(1).flip(0))
    torch.testing.assert_close(turned.flip(0), expected, equal_nan=True)


def test_all_metrics_and_maps_share_what_is_drawn():
    network = model()
    where = bound(network, scenes(), [0, 1, 2, 3, 2])
    before = network.seen
    for metric in METRICS:
        metric()(where, maps(0))
    seen = network.seen
    assert where.cost.forwards == (seen - before) / 5
    for metric in METRICS:
        metric()(where, maps(0).clone())
    assert network.seen == seen
    SingleDeletion()(where, maps(1))
    assert network.seen == seen


# -- what a perfect map gets ------------------------------------------------------------------------------------------


def test_a_perfect_map_gets_the_best_values():
    weights = (3.0, 2.5, 2.0, 1.5, 1.2, 0.0)
    where = bound(Use(weights), [shown(number) for number in (1, 2, 3)], [1, 2, 3])
    effects = torch.tensor(weights).repeat(3, 1)
    for metric in METRICS:
        assert metric()(where, part_map(effects)).tolist() == [1.0] * 3, metric
    assert SingleDeletion()(where, part_map(-effects)).tolist() == [0.0] * 3
    nuisance = part_map([[0.0, 0, 0, 0, 0, 1]] * 3)
    for metric in (ControlledSyntheticDataCheck, DeletionCheck, PreservationCheck):
        assert metric()(where, nuisance).tolist() == [0.0] * 3, metric
    assert Distractibility()(where, nuisance).tolist() == pytest.approx([2 / 3] * 3)
    assert (SingleDeletion()(where, nuisance) < 0.5).all()


def test_a_map_of_everything_and_one_of_nothing():
    network = Use((3.0, 2.5, 2.0, 1.5, 1.0, 0.0))
    where = bound(network, [shown(1)], 1)
    everything, nothing = part_map([[1.0] * 6], (1.0, 1.0)), part_map([[0.0] * 6], back=1.0)
    assert Distractibility()(where, everything).tolist() == [0.0]
    assert PartCompleteness()(where, everything).tolist() == [0.5]
    assert Distractibility()(where, nothing).tolist() == [1.0]
    assert PartCompleteness()(where, nothing).tolist() == [0.5]


def test_a_cue_in_the_background_is_found():
    worlds = [shown(number) for number in range(4)]
    on_parts = part_map([[1.0] * 5 + [0.0]] * 4)
    on_cue = part_map([[1.0] * 5 + [0.0]] * 4, (1.0, 0.0))
    for weight, independent, distracted in ((4.0, 0.5, 1.0), (0.0, 1.0, 2 / 3)):
        where = bound(Use((1.0,) * 5 + (0.0,), (weight, 0.0)), worlds, [0, 1, 2, 3])
        assert BackgroundIndependence()(where, on_parts).tolist() == [independent] * 4
        assert Distractibility()(where, on_cue).tolist() == pytest.approx([distracted] * 4)
        assert Distractibility()(where, on_parts).tolist() == [1.0] * 4


def test_a_drop_of_exactly_five_percent_is_a_drop():
    where = bound(Use((0.0,) * 6, (1.0, 0.0), bias=19.0), [shown(0)], 0)
    assert BackgroundIndependence()(where, part_map([[1.0] * 6])).tolist() == [0.5]
    where = bound(Use((0.0,) * 6, (1.0, 0.0), bias=20.0), [shown(0)], 0)
    assert BackgroundIndependence()(where, part_map([[1.0] * 6])).tolist() == [1.0]


# -- what is undefined ------------------------------------------------------------------------------------------------


def reasons(metric, where, attribution):
    values, found = metric.evaluate(where, attribution, Gradient())
    return values, {name for name, rows in found.items() if bool(rows.any())}


class Mistaken(Use):
    """Takes all scenes for those of class 1."""

    def __init__(self):
        super().__init__(WEIGHTS)

    def forward(self, x):
        return super().forward(x) + torch.tensor([0.0, 99, 0, 0])


def test_undefined_with_a_reason():
    where = bound(model(), [shown(0)], 0)
    for metric in METRICS[:5]:
        values, found = reasons(metric(), where, part_map([[1.0] * 6], back=-1.0))
        assert values.isnan().all()
        assert found == {"sum not positive"}
    wrong = bound(Use((0.0,) * 6), [shown(0)], 2)  # all logits tie, so that class 0 is predicted
    assert reasons(ControlledSyntheticDataCheck(), wrong, part_map([[1.0] * 6]))[1] == {"not predicted correctly"}
    assert reasons(PartCompleteness(), wrong, part_map([[1.0] * 6]))[1] == {"not predicted correctly"}
    mistaken = bound(Mistaken(), [shown(0)])  # explained is the class predicted, which the scene does not show
    assert mistaken.target.tolist() == [1]
    assert reasons(ControlledSyntheticDataCheck(), mistaken, part_map([[1.0] * 6]))[1] == {"not predicted correctly"}
    untold = bound(model(), [shown(0, drawn=(0, 5))], 1)
    found = reasons(ControlledSyntheticDataCheck(), untold, part_map([[1.0] * 6]))[1]
    assert "class not told by seen parts" in found
    used = bound(Use((1.0,) * 6, (1.0, 1.0)), [shown(0)], 0)
    assert reasons(Distractibility(), used, part_map([[1.0] * 6]))[1] == {"nothing irrelevant"}
    empty = bound(model(), [shown(0, objects=0)], 0)
    assert reasons(BackgroundIndependence(), empty, part_map([[1.0] * 6]))[1] == {"no object seen"}
    few = bound(model(), [shown(0, drawn=(0, 1))], 0)
    assert reasons(SingleDeletion(), few, part_map([[1.0] * 6]))[1] == {"fewer than 3 parts seen"}
    flat = bound(Use((1.0,) * 6), [shown(0)], 0)
    assert reasons(SingleDeletion(), flat, part_map([[1.0, 2, 3, 4, 5, 6]]))[1] == {"constant effects"}


def test_undefined_without_parts_worlds_or_masks():
    world = shown(0)
    parts, classifier = parts_of([world]), Classifier(model())
    points = type(parts)(parts.scheme, parts.centers, parts.visible, parts.concepts)
    told = {"no parts": {}, "no world": {"parts": parts}, "no part masks": {"parts": points, "worlds": [world]}}
    for reason, given in told.items():
        where = classifier.explicand(world.image()[None], 0, **given)
        spent = where.cost.forwards
        for metric in METRICS:
            assert reasons(metric(), where, part_map([[1.0] * 6]))[1] == {reason}
        assert where.cost.forwards == spent


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.1])
def test_thresholds_are_shares(threshold):
    with pytest.raises(ValueError, match=r"PreservationCheck: threshold is a share of the map's sum, in \(0, 1\)"):
        PreservationCheck(threshold)


# -- sets that suffice, and the threshold ----------------------------------------------------------------------------


def test_minimal_sets():
    everything = (True,) * 6
    assert minimal_sets(CLASSES, 1, everything) == ((4,), (0, 2), (0, 3), (1, 2), (1, 3))
    assert minimal_sets(CLASSES, 1, (True, True, True, False, False, True)) == ((0, 2), (1, 2))
    assert minimal_sets(CLASSES, 1, (True, True, False, False, False, True)) == ()
    assert minimal_sets(CLASSES, -1, everything) == ()
    assert minimal_sets(((0, 1), (0, 1)), 0, (True, True)) == ()


class Kept(Method):
    """Gives the maps it was made with."""

    units = "gradient"
    reference = "arXiv:2308.06248"
    made: dict[str, torch.Tensor] = {}  # noqa: RUF012
    calls = 0

    def attribute(self, explicand):
        Kept.calls += 1
        return torch.stack([self.made[name] for name in explicand.ids])


def test_the_threshold_is_the_best_of_all_tried_one_by_one():
    network, worlds, targets, given = model(), scenes(), [0, 1, 2, 3, 2], maps(2)
    Kept.made = {f"scene {row}": given[row] for row in range(5)}
    Kept.calls = 0
    batches = [bound(network, worlds[:2], targets[:2])]
    batches += [bound(network, worlds[2:], targets[2:], ids=[f"scene {row}" for row in (2, 3, 4)])]
    choice = choose_threshold(batches, Kept())
    assert Kept.calls == 2
    where = bound(network, worlds, targets)
    four = (ControlledSyntheticDataCheck, PreservationCheck, DeletionCheck, Distractibility)
    expected = []
    for threshold in THRESHOLDS:
        one, two, three, four_th = (metric(threshold)(where, given).nanmean().item() for metric in four)
        expected.append((one + two + three) / 3 + four_th)
    np.testing.assert_allclose(choice.values, expected, rtol=1e-5)
    assert choice.value == max(choice.values)
    assert choice.threshold == THRESHOLDS[choice.values.index(choice.value)]
    assert (len(THRESHOLDS), THRESHOLDS[0], THRESHOLDS[-1]) == (80, 0.01, 0.5)
    assert np.ptp(choice.values) > 0.1


def test_no_threshold_where_a_check_is_nowhere_defined():
    Kept.made = {"scene 0": maps(0)[0]}
    with pytest.raises(ValueError, match="no threshold to choose for Kept: a check is defined on no sample"):
        choose_threshold([bound(Use((0.0,) * 6), [Squares((0, 0, 1, 1, 0, 0))], 2)], Kept())
