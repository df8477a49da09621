"""Target sensitivity: whether the parts shared with a class count more in its own map than in another's."""

from dataclasses import dataclass
from itertools import combinations

import pytest
import torch
from part_worlds import CLASSES, CORNERS, SIDE, Squares, Use, bound, part_map, shown, square

from xaieval.attributions.gradient import Gradient
from xaieval.attributions.part_effects import PartEffects
from xaieval.class_pairs import class_pairs, sharing
from xaieval.component import Method
from xaieval.metrics.target_sensitivity import TargetSensitivity

WEIGHTS = (1.0, 2.0, 3.0, 4.0, 5.0, 0.5)


@dataclass(frozen=True)
class ByClass(Method):
    """What each part counts for the class that is asked for; negated, or the same for all classes."""

    units = "contribution"
    reference = "arXiv:2308.06248"

    kind: str = "exact"

    def attribute(self, explicand):
        rows = []
        for world, target in zip(explicand.worlds, explicand.target.tolist(), strict=True):
            shared = [float(own == wanted) for own, wanted in zip(world.variants[:5], CLASSES[target][:5], strict=True)]
            rows.append([*shared, 0.0])
        values = torch.tensor(rows) * torch.tensor(WEIGHTS)
        if self.kind == "half":
            values[:, [1, 3]] *= 0
            values[:, 2] = 7.0
        return part_map({"negated": -values, "blind": torch.ones_like(values)}.get(self.kind, values))


def scenes():
    return [shown(number) for number in range(4)]


def value(method, where, **options):
    return TargetSensitivity(**options)(where, method(where), method)


def test_pairs_are_the_classes_that_share_two_parts():
    pairs = class_pairs(bound(Use(WEIGHTS), scenes(), [0, 1, 2, 3]))
    assert pairs.classes.tolist() == [[1, 3], [0, 2], [1, 3], [0, 2]]
    shared = [[[p for p in range(6) if flags[p]] for flags in row] for row in pairs.parts.tolist()]
    assert shared == [[[0, 1], [2, 3]], [[0, 1], [2, 3]], [[2, 3], [0, 1]], [[2, 3], [0, 1]]]
    assert pairs.found.all()


def test_exact_negated_blind_and_half():
    where = bound(Use(WEIGHTS), scenes(), [0, 1, 2, 3])
    assert value(ByClass(), where).tolist() == [1.0] * 4
    assert value(ByClass("negated"), where).tolist() == [0.0] * 4
    assert value(ByClass("blind"), where).tolist() == [0.0] * 4
    assert value(ByClass("half"), where).tolist() == [0.5] * 4  # parts 2 and 3 say the same of all classes
    assert value(PartEffects(), where).tolist() == [1.0] * 4


class Mixed(torch.nn.Module):
    """What parts count, and a random network besides."""

    def __init__(self):
        super().__init__()
        self.used = Use((0.5,) * 6)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            layers = torch.nn.Conv2d(3, 6, 5, stride=3), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(294, 4)
        self.random = torch.nn.Sequential(*layers)

    def forward(self, x):
        return self.used(x) + self.random(x)


def test_agrees_with_a_slow_derivation():
    network = Mixed()
    worlds = [*scenes(), shown(1, under=(4,)), shown(2, drawn=(0, 1, 2))]
    targets = [0, 1, 2, 3, 1, 2]

    def logits(world, without=()):
        with torch.no_grad():
            return network(world.image(without=without)[None])[0]

    def inside(world, target, parts):
        image = world.image()[None].requires_grad_()
        network(image)[0, target].backward()
        total = 0.0
        for part in parts:
            row, column = CORNERS[part]
            total += image.grad[0, :, row - 2 : row + 5, column - 2 : column + 5].sum().item()
        return total

    expected = []
    for world, target in zip(worlds, targets, strict=True):
        seen = [part for part in world.drawn if part not in world.under and part < 5]
        shares = {k: [p for p in seen if CLASSES[k][p] == CLASSES[target][p]] for k in range(4) if k != target}
        best, found = 0.0, float("nan")
        for one, two in combinations([k for k in shares if len(shares[k]) == 2], 2):
            if set(shares[one]) & set(shares[two]):
                continue
            lower = {k: logits(world) - logits(world, shares[k]) for k in (one, two)}
            clear = min((lower[one][one] - lower[one][two]).item(), (lower[two][two] - lower[two][one]).item())
            if clear > best:
                best = clear
                tests = [(one, two), (two, one)]
                wins = [inside(world, k, shares[k]) > inside(world, other, shares[k]) for k, other in tests]
                found = sum(wins) / 2
        expected.append(found)
    for size in (1, 4, 64):
        where = bound(network, worlds, targets, batch_size=size)
        torch.testing.assert_close(value(Gradient(), where), torch.tensor(expected), equal_nan=True)
    assert {0.5, 1.0} <= set(expected)
    turned = bound(network, worlds[::-1], targets[::-1])
    torch.testing.assert_close(value(Gradient(), turned).flip(0), torch.tensor(expected), equal_nan=True)


