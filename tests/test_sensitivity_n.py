"""Sensitivity-n: the correlation over random subsets of each size, as its paper defines it."""

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
from xaieval.metrics.sensitivity_n import SensitivityN

SMALL = SensitivityN(samples=30, fractions=(0.1, 0.5, 0.8), grid=4)
ROUNDING = 1e-6  # as in faithfulness correlation


@pytest.mark.parametrize("promise", PROMISES)
def test_promise(promise):
    promise(SMALL)


@pytest.mark.parametrize("removal", ["zero", "mean", "noise"])
def test_exact_on_a_linear_model_at_every_size(removal):
    """Where cumulative removal, correlated across samples, gives as little as .2 after the first step."""
    where = bind(linear(normal(3, 8, 8)), random(3, 3, 8, 8, seed=1))
    metric = SensitivityN(30, (0.05, 0.3, 0.6, 0.9), 4, removal)
    found = metric.each(where, Gradient()(where))
    torch.testing.assert_close(found, torch.ones(3, 4), rtol=0, atol=ROUNDING)
    torch.testing.assert_close(metric(where, -Gradient()(where)), -torch.ones(3), rtol=0, atol=ROUNDING)


def test_exact_contributions_of_an_additive_model_are_one():
    shape = normal(3, 8, 8)
    where = bind(Model(lambda x: (torch.sin(3 * x) * shape).flatten(1).sum(1)), random(3, 3, 8, 8, seed=1))
    contribution = torch.sin(3 * where.inputs) * shape
    torch.testing.assert_close(SMALL(where, contribution, units="contribution"), torch.ones(3), rtol=0, atol=ROUNDING)


def test_agrees_with_scipy_at_every_size():
    model, inputs, attribution = Smooth(), random(3, 3, 8, 8), normal(3, 3, 8, 8)
    where = bind(model, inputs, target=1)
    found = SMALL.each(where, attribution, "contribution")
    expected = torch.empty(3, 3)
    for size, (draws, count) in enumerate(zip(SMALL.draws, (2, 8, 13), strict=True)):
        assert (draws.masks(where).sum(2) == count).all()
        gone = draws.masks(where).view(3, 30, 4, 4).repeat_interleave(2, 2).repeat_interleave(2, 3)
        for row in range(3):
            with torch.no_grad():
                shown = inputs[row] * ~gone[row][:, None]
                change = model(inputs[row : row + 1])[:, 1] - model(shown)[:, 1]
            sums = (gone[row][:, None] * attribution[row]).sum((1, 2, 3))
            expected[row, size] = float(pearsonr(change, sums).statistic)
    np.testing.assert_allclose(found, expected, atol=1e-4)  # changes here are float32 as well
    torch.testing.assert_close(SMALL(where, attribution, units="contribution"), found.mean(1))


def test_sizes_differ_where_features_work_together():
    """f = u v on 2 of 16 patches: with nearly all removed f is gone whatever else is, and nothing predicts that."""
    where = bind(Model(lambda x: 9 * x[:, 0, 0, 0] * x[:, 0, 7, 7]), torch.ones(1, 3, 8, 8))
    patches = torch.zeros(1, 16)
    patches[:, [0, 15]] = 1
    metric = SensitivityN(400, (0.1, 0.5), grid=4)
    few, many = metric.each(where, maps(patches))[0]
    removed = metric.draws[1].masks(where)[0].float()[:, [0, 15]].sum(1)
    expected = pearsonr(removed > 0, removed).statistic
    assert abs(many - expected) < 1e-5
    assert few > 0.95 > many  # two of 16 patches are hardly ever removed together


def test_constant_model_and_constant_map_are_undefined():
    values, reasons = SMALL.evaluate(bind(constant(), random(2, 3, 8, 8)), normal(2, 1, 8, 8))
    assert values.isnan().all()
    assert reasons["constant response"].all()
    values, reasons = SMALL.evaluate(bind(Smooth(), random(2, 3, 8, 8)), torch.full((2, 1, 8, 8), 0.1))
    assert values.isnan().all()
    assert reasons["constant prediction"].all()


def test_sentinels_stand_where_expected():
    where, contributions = additive(100)
    others = SMALL(where, maps(permuted(contributions[0])))
    assert SMALL(where, maps(contributions))[0] > others.max() > others.min() > SMALL(where, maps(-contributions))[0]
    assert abs(others.mean()) < 4 * others.std() / 10


def test_sizes_are_shared_with_other_metrics():
    where, attribution = bind(Smooth(), random(3, 3, 8, 8)), normal(3, 1, 8, 8)
    SensitivityN(samples=200)(where, attribution)
    assert where.cost[:2] == (1001, 0)
    FaithfulnessCorrelation()(where, attribution)  # 200 draws of .2
    Infidelity(fraction=0.4)(where, attribution)
    SensitivityN(samples=200)(where, normal(3, 1, 8, 8, seed=1))
    assert where.cost[:2] == (1001, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 1}, "SensitivityN: a correlation needs at least 2 samples, got 1"),
        ({"fractions": ()}, r"SensitivityN: fractions must lie in \(0, 1\), got \(\)"),
        ({"fractions": (0.5, 1.0)}, r"SensitivityN: fractions must lie in \(0, 1\), got \(0.5, 1.0\)"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SensitivityN(**options)
