"""Local Lipschitz: closed forms on linear and quadratic models, and one set of neighbors for all robustness metrics."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pytest
import torch
from known_answers import Smooth, bind, ids, linear, normal, quadratic, random
from metric_promises import PROMISES

from xaieval.attributions.gradient import Gradient
from xaieval.attributions.input_x_gradient import InputXGradient
from xaieval.component import Method
from xaieval.cost import Cost
from xaieval.explicand import Explicand
from xaieval.laws.toys import General, seeded
from xaieval.metrics.local_lipschitz import LocalLipschitz
from xaieval.metrics.max_sensitivity import MaxSensitivity
from xaieval.metrics.relative_input_stability import RelativeInputStability
from xaieval.metrics.relative_output_stability import RelativeOutputStability
from xaieval.metrics.relative_representation_stability import RelativeRepresentationStability
from xaieval.robustness import Robustness


@dataclass(frozen=True)
class Recorder(Method):
    """The gradient, and the inputs it was asked about."""

    units: ClassVar[str] = "gradient"
    seen: list[Explicand] = field(default_factory=list, compare=False, repr=False)

    def attribute(self, explicand):
        self.seen.append(explicand)
        return explicand.gradient.clone()


@pytest.mark.parametrize("promise", PROMISES)
def test_promise(promise):
    promise(LocalLipschitz(copies=3))


def test_gradient_of_a_linear_model_does_not_move():
    where = bind(linear(normal(3, 8, 8)), random(3, 3, 8, 8))
    assert LocalLipschitz()(where, Gradient()(where), Gradient()).tolist() == [0, 0, 0]


def test_input_x_gradient_of_a_linear_model_lies_between_the_mean_and_the_largest_weight():
    """`||e w|| / ||e||` is at most max |w|; for a single direction it is about the root mean square of w."""
    weights, where = normal(3, 8, 8), bind(linear(normal(3, 8, 8)), random(3, 3, 8, 8))
    one, many = (LocalLipschitz(copies=copies)(where, InputXGradient()(where), InputXGradient()) for copies in (1, 50))
    middle = float(weights.square().mean().sqrt())
    torch.testing.assert_close(one, torch.full((3,), middle), rtol=0.2, atol=0)  # some 200 weights: 5 % to either side
    assert (many > middle).all()
    assert (many < float(weights.abs().max())).all()


def test_input_x_gradient_of_equal_weights_is_their_size_at_any_radius():
    where = bind(linear(torch.full((3, 8, 8), -0.7)), random(3, 3, 8, 8))
    for radius in (0.02, 0.5):
        found = LocalLipschitz(copies=4, radius=radius)(where, InputXGradient()(where), InputXGradient())
        torch.testing.assert_close(found, torch.full((3,), 0.7), rtol=1e-4, atol=0)


def test_gradient_of_a_quadratic_model_agrees_with_a_loop():
    """`a(y) - a(x) = 2 A (y - x)`, so the value is below twice the largest eigenvalue."""
    matrix = normal(12, 12)
    matrix = (matrix + matrix.T) / 2
    where, recorder = bind(quadratic(matrix), random(2, 3, 2, 2)), Recorder()
    found = LocalLipschitz(copies=7, radius=0.1)(where, recorder(where), recorder)
    copies = torch.cat([seen.inputs for seen in recorder.seen[1:]]).view(2, 7, 12).double().numpy()
    a, clean = matrix.double().numpy(), where.inputs.flatten(1).double().numpy()
    expected = [
        max(np.linalg.norm(2 * a @ (y - x)) / np.linalg.norm(y - x) for y in row)
        for x, row in zip(clean, copies, strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-4)  # float32: distances are differences of pixels
    assert (found < 2 * np.abs(np.linalg.eigvalsh(a)).max()).all()


def test_absent_features_count_in_neither_distance():
    present = torch.ones(2, 8, 8, dtype=torch.bool)
    present[..., 5:] = False
    where = bind(linear(torch.full((3, 8, 8), 0.7)), random(2, 3, 8, 8), present=present, ids=ids(2))
    found = LocalLipschitz(copies=4)(where, InputXGradient()(where), InputXGradient())
    torch.testing.assert_close(found, torch.full((2,), 0.7), rtol=1e-4, atol=0)


# -- computed once -----------------------------------------------------------------------------------------------------

FIVE: tuple[Robustness, ...] = (
    MaxSensitivity(),
    LocalLipschitz(),
    RelativeInputStability(),
    RelativeOutputStability(),
    RelativeRepresentationStability(),
)


def test_five_robustness_metrics_explain_the_neighbors_once():
    module, inputs = seeded(General), random(3, 3, 16, 16)
    where = bind(module, inputs)
    first, second = Gradient()(where), InputXGradient()(where)
    assert where.cost[:2] == (1, 1)
    found = [metric(where, first, Gradient()) for metric in FIVE]
    # Ten neighbors: explained, run for their logits, and for the layer; the inputs likewise.
    assert where.cost[:2] == (1 + 10 + 11 + 11, 1 + 10)
    for metric in FIVE:
        metric(where, second, InputXGradient())
    assert where.cost[:2] == (33 + 10, 11 + 10)  # what does not depend on the method is there already
    for metric, value in zip(FIVE, found, strict=True):
        fresh = bind(module, inputs)
        assert torch.equal(metric(fresh, Gradient()(fresh), Gradient()), value)


def test_a_changed_map_or_another_method_is_not_taken_for_the_same():
    where = bind(Smooth(), random(3, 3, 8, 8))
    maps, metric = Gradient()(where), LocalLipschitz(copies=3)
    first = metric(where, maps, Gradient())
    assert not torch.equal(metric(where, maps, InputXGradient()), first)
    maps.mul_(2)
    assert not torch.equal(metric(where, maps, Gradient()), first)


@pytest.mark.parametrize("metric", FIVE)
def test_over_the_budget_nothing_is_spent(metric):
    where, attribution = bind(seeded(General), random(3, 3, 16, 16)), normal(3, 3, 16, 16)
    where.remember(attribution, "gradient", Cost(3 * 101, 3 * 101))
    values, reasons = metric.evaluate(where, attribution, Gradient())
    assert values.isnan().all()
    assert reasons["skipped: cost"].all()
    assert where.cost[:2] == (0, 0)


@pytest.mark.parametrize("metric", FIVE)
def test_wrong_options_are_refused(metric):
    name = type(metric).__name__
    with pytest.raises(ValueError, match=f"{name}: copies must be at least 1, got 0"):
        type(metric)(copies=0)
    with pytest.raises(ValueError, match=f"{name}: radius must be above 0, got -1"):
        type(metric)(radius=-1)