def test_classes_share_seen_parts_that_tell_something():
    everything = (True,) * 6
    assert sharing(CLASSES, 0, everything, 4) == {1: (0, 1), 3: (2, 3)}
    assert sharing(CLASSES, 0, (True, False, True, True, True, True), 4) == {3: (2, 3)}
    assert sharing(CLASSES, 0, everything, 3) == {1: (0, 1)}
    assert sharing(CLASSES, -1, everything, 4) == {}
    assert sharing(((0, 0, -1), (0, 0, -1), (0, 1, -1)), 0, (True,) * 3, 3) == {1: (0, 1)}  # -1 is not shared


def test_undefined_where_logits_confirm_nothing_or_no_class_is_shown():
    worlds = [shown(0), Squares((0, 0, 1, 1, 3, 0)), shown(0, under=(0,))]
    for weights, reason in (((1.0, 1, 1, 1, 1, 1), [False, True, True]), ((1.0, 1, 0, 0, 1, 1), [True, True, True])):
        where = bound(Use(weights), worlds, [0, 0, 0])
        attribution = ByClass()(where)
        values, found = TargetSensitivity().evaluate(where, attribution, ByClass())
        assert found["no pair of classes"].tolist() == values.isnan().tolist() == reason


def test_costs_two_explanations_and_its_scores_once():
    network = Use(WEIGHTS)
    where = bound(network, scenes(), [0, 1, 2, 3])
    attribution = Gradient()(where)
    spent = where.cost[:2]
    TargetSensitivity()(where, attribution, Gradient())
    # two gradients, the prediction, and for each scene two classes whose parts are gone
    assert (where.cost.forwards - spent[0], where.cost.backwards - spent[1]) == (2 + 1 + 2, 2)
    spent = where.cost[:2]
    TargetSensitivity()(where, part_map([WEIGHTS] * 4), ByClass())
    assert where.cost[:2] == spent


def test_over_the_budget_nothing_is_spent():
    where = bound(Use(WEIGHTS), scenes(), [0, 1, 2, 3])
    effects = PartEffects()
    attribution = effects(where)  # 7 forwards
    spent = where.cost.forwards
    values, found = TargetSensitivity(budget=6).evaluate(where, attribution, effects)
    assert values.isnan().all()
    assert found["skipped: cost"].all()
    assert where.cost.forwards <= spent + 2  # whether a pair is there
    assert TargetSensitivity(budget=7)(where, attribution, effects).tolist() == [1.0] * 4


def test_masks_are_dilated_by_two_pixels():
    @dataclass(frozen=True)
    class Near(ByClass):
        away: int = 2

        def attribute(self, explicand):
            found = torch.zeros(explicand.count, 1, SIDE, SIDE)
            for row, target in enumerate(explicand.target.tolist()):
                parts = sharing(CLASSES, 0, (True,) * 6, 4)[target] if target else ()
                for part in parts:
                    rows, columns = square(CORNERS[part])
                    found[row, 0, rows.start - self.away, columns] = 1.0
            return found

    where = bound(Use(WEIGHTS), [shown(0)], 0)
    attribution = part_map([WEIGHTS])
    values = [TargetSensitivity()(where, attribution, Near(away=away), "importance").item() for away in (1, 2)]
    assert values == [1.0, 1.0]
    lower = [Squares((0, 0, 1, 1, 0, 0))]
    where = bound(Use(WEIGHTS), lower, 0)
    far = Near(away=-5)  # three pixels below, which for no part lies in another one's mask
    assert TargetSensitivity()(where, attribution, far, "importance").item() == 0.0


def test_needs_the_method():
    where = bound(Use(WEIGHTS), scenes(), [0, 1, 2, 3])
    with pytest.raises(ValueError, match="TargetSensitivity explains again"):
        TargetSensitivity()(where, part_map([WEIGHTS] * 4))
