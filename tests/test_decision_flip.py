"""Decision flip: the shortest prefix of the order whose removal lets another class win."""

import metric_promises
import pytest
import torch
from additive import additive, maps, permuted
from known_answers import Smooth, bind, constant, ids, normal, random
from metric_promises import PROMISES

from xaieval.metrics.decision_flip import DecisionFlip

UNIT = DecisionFlip(grid=4, steps=16)


class Flips(Smooth):
    """Predicts class 0 for random images, and another where enough of them is black."""

    def forward(self, x):
        return torch.nn.functional.pad(super().forward(x)[:, 1:] - 0.25, (0, 1))


@pytest.mark.parametrize("promise", PROMISES)
def test_promise(promise, monkeypatch):
    monkeypatch.setattr(metric_promises, "Smooth", Flips)
    promise(UNIT)


def prefix(contributions, order, score):
    """The part gone when the rest no longer keeps the score above 0."""
    for gone, patch in enumerate(order, 1):
        score -= contributions[patch]
        if score < 0:
            return gone / len(contributions)
    return 1.0


def test_flips_after_the_shortest_prefix_that_exceeds_the_margin():
    """f = sum c - 1 against 0: the prefix of the order whose contributions exceed f, found by a loop."""
    given = random(1, 16, seed=6) / 4
    where, contributions = additive(50, bias=-1.0, contributions=given)
    assert (where.clean.logit > 0.5).all()
    patches = normal(50, 16)
    values = UNIT(where, maps(patches))
    expected = [
        prefix(c.tolist(), o.tolist(), float(f))
        for c, o, f in zip(contributions, patches.argsort(1, descending=True), where.clean.logit, strict=True)
    ]
    torch.testing.assert_close(values, torch.tensor(expected))
    assert len(set(expected)) > 3
    best = UNIT(where, maps(contributions))
    assert (best <= values).all()


def test_exact_beats_permuted_beats_negated():
    """And the best map is the smallest number of patches over all subsets: the largest contributions."""
    given = random(1, 16, seed=6) / 4
    where, contributions = additive(100, bias=-1.0, contributions=given)
    exact, negated = UNIT(where, maps(contributions)), UNIT(where, maps(-contributions))
    others = UNIT(where, maps(permuted(contributions[0])))
    assert exact[0] < others.mean() < negated[0]


def test_known_between_two_points_of_the_curve():
    """With a point every four patches the value is the next point."""
    where, contributions = additive(1, bias=-1.0, contributions=random(1, 16, seed=6) / 4)
    fine, coarse = UNIT(where, maps(contributions)), DecisionFlip(grid=4, steps=4)(where, maps(contributions))
    assert coarse == (4 * fine).ceil() / 4


def test_is_one_where_the_class_stays():
    """The bias alone keeps the class; and a constant model keeps it for every map."""
    where, contributions = additive(2, bias=10.0)
    assert UNIT(where, maps(contributions)).tolist() == [1, 1]
    assert UNIT(bind(constant(), random(2, 3, 8, 8)), normal(2, 1, 8, 8)).tolist() == [1, 1]


def test_undefined_where_another_class_is_predicted():
    inputs = random(3, 3, 8, 8)
    where = bind(Flips(), inputs, target=[0, 1, 2], ids=ids(3))
    values, reasons = UNIT.evaluate(where, normal(3, 1, 8, 8))
    predicted = where.clean.margin >= 0
    assert predicted.tolist() == [True, False, False]
    assert torch.equal(reasons["another class predicted"], ~predicted)
    assert torch.equal(values.isnan(), ~predicted)


def test_rivals_need_not_be_the_same():
    """With three classes the second best may change on the way: the first to overtake counts."""
    where = bind(Flips(), random(3, 3, 8, 8), ids=ids(3))
    attribution = normal(3, 1, 8, 8)
    scores = where.curve(attribution, 4, 16).scores
    expected = []
    for row in range(3):
        order = torch.nn.functional.avg_pool2d(attribution[row], 2).flatten().argsort(descending=True)
        shown, value = where.inputs[row].clone(), 1.0
        for gone, patch in enumerate(order.tolist(), 1):
            i, j = divmod(patch, 4)
            shown[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2] = 0
            if Flips()(shown[None]).argmax() != 0:
                value = gone / 16
                break
        expected.append(value)
    assert scores.margin.shape == (3, 17)
    torch.testing.assert_close(UNIT(where, attribution), torch.tensor(expected))
    assert max(expected) < 1


def test_no_step_is_refused():
    with pytest.raises(ValueError, match="DecisionFlip: steps must be at least 1, got 0"):
        DecisionFlip(steps=0)
