"""The randomization test: a loop over deep copies with drawn weights, and what passes and fails by definition."""

import copy
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import pytest
import scipy.stats
import torch
from known_answers import Smooth, bind, constant, linear, normal, random
from metric_promises import PROMISES
from torch import nn

from xaieval.attributions.constant import Constant
from xaieval.attributions.edge_detector import EdgeDetector
from xaieval.attributions.gradient import Gradient
from xaieval.attributions.input_x_gradient import InputXGradient
from xaieval.attributions.random import Random
from xaieval.component import Method
from xaieval.cost import Cost
from xaieval.laws.toys import General, seeded
from xaieval.metrics.mprt import MPRT
from xaieval.randomization import ORDERS, drawn_weights

GROUPS = {"bottom_up": [[0], [0, 1, 2], [0, 1, 2, 3, 4]], "top_down": [[4], [2, 3, 4], [0, 1, 2, 3, 4]]}
GROUPS["independent"] = [[4], [2, 3], [0, 1]]


class Weights(nn.Module):
    """`f = w x` with a parameter that knows no reset, so that its entries are permuted."""

    def __init__(self, weights):
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, x):
        score = (x * self.weights).flatten(1).sum(1)
        return torch.stack((score, torch.zeros_like(score)), 1)


@pytest.mark.parametrize("promise", PROMISES)
def test_promise(promise):
    promise(MPRT())


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("absolute", [True, False])
def test_agrees_with_a_loop_over_edited_copies(order, absolute):
    module, inputs, target = seeded(General), random(3, 3, 16, 16), [0, 1, 2]
    where = bind(module, inputs, target)
    metric = MPRT(order=order, steps=3, absolute=absolute)
    drawn = drawn_weights(where, 0)

    def explained(layers):
        twin = copy.deepcopy(module).eval()
        twin.load_state_dict({**module.state_dict(), **{k: v for layer in layers for k, v in drawn[layer].items()}})
        leaf = inputs.clone().requires_grad_()
        twin(leaf)[range(3), target].sum().backward()
        assert leaf.grad is not None
        features = leaf.grad.sum(1).flatten(1).numpy()
        return np.abs(features) if absolute else features

    clean = explained([])
    expected = [
        [scipy.stats.spearmanr(a, b).statistic for a, b in zip(clean, explained(layers), strict=True)]
        for layers in GROUPS[order]
    ]
    found = metric.curve(where, Gradient()(where), Gradient())
    # Scores that differ by 1e-6 of the largest are tied, and gradients of edited copies differ by as much.
    np.testing.assert_allclose(found, np.transpose(expected), atol=1e-3)
    np.testing.assert_allclose(metric(where, Gradient()(where), Gradient()), np.mean(expected, 0), atol=1e-3)


def test_linear_model():
    """The similarity is that of the weights and their permutation, whatever the input."""
    weights = normal(3, 8, 8)
    where = bind(Weights(weights), random(3, 3, 8, 8))
    permuted = drawn_weights(where, 0)[0]["weights"]
    for absolute in (True, False):
        first, second = (w.sum(0).flatten().numpy() for w in (weights, permuted))
        if absolute:
            first, second = np.abs(first), np.abs(second)
        expected = float(scipy.stats.spearmanr(first, second).statistic)
        found = MPRT(absolute=absolute)(where, Gradient()(where), Gradient())
        np.testing.assert_allclose(found, [expected] * 3, atol=1e-4)  # scores within 1e-6 of the largest are tied


def test_weights_that_stay_as_they_are_give_1():
    where = bind(Weights(torch.full((3, 8, 8), 0.3)), random(3, 3, 8, 8))
    method = InputXGradient()
    assert MPRT()(where, method(where), method).tolist() == pytest.approx([1, 1, 1])


@pytest.mark.parametrize("method", [Constant(), EdgeDetector(), Random()])
@pytest.mark.parametrize("options", [{}, {"order": "independent"}, {"similarity": "ssim"}, {"absolute": False}])
def test_what_ignores_the_model_has_the_worst_value(method, options):
    where = bind(Smooth(), random(3, 3, 8, 8))
    assert MPRT(**options)(where, method(where), method).tolist() == pytest.approx([1, 1, 1])


def test_a_gradient_is_less_alike_than_an_edge_detector():
    where = bind(seeded(General), random(3, 3, 16, 16))
    assert (MPRT()(where, Gradient()(where), Gradient()) < 0.6).all()


@dataclass(frozen=True)
class Numbered(Method):
    """A fixed map, but a constant one in the calls with these numbers."""

    units: ClassVar[str] = "importance"
    constant: tuple[int, ...] = ()
    calls: list[int] = field(default_factory=list, compare=False)

    def attribute(self, explicand):
        self.calls.append(len(self.calls))
        if self.calls[-1] in self.constant:
            return torch.ones_like(explicand.inputs[:, :1])
        return normal(explicand.count, 1, *explicand.shape[2:], seed=self.calls[-1])


def test_models_with_a_constant_map_are_left_out():
    where = bind(seeded(General), random(3, 3, 16, 16))
    attribution, method = normal(3, 1, 16, 16, seed=9), Numbered(constant=(1, 2))
    found = MPRT()(where, attribution, method, "importance")
    curve = MPRT().curve(where, attribution, Numbered())
    torch.testing.assert_close(found, curve[:, [0, 3, 4]].mean(1))
    values, reasons = MPRT().evaluate(where, attribution, Numbered(constant=tuple(range(5))), "importance")
    assert values.isnan().all()
    assert reasons["one of the two maps is constant"].all()


@pytest.mark.parametrize("model", [constant(), linear(normal(3, 8, 8))])
def test_a_model_without_parameters_is_undefined(model):
    where = bind(model, random(2, 3, 8, 8))
    values, reasons = MPRT().evaluate(where, normal(2, 3, 8, 8), Gradient())
    assert values.isnan().all()
    assert reasons["no parameters"].all()


def test_cost_and_budget():
    where = bind(seeded(General), random(3, 3, 16, 16))
    attribution = Gradient()(where)
    MPRT()(where, attribution, Gradient())
    assert where.cost[:2] == (6, 6)  # the map, and one for each of five layers
    MPRT(steps=2)(where, attribution, Gradient())
    assert where.cost[:2] == (8, 8)
    costly = normal(3, 3, 16, 16)
    where.remember(costly, "gradient", Cost(3 * 101, 3 * 101))
    values, reasons = MPRT().evaluate(where, costly, Gradient())
    assert values.isnan().all()
    assert reasons["skipped: cost"].all()
    assert where.cost[:2] == (8, 8)
    assert replace(MPRT(), budget=0)(where, costly, Gradient()).isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": "sideways"}, "MPRT: order must be one of top_down, bottom_up, independent, got 'sideways'"),
        ({"steps": 0}, "MPRT: steps must be at least 1, got 0"),
        ({"similarity": "cosine"}, "MPRT: similarity must be one of spearman, ssim, got 'cosine'"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MPRT(**options)
