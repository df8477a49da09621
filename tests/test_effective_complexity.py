"""Effective complexity: the smallest part of the patches that keeps the score."""

import numpy as np
import pytest
import torch
from known_answers import Smooth, bind, constant, ids, linear, normal, random, spread
from metric_promises import PROMISES

from xaieval.attributions.gradient import Gradient
from xaieval.attributions.input_x_gradient import InputXGradient
from xaieval.metrics.effective_complexity import EffectiveComplexity
from xaieval.metrics.insertion import Insertion

SMALL = EffectiveComplexity(grid=4, steps=16, output="logit")


@pytest.mark.parametrize("promise", PROMISES)
def test_promise(promise):
    promise(EffectiveComplexity(grid=4, steps=16))


def additive(parts, count=1, **options):
    """Gray images on which each of 4 x 4 patches adds its part to the logit, which is 0.3 for black."""
    weights = spread(torch.as_tensor(parts).float().view(1, 4, 4) / (3 * 4 * 0.5), 8)[0]
    return bind(linear(weights, 0.3), torch.full((count, 3, 8, 8), 0.5), ids=ids(count), **options)


@pytest.mark.parametrize(("tolerance", "expected"), [(0.05, 4), (0.15, 3), (0.35, 2), (0.65, 1)])
def test_exact_on_an_additive_model(tolerance, expected):
    """Parts 4, 3, 2 and 1 of 10: with k of them kept, 6, 3, 1 and 0 are missing."""
    where = additive([0, 4, 0, 0, 0, 0, 3, 0, 0, 2, 0, 0, 0, 0, 0, 1])
    metric = EffectiveComplexity(tolerance, grid=4, steps=16, output="logit")
    assert metric(where, InputXGradient()(where)).item() == expected / 16


def test_agrees_with_a_loop():
    inputs, attribution = random(3, 3, 8, 8), normal(3, 3, 8, 8)
    where = bind(Smooth(), inputs, target=[0, 1, 2])
    for tolerance in (0.1, 0.5):
        found = EffectiveComplexity(tolerance, grid=4, steps=16)(where, attribution)
        expected = [slow(where.classifier, inputs[row], attribution[row], tolerance, target=row) for row in range(3)]
        assert found.tolist() == expected


def slow(classifier, image, attribution, tolerance, target):
    """Every number of patches kept, one forward each."""
    size = attribution.sum(0).abs().view(4, 2, 4, 2).sum((1, 3)).flatten()
    losses = []
    for number in range(17):
        kept = torch.zeros(16)
        kept[size.argsort(descending=True)[:number]] = 1
        probability = classifier.logits((image * spread(kept.view(1, 4, 4), 8)[0])[None]).softmax(1)[0, target]
        losses.append(probability.item())
    losses = np.abs(np.array(losses) - losses[-1])
    return max([0, *(np.flatnonzero(losses > tolerance * losses[0]) + 1)]) / 16


def test_a_curve_that_crosses_by_chance_does_not_count():
    """Parts 10, -6 and 6 of 10: the score is right after the first, wrong after the second, right after the third."""
    where = additive([10, -6, 6] + [0] * 13)
    attribution = spread(torch.tensor([3.0, 2, 1] + [0] * 13).view(1, 4, 4), 8)
    assert SMALL(where, attribution).item() == 3 / 16


def test_exact_beats_the_mean_of_its_permutations_and_constant():
    parts = torch.tensor([8.0, 4, 2, 1] + [0] * 12)
    where = additive(parts, count=100)
    orders = torch.stack([torch.randperm(16, generator=torch.Generator().manual_seed(i)) for i in range(100)])
    permuted = SMALL(where, spread(parts[orders].view(100, 4, 4), 8))
    exact = SMALL(where, spread(parts.expand(100, 16).view(100, 4, 4), 8))
    flat = SMALL(where, torch.ones(100, 1, 8, 8))
    assert (exact == 3 / 16).all()  # one part of 15 is missing
    # The last of three patches in a random order of 16 has place 3 x 17 / 4 on average, with variance 8.3.
    assert abs(flat.mean() * 16 - 12.75) < 4 * (8.3 / 100) ** 0.5
    assert permuted.mean() > 2 * exact.mean()


def test_blind_to_sign_and_scale():
    where, attribution = bind(Smooth(), random(3, 3, 8, 8)), normal(3, 3, 8, 8)
    assert torch.equal(SMALL(where, attribution), SMALL(where, -1e-6 * attribution))


def test_a_score_that_falls_counts_as_one_that_rises():
    parts = [0, -4, 0, 0, 0, 0, -3, 0, 0, -2, 0, 0, 0, 0, 0, -1]
    where = additive(parts)
    assert SMALL(where, InputXGradient()(where)).item() == 3 / 16


def test_a_constant_model_is_undefined():
    values, reasons = SMALL.evaluate(bind(constant(), random(2, 3, 8, 8)), normal(2, 1, 8, 8))
    assert values.isnan().all()
    assert reasons["no change to explain"].all()


def test_it_costs_the_inner_points_and_shares_the_ends():
    where = bind(Smooth(), random(3, 3, 8, 8))
    attribution = Gradient()(where)
    Insertion(grid=4, steps=1)(where, attribution)
    before = where.cost.forwards
    SMALL(where, attribution)
    assert where.cost.forwards - before == 15
    SMALL(where, attribution)
    assert where.cost.forwards - before == 15


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tolerance": 0}, r"tolerance is a part, in \(0, 1\), got 0"),
        ({"tolerance": 1}, r"tolerance is a part, in \(0, 1\), got 1"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"output": "odds"}, "output must be one of .*, got 'odds'"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=f"EffectiveComplexity: {message}"):
        EffectiveComplexity(**options)
