"""Faithfulness correlation: Pearson's correlation of predicted and real changes, from the response of infidelity."""

import numpy as np
import pytest
import torch
from additive import additive, maps, permuted
from known_answers import Model, Smooth, bind, constant, linear, normal, random
from metric_promises import PROMISES
from scipy.stats import pearsonr

from xaieval.attributions.gradient import Gradient
from xaieval.metrics.faithfulness_correlation import FaithfulnessCorrelation
from xaieval.metrics.infidelity import Infidelity
from xaieval.metrics.mu_fidelity import MuFidelity

SMALL = FaithfulnessCorrelation(samples=40, grid=4)
# Scores of float32 are off by some 1e-7 of their size, changes by 1e-6 of theirs, and 1 - r by the square of that.
ROUNDING = 1e-6


@pytest.mark.parametrize("promise", PROMISES)
def test_promise(promise):
    promise(SMALL)


def test_exact_contributions_are_one_and_negated_ones_minus_one():
    shape = normal(3, 8, 8)
    where = bind(Model(lambda x: (torch.sin(3 * x) * shape).flatten(1).sum(1)), random(3, 3, 8, 8, seed=1))
    contribution = torch.sin(3 * where.inputs) * shape  # sin 0 = 0, so black contributes nothing
    for units in ("contribution", "importance"):
        torch.testing.assert_close(SMALL(where, contribution, units=units), torch.ones(3), rtol=0, atol=ROUNDING)
        torch.testing.assert_close(SMALL(where, -contribution, units=units), -torch.ones(3), rtol=0, atol=ROUNDING)
    # The right order with the wrong sizes is not enough, as it is for ranks.
    assert (SMALL(where, contribution**3, units="contribution") < 0.99).all()


@pytest.mark.parametrize("removal", ["zero", "mean", "blur", "noise"])
def test_gradient_of_a_linear_model_is_one(removal):
    where = bind(linear(normal(3, 8, 8)), random(3, 3, 8, 8, seed=1))
    metric = FaithfulnessCorrelation(samples=40, grid=4, removal=removal)
    torch.testing.assert_close(metric(where, Gradient()(where)), torch.ones(3), rtol=0, atol=ROUNDING)


def test_agrees_with_scipy():
    model, inputs, attribution = Smooth(), random(4, 3, 8, 8), normal(4, 3, 8, 8)
    where = bind(model, inputs, target=1)
    gone = SMALL.draws.masks(where).view(4, 40, 4, 4).repeat_interleave(2, 2).repeat_interleave(2, 3)
    expected = []
    for x, a, masks in zip(inputs.double(), attribution.double(), gone, strict=True):
        with torch.no_grad():
            scores = model.double()(torch.cat((x[None], x * ~masks[:, None])))[:, 1]
        expected.append(pearsonr(scores[0] - scores[1:], (masks[:, None] * a).sum((1, 2, 3))).statistic)
    np.testing.assert_allclose(SMALL(where, attribution, units="contribution"), expected, atol=1e-5)


def test_product_of_two_patches_has_the_closed_form():
    """f = u v with one of four patches removed: the change is f or 0, so r is that of two indicators."""
    where = bind(Model(lambda x: 8 * x[:, 0, 0, 0] * x[:, 0, 1, 1]), random(3, 3, 2, 2, seed=1) + 0.2)
    metric = FaithfulnessCorrelation(samples=50, grid=2, fraction=0.25)
    one = torch.tensor([[1.0, 0.0], [0.0, 0.0]]).expand(3, 1, 2, 2)
    removed = metric.draws.masks(where).double()
    p, q = removed[..., 0].mean(1), removed[..., [0, 3]].sum(-1).mean(1)
    expected = (p * (1 - q) / (q * (1 - p))).sqrt()
    torch.testing.assert_close(metric(where, one), expected.float(), rtol=0, atol=ROUNDING)


def test_constant_model_and_constant_map_are_undefined():
    values, reasons = SMALL.evaluate(bind(constant(), random(2, 3, 8, 8)), normal(2, 1, 8, 8))
    assert values.isnan().all()
    assert reasons["constant response"].all()
    assert not reasons["constant prediction"].any()
    values, reasons = SMALL.evaluate(bind(Smooth(), random(2, 3, 8, 8)), torch.full((2, 1, 8, 8), 0.1))
    assert values.isnan().all()
    assert reasons["constant prediction"].all()
    assert not reasons["constant response"].any()


def test_sentinels_stand_where_expected():
    where, contributions = additive(100)
    others = SMALL(where, maps(permuted(contributions[0])))
    assert SMALL(where, maps(contributions))[0] > others.max() > others.min() > SMALL(where, maps(-contributions))[0]
    # Four standard errors around 0, for permutations and for noise.
    for values in (others, SMALL(where, maps(normal(100, 16, seed=9)))):
        assert abs(values.mean()) < 4 * values.std() / 10


def test_ten_maps_and_three_metrics_cost_one_response():
    where = bind(Smooth(), random(3, 3, 8, 8))
    for seed in range(10):
        for metric in (FaithfulnessCorrelation(), MuFidelity(), Infidelity()):
            metric(where, normal(3, 1, 8, 8, seed=seed))
    assert where.cost[:2] == (201, 0)
    assert FaithfulnessCorrelation().draws == MuFidelity().draws


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 1}, "FaithfulnessCorrelation: a correlation needs at least 2 samples, got 1"),
        ({"fraction": 1.0}, r"FaithfulnessCorrelation: fraction must lie in \(0, 1\), got 1.0"),
        ({"fraction": 0.0}, r"FaithfulnessCorrelation: fraction must lie in \(0, 1\), got 0.0"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        FaithfulnessCorrelation(**options)
