"""Input invariance: explanations under a shift that the model's first layer absorbs."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from known_answers import Smooth, bind, ids, linear, normal, random
from metric_promises import PROMISES

from xaieval.attributions.gradient import Gradient
from xaieval.attributions.input_x_gradient import InputXGradient
from xaieval.attributions.integrated_gradients import IntegratedGradients
from xaieval.attributions.rise import RISE
from xaieval.attributions.smoothgrad import SmoothGrad
from xaieval.classifier import Classifier
from xaieval.component import Method
from xaieval.cost import Cost
from xaieval.metrics.input_invariance import InputInvariance

ROUNDING = 1e-5  # of pixels near 0 after a shift by 1, through a small network


@pytest.mark.parametrize("promise", PROMISES)
def test_promise(promise):
    promise(InputInvariance())


def invariance(where, method, **options):
    return InputInvariance(**options)(where, method(where), method)


@pytest.mark.parametrize("constant", [-1.0, 0.25])
@pytest.mark.parametrize("normalization", [{}, {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}])
def test_the_shifted_samples_have_the_same_scores_and_gradients(constant, normalization):
    inputs = random(3, 3, 8, 8)
    where = Classifier(Smooth(), batch_size=2, **normalization).explicand(inputs, [0, 1, 2])
    shifted = where.shifted(constant)
    torch.testing.assert_close(shifted.inputs, inputs + constant)
    torch.testing.assert_close(shifted.clean.values, where.clean.values, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(shifted.gradient, where.gradient, atol=1e-5, rtol=1e-4)
    assert shifted.ids == where.ids
    assert shifted.target.tolist() == [0, 1, 2]
    assert where.cost[:2] == (4, 2)  # those of the shifted samples are booked here: the clean ones and the gradients
    unchanged = Classifier(Smooth(), batch_size=2, **normalization).explicand(inputs, [0, 1, 2])
    assert torch.equal(where.classifier.logits(inputs), unchanged.classifier.logits(inputs))


@pytest.mark.parametrize("method", [Gradient(), IntegratedGradients(steps=4, removal="mean"), SmoothGrad(samples=3)])
def test_what_moves_with_the_input_is_invariant(method):
    """SmoothGrad draws the noise of the original: fresh noise would move it by a tenth and more."""
    assert (invariance(bind(Smooth(), random(3, 3, 8, 8)), method) < ROUNDING).all()


@pytest.mark.parametrize("shift", [-1.0, 0.5])
@pytest.mark.parametrize("method", [InputXGradient(), IntegratedGradients(steps=2)])
def test_input_times_gradient_of_a_linear_model_moves_by_a_known_part(method, shift):
    """a = w x, and w (x + k) after the shift, since black stays black."""
    weights, inputs = normal(3, 8, 8), random(3, 3, 8, 8)
    found = invariance(bind(linear(weights), inputs), method, shift=shift)
    expected = abs(shift) * weights.norm() / (weights * inputs).flatten(1).norm(dim=1)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)


def test_masking_by_black_moves_masking_by_the_mean_does_not():
    where = bind(Smooth(), random(3, 3, 8, 8))
    black, mean = (RISE(samples=40, grid=4, removal=removal) for removal in ("zero", "mean"))
    assert (invariance(where, black) > 0.01).all()
    assert (invariance(where, mean) < ROUNDING).all()


def test_a_map_of_the_pixels_themselves_is_not_invariant_and_one_of_their_differences_is():
    @dataclass(frozen=True)
    class Pixels(Method):
        units: ClassVar[str] = "importance"
        centered: bool = False

        def attribute(self, explicand):
            gray = explicand.inputs.mean(1, keepdim=True)
            return gray - gray.mean((2, 3), keepdim=True) if self.centered else gray

    where = bind(Smooth(), random(3, 3, 8, 8))
    gray = where.inputs.mean(1)
    torch.testing.assert_close(invariance(where, Pixels()), 8 / gray.flatten(1).norm(dim=1))  # 64 pixels moved by 1
    assert (invariance(where, Pixels(centered=True)) < ROUNDING).all()


def test_absent_features_do_not_count():
    present = torch.ones(2, 8, 8, dtype=torch.bool)
    present[..., 5:] = False
    weights, inputs = normal(3, 8, 8) * present[0], random(2, 3, 8, 8)
    where = bind(linear(weights), inputs, present=present, ids=ids(2))
    attribution = InputXGradient()(where)
    expected = InputInvariance()(where, attribution, InputXGradient())
    found = InputInvariance()(where, attribution + 100 * ~present[:, None], InputXGradient())
    torch.testing.assert_close(found, expected)


def test_it_costs_the_method_once_more():
    where = bind(Smooth(), random(3, 3, 8, 8))
    attribution = IntegratedGradients(steps=7)(where)
    before = where.cost[:2]
    InputInvariance()(where, attribution, IntegratedGradients(steps=7))
    assert [now - then for now, then in zip(where.cost[:2], before, strict=True)] == [7, 7]


def test_over_the_budget_nothing_is_spent():
    where, attribution = bind(Smooth(), random(3, 3, 8, 8)), normal(3, 3, 8, 8)
    where.remember(attribution, "gradient", Cost(3 * 33, 3 * 33))
    values, reasons = InputInvariance(budget=32).evaluate(where, attribution, Gradient())
    assert values.isnan().all()
    assert reasons["skipped: cost"].all()
    assert where.cost[:2] == (0, 0)
    assert InputInvariance(budget=33)(where, attribution, Gradient()).isfinite().all()


def test_a_zero_map_is_undefined_not_invariant():
    where = bind(Smooth(), random(1, 3, 8, 8))
    values, reasons = InputInvariance().evaluate(where, torch.zeros(1, 3, 8, 8), Gradient())
    assert values.isnan().all()
    assert reasons["zero attribution"].all()


@pytest.mark.parametrize("shift", [0, float("inf")])
def test_no_shift_is_refused(shift):
    with pytest.raises(ValueError, match=f"InputInvariance: shift must be a number other than 0, got {shift}"):
        InputInvariance(shift=shift)
