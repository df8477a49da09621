"""Class sensitivity: the rank correlation of the weights of a linear model, by SciPy."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import scipy.stats
import torch
from known_answers import Smooth, bind, normal, random
from metric_promises import PROMISES

from xaieval.attributions.constant import Constant
from xaieval.attributions.edge_detector import EdgeDetector
from xaieval.attributions.gradient import Gradient
from xaieval.attributions.input_x_gradient import InputXGradient
from xaieval.attributions.random import Random
from xaieval.classifier import Classifier
from xaieval.component import Method
from xaieval.laws.toys import Linear, seeded
from xaieval.metrics.class_sensitivity import ClassSensitivity

METRIC = ClassSensitivity()


@pytest.mark.parametrize("promise", PROMISES)
def test_promise(promise):
    promise(METRIC)


def weighted(weights):
    """`f_c = w_c x`."""
    module = Linear(weights[0].numel(), len(weights))
    with torch.no_grad():
        module.get_parameter("1.weight").copy_(weights.flatten(1))
        module.get_parameter("1.bias").zero_()
    return module


@pytest.mark.parametrize("method", [Gradient(), InputXGradient()])
@pytest.mark.parametrize("target", [None, 3])
def test_linear_model(method, target):
    """The signed maps are the sums over channels of rows of the weights, times the input for input x gradient."""
    weights, inputs = normal(6, 3, 8, 8), random(20, 3, 8, 8)
    where = Classifier(weighted(weights), batch_size=8).explicand(inputs, target)
    found = METRIC(where, method(where), method)
    logits, expected = torch.einsum("nchw,kchw->nk", inputs, weights), []
    for x, row in zip(inputs, logits, strict=True):
        most, least = int(row.argmax()), int(row.argmin())
        pair = (most, least) if target is None else (target, most if target == least else least)
        maps = [(weights[c] if isinstance(method, Gradient) else x * weights[c]).sum(0).flatten() for c in pair]
        expected.append(scipy.stats.spearmanr(*maps).statistic)
    np.testing.assert_allclose(found, expected, atol=1e-3)  # scores that differ by 1e-6 of the largest are tied
    if target is not None:
        assert (logits.argmin(1) == target).any()  # both branches are run
        assert (logits.argmin(1) != target).any()


def test_opposite_and_equal_classes():
    row = normal(1, 3, 8, 8)
    inputs = random(3, 3, 8, 8)
    opposite = Classifier(weighted(torch.cat((row, -row)))).explicand(inputs)
    assert METRIC(opposite, Gradient()(opposite), Gradient()).tolist() == pytest.approx([-1, -1, -1])
    parallel = Classifier(weighted(torch.cat((row, 2 * row)))).explicand(inputs)
    assert METRIC(parallel, Gradient()(parallel), Gradient()).tolist() == pytest.approx([1, 1, 1])


@pytest.mark.parametrize("method", [Constant(), EdgeDetector(), Random()])
def test_what_ignores_the_class_has_the_worst_value(method):
    where = bind(Smooth(), random(3, 3, 8, 8))
    assert METRIC(where, method(where), method).tolist() == pytest.approx([1, 1, 1])


@dataclass(frozen=True)
class OnlyForClassZero(Method):
    """A map for class 0, and nothing for any other."""

    units: ClassVar[str] = "importance"

    def attribute(self, explicand):
        return explicand.inputs[:, :1] * (explicand.target == 0).view(-1, 1, 1, 1)


def test_a_map_that_the_other_class_lacks_is_undefined():
    where = bind(seeded(lambda: Linear(192)), random(3, 3, 8, 8), target=0)
    values, reasons = METRIC.evaluate(where, OnlyForClassZero()(where), OnlyForClassZero())
    assert values.isnan().all()
    assert reasons["one of the two maps is constant"].all()


def test_one_class_is_undefined():
    where = bind(weighted(normal(1, 3, 8, 8)), random(3, 3, 8, 8))
    values, reasons = METRIC.evaluate(where, Gradient()(where), Gradient())
    assert values.isnan().all()
    assert reasons["one class"].all()


def test_the_other_class_is_bound_once_for_all_methods():
    where = Classifier(Smooth(), batch_size=8).explicand(random(3, 3, 8, 8))
    spent = where.cost.forwards
    for method in (Gradient(), InputXGradient()):
        METRIC(where, method(where), method)
    # One gradient for each class; the logits of the inputs are known since the class was predicted.
    assert (where.cost.forwards - spent, where.cost.backwards) == (2, 2)
