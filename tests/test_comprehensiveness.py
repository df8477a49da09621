"""Comprehensiveness: the drop of the score without the top patches, mean over fractions."""

import math

import numpy as np
import pytest
import torch
from additive import additive, maps, permuted
from known_answers import Model, Smooth, bind, constant, normal, random
from metric_promises import PROMISES

from xaieval.metrics.comprehensiveness import Comprehensiveness
from xaieval.metrics.sufficiency import Sufficiency

FRACTIONS = (0.01, 0.05, 0.1, 0.2, 0.5)
COUNTS = (1, 1, 2, 3, 8)  # of 16 patches, rounded, at least one
SMALL = Comprehensiveness(grid=4, output="logit")


@pytest.mark.parametrize("promise", PROMISES)
@pytest.mark.parametrize("output", ["probability", "margin"])
def test_promise(promise, output):
    promise(Comprehensiveness(grid=4, output=output))


def test_fractions_are_those_of_the_paper():
    assert Comprehensiveness().fractions == Sufficiency().fractions == FRACTIONS
    where, attribution = bind(Smooth(), random(1, 3, 14, 14)), normal(1, 1, 14, 14)
    numbers = where.curve(attribution, 14, FRACTIONS).fraction * 196
    torch.testing.assert_close(numbers, torch.tensor([[0.0, 2, 10, 20, 39, 98, 196]]))


def test_closed_form_of_an_additive_model():
    """The mean over five fractions of the sums of the top contributions; not over six with a 0, nor the whole."""
    where, contributions = additive(5)
    patches = normal(5, 16)
    gone = contributions.gather(1, patches.argsort(1, descending=True)).cumsum(1)
    expected = torch.stack([gone[:, count - 1] for count in COUNTS]).mean(0)
    torch.testing.assert_close(SMALL(where, maps(patches)), expected, rtol=1e-5, atol=1e-5)


def test_adds_up_with_sufficiency_to_both_ends():
    """Under the logit of an additive model, for every map: what is taken and what is left is everything."""
    where, contributions = additive(5)
    attribution = normal(5, 3, 8, 8)
    total = SMALL(where, attribution) + Sufficiency(grid=4, output="logit")(where, attribution)
    torch.testing.assert_close(total, contributions.sum(1), rtol=1e-5, atol=1e-5)


def test_agrees_with_a_loop():
    model, inputs, attribution = Smooth(), random(3, 3, 8, 8), normal(3, 3, 8, 8)
    found = Comprehensiveness(grid=4, removal="mean")(bind(model, inputs, target=1), attribution)
    expected = []
    for x, a in zip(inputs.double().numpy(), attribution.double().numpy(), strict=True):
        order = np.argsort(-a.reshape(3, 4, 2, 4, 2).sum((0, 2, 4)).ravel())
        shown = [x]
        for count in COUNTS:
            y = x.copy()
            for patch in order[:count]:
                i, j = divmod(patch, 4)
                y[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2] = x.mean((1, 2))[:, None, None]
            shown.append(y)
        with torch.no_grad():
            scores = model.double()(torch.tensor(np.stack(shown))).softmax(1)[:, 1]
        expected.append(float(scores[0] - scores[1:].mean()))
    # Drops are some 1e-2 of probabilities that are off by 1e-7.
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_sentinels_stand_where_expected():
    where, contributions = additive(300)
    best, worst = SMALL(where, maps(contributions)), SMALL(where, maps(-contributions))
    others = SMALL(additive(100)[0], maps(permuted(contributions[0])))
    assert best[0] > others.max()
    assert others.min() > worst[0]
    # A random order takes k of 16 contributions: 3 of 16 on average over the five fractions.
    expected = contributions[0].sum() * 3 / 16
    for values in (others, SMALL(where, torch.full((300, 1, 8, 8), 0.1))):
        assert abs(values.mean() - expected) < 4 * values.std() / len(values) ** 0.5


def test_product_goes_with_either_factor():
    """f = u v on two of 16 patches: everything goes with the first of them."""
    where = bind(Model(lambda x: 8 * x[:, 0, 0, 0] * x[:, 0, 7, 7]), random(2, 3, 8, 8, seed=1) + 0.2)
    patches = torch.zeros(2, 16)
    patches[:, 0], patches[:, 15] = 2, 1
    torch.testing.assert_close(SMALL(where, maps(patches)), where.clean.logit)
    last = SMALL(where, maps(-patches))
    torch.testing.assert_close(last, torch.zeros(2), rtol=0, atol=1e-6)


def test_constant_model_never_falls():
    where = bind(constant(), random(2, 3, 8, 8))
    assert Comprehensiveness(grid=4)(where, normal(2, 1, 8, 8)).tolist() == [0, 0]


def test_costs_a_forward_for_each_fraction():
    where, attribution = bind(Smooth(), random(3, 3, 16, 16)), normal(3, 1, 16, 16)
    for output in ("probability", "logit"):
        Comprehensiveness(output=output)(where, attribution)
        assert where.cost[:2] == (7, 0)  # five and both ends
    Sufficiency()(where, attribution)
    assert where.cost[:2] == (12, 0)


def test_bounds_are_those_of_a_drop():
    assert Comprehensiveness().bounds == (-1, 1)
    assert Comprehensiveness(output="logit").bounds == (-math.inf, math.inf)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "loss"}, "Comprehensiveness: output must be one of logit, .*, margin, got 'loss'"),
        ({"fractions": ()}, r"Comprehensiveness: fractions must lie in \(0, 1\), got \(\)"),
        ({"fractions": [0.1, 1]}, r"Comprehensiveness: fractions must lie in \(0, 1\), got \(0.1, 1\)"),
    ],
)
def test_unknown_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Comprehensiveness(**options)
