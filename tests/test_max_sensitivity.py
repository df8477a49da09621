"""Max-sensitivity: how far an explanation moves in a small ball."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import captum.metrics
import numpy as np
import pytest
import torch
from known_answers import Model, Smooth, bind, ids, linear, normal, quadratic, random
from metric_promises import PROMISES

from xaieval.attributions.gradient import Gradient
from xaieval.component import Method
from xaieval.cost import Cost
from xaieval.explicand import Explicand
from xaieval.metrics.max_sensitivity import MaxSensitivity

SMALL = MaxSensitivity(copies=6)


@dataclass(frozen=True)
class InputXGradient(Method):
    units: ClassVar[str] = "contribution"

    def attribute(self, explicand):
        return explicand.inputs * explicand.gradient


@dataclass(frozen=True)
class Fixed(Method):
    """The same map whatever the input."""

    units: ClassVar[str] = "importance"

    def attribute(self, explicand):
        return torch.ones_like(explicand.inputs[:, :1])


@dataclass(frozen=True)
class Drawn(Method):
    """Noise: one draw for each input, and a design shared by all."""

    units: ClassVar[str] = "importance"
    seed: int = 0

    def attribute(self, explicand):
        own = explicand.uniform("drawn", self.seed, (1, *explicand.shape[2:]))
        design = explicand.design("drawn", self.seed, lambda key: random(1, *explicand.shape[2:], seed=key))
        return own + torch.cat([batch.pick(design) for batch in explicand.batches(1)])[:, None]


@dataclass(frozen=True)
class Recorder(Method):
    """The gradient, and the inputs it was asked about."""

    units: ClassVar[str] = "gradient"
    seen: list[Explicand] = field(default_factory=list, compare=False)

    def attribute(self, explicand):
        self.seen.append(explicand)
        return explicand.gradient.clone()


@pytest.mark.parametrize("promise", PROMISES)
@pytest.mark.parametrize("metric", [MaxSensitivity(copies=3), MaxSensitivity(copies=3, reduction="mean")])
def test_promise(promise, metric):
    promise(metric)


# -- known answers -----------------------------------------------------------------------------------------------------


def test_gradient_of_a_linear_model_and_a_fixed_map_do_not_move():
    where = bind(linear(normal(3, 8, 8)), random(3, 3, 8, 8))
    for method in (Gradient(), Fixed()):
        assert SMALL(where, method(where), method).tolist() == [0, 0, 0]


def test_input_x_gradient_of_a_linear_model():
    """Moves by e * w: at most r ||w||, at the corners of the ball; its root mean square is r ||w|| / sqrt 3."""
    weights, where = normal(3, 8, 8), bind(linear(normal(3, 8, 8)), random(3, 3, 8, 8))
    length = (where.inputs * weights).flatten(1).norm(dim=1)
    corner = 0.02 * weights.norm() / length
    largest = MaxSensitivity(copies=50)(where, InputXGradient()(where), InputXGradient())
    mean = MaxSensitivity(copies=50, reduction="mean")(where, InputXGradient()(where), InputXGradient())
    assert (largest < corner).all()
    assert (mean < largest).all()
    torch.testing.assert_close(mean, corner / 3**0.5, rtol=0.02, atol=0)  # sd of one copy is 4 %, of their mean .6 %


def test_corners_are_where_input_x_gradient_of_a_linear_model_moves_most():
    """Every corner gives exactly r ||w||, which draws inside the ball stay below."""
    weights, where = normal(3, 8, 8), bind(linear(normal(3, 8, 8)), random(3, 3, 8, 8))
    expected = 0.02 * weights.norm() / (where.inputs * weights).flatten(1).norm(dim=1)
    for reduction in ("max", "mean"):
        found = replace(SMALL, corners=True, reduction=reduction)(where, InputXGradient()(where), InputXGradient())
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)


def test_corners_move_every_present_pixel_by_the_radius():
    present = torch.ones(2, 8, 8, dtype=torch.bool)
    present[..., 5:] = False
    where, recorder = bind(Smooth(), torch.zeros(2, 3, 8, 8), present=present, ids=ids(2)), Recorder()
    MaxSensitivity(copies=20, radius=0.3, corners=True)(where, recorder(where), recorder)
    noise = torch.cat([seen.inputs for seen in recorder.seen[1:]])
    assert (noise[..., 5:] == 0).all()
    torch.testing.assert_close(noise[..., :5].abs(), torch.full_like(noise[..., :5], 0.3))
    assert abs(noise[..., :5].mean() / 0.3) < 4 * noise[..., :5].numel() ** -0.5  # as often up as down
    assert len(noise.flatten(1).unique(dim=0)) == 40


def test_gradient_of_a_quadratic_model_agrees_with_a_loop():
    matrix, radius = normal(12, 12), 0.1
    matrix = (matrix + matrix.T) / 2
    where, recorder = bind(quadratic(matrix), random(2, 3, 2, 2)), Recorder()
    metric = MaxSensitivity(copies=7, radius=radius)
    attribution = recorder(where)
    found = {
        reduction: replace(metric, reduction=reduction)(where, attribution, recorder) for reduction in ("max", "mean")
    }
    plain = replace(metric, relative=False)(where, attribution, Gradient())
    copies = torch.cat([seen.inputs for seen in recorder.seen[1:3]]).view(2, 7, 12).double().numpy()
    clean, a = where.inputs.flatten(1).double().numpy(), matrix.double().numpy()
    moved = np.array([[np.linalg.norm(2 * a @ (y - x)) for y in row] for x, row in zip(clean, copies, strict=True)])
    length = np.array([np.linalg.norm(2 * a @ x) for x in clean])
    np.testing.assert_allclose(found["max"], moved.max(1) / length, rtol=1e-4)
    np.testing.assert_allclose(found["mean"], moved.mean(1) / length, rtol=1e-4)
    np.testing.assert_allclose(plain, moved.max(1), rtol=1e-4)


def test_agrees_with_captum():
    model, inputs, recorder = Smooth(), random(3, 3, 8, 8), Recorder()
    where = bind(model, inputs, target=1)
    found = SMALL(where, recorder(where), recorder)
    copies = torch.cat([seen.inputs for seen in recorder.seen[1:]])

    def gradient(given):
        with torch.enable_grad():
            leaf = (given[0] if isinstance(given, tuple) else given).detach().requires_grad_()
            return torch.autograd.grad(model(leaf)[:, 1].sum(), leaf)[0]

    # Captum hands the clean inputs over as a tuple and would turn only tuples of explanations into norms.
    expected = captum.metrics.sensitivity_max(
        lambda given: (gradient(given),), inputs, perturb_func=lambda given: (copies,), n_perturb_samples=6
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)


# -- the copies --------------------------------------------------------------------------------------------------------


def test_copies_fill_the_ball_and_are_not_clipped_to_pixels():
    where, recorder = bind(linear(normal(3, 8, 8)), torch.zeros(2, 3, 8, 8), ids=ids(2)), Recorder()
    MaxSensitivity(copies=40, radius=0.3)(where, recorder(where), recorder)
    noise = torch.cat([seen.inputs for seen in recorder.seen[1:]]) / 0.3
    assert noise.abs().max() <= 1
    assert noise.min() < -0.99
    assert noise.max() > 0.99
    assert abs(noise.mean()) < 4 * (1 / 3 / noise.numel()) ** 0.5  # uniform on [-1, 1]: mean 0, variance 1/3
    assert abs(noise.square().mean() - 1 / 3) < 4 * (4 / 45 / noise.numel()) ** 0.5
    assert len(noise.flatten(1).unique(dim=0)) == 80


def test_copies_pass_in_batches_with_the_class_of_the_input():
    """Two classes that swap in half of the copies; the gradient of one class stays."""
    weights = normal(3, 8, 8)
    where = bind(
        Model(lambda x: ((x - 0.5) * weights).flatten(1).sum(1)), torch.full((3, 3, 8, 8), 0.5), target=[0, 1, 0]
    )
    recorder = Recorder()
    assert MaxSensitivity(copies=20)(where, recorder(where), recorder).nan_to_num(0).tolist() == [0, 0, 0]
    copies = recorder.seen[1:]
    assert [seen.count for seen in copies] == [8] * 7 + [4]
    assert torch.equal(torch.cat([seen.target for seen in copies]), where.target.repeat_interleave(20))
    logits = torch.cat([seen.classifier.logits(seen.inputs).argmax(1) for seen in copies])
    assert 0 < logits.float().mean() < 1


def test_more_copies_and_a_larger_ball_find_more():
    """Draws are nested: the first of many copies are those of few, and noise grows with the ball."""
    where = bind(Smooth(), random(3, 3, 8, 8))
    gradient = Gradient()(where)
    few, many, wide = (
        MaxSensitivity(copies=copies, radius=radius)(where, gradient, Gradient())
        for copies, radius in ((3, 0.02), (20, 0.02), (3, 0.2))
    )
    assert (few <= many).all()
    assert (few < wide).all()
    assert not torch.equal(few, replace(SMALL, copies=3, seed=1)(where, gradient, Gradient()))


def test_stochastic_methods_get_fresh_draws_unless_held():
    where = bind(Smooth(), random(3, 3, 8, 8))
    attribution = Drawn()(where)
    assert (SMALL(where, attribution, Drawn()) > 0.1).all()
    assert replace(SMALL, common_draws=True)(where, attribution, Drawn()).tolist() == [0, 0, 0]


def test_noisy_is_worse_than_smooth():
    """A gradient that swings fast against one that does not, of the same size on average."""
    values = []
    for frequency in (1, 40):
        where = bind(Model(lambda x, k=frequency: torch.sin(k * x).flatten(1).sum(1) / k), random(3, 3, 8, 8))
        values.append(SMALL(where, Gradient()(where), Gradient()))
    assert (values[1] > 10 * values[0]).all()


def test_absent_features_neither_move_nor_count():
    present = torch.ones(2, 8, 8, dtype=torch.bool)
    present[..., 5:] = False
    inputs, recorder = random(2, 3, 8, 8), Recorder()
    where = bind(Smooth(), inputs, present=present, ids=ids(2))
    attribution = recorder(where)
    loud = attribution.clone()
    loud[..., 5:] += 100
    found = SMALL(where, attribution, recorder)
    torch.testing.assert_close(found, SMALL(where, loud, Gradient()))
    copies = torch.cat([seen.inputs for seen in recorder.seen[1:]])
    assert torch.equal(copies[..., 5:], inputs.repeat_interleave(6, 0)[..., 5:])
    moved = (copies - inputs.repeat_interleave(6, 0)).abs()[..., :5]
    assert (moved > 0).float().mean() > 0.99


# -- cost --------------------------------------------------------------------------------------------------------------


def test_costs_copies_times_the_method():
    where = bind(Smooth(), random(3, 3, 8, 8))
    gradient = Gradient()(where)
    assert where.cost[:2] == (1, 1)
    SMALL(where, gradient, Gradient())
    assert where.cost[:2] == (7, 7)


def test_over_the_budget_nothing_is_spent():
    where, recorder = bind(Smooth(), random(3, 3, 8, 8)), Recorder()
    attribution = normal(3, 3, 8, 8)
    where.remember(attribution, "gradient", Cost(3 * 33, 3 * 33))  # 33 evaluations for each of three samples
    values, reasons = replace(SMALL, budget=32).evaluate(where, attribution, recorder)
    assert values.isnan().all()
    assert reasons["skipped: cost"].all()
    assert recorder.seen == []
    assert where.cost[:2] == (0, 0)
    for budget in (33, 0, None):
        values, reasons = replace(SMALL, budget=budget).evaluate(where, attribution, recorder)
        assert values.isfinite().all()
        assert "skipped: cost" not in reasons


def test_without_the_method_it_says_what_to_do():
    where = bind(Smooth(), random(1, 3, 8, 8))
    with pytest.raises(ValueError, match="MaxSensitivity explains again: call it with method="):
        SMALL(where, Gradient()(where))


def test_a_zero_map_is_undefined_not_perfect():
    where = bind(Smooth(), random(1, 3, 8, 8))
    values, reasons = SMALL.evaluate(where, torch.zeros(1, 3, 8, 8), Gradient())
    assert values.isnan().all()
    assert reasons["zero attribution"].all()


def test_a_copy_whose_map_is_not_finite_leaves_a_reason():
    @dataclass(frozen=True)
    class Broken(Method):
        units: ClassVar[str] = "gradient"

        def attribute(self, explicand):
            return explicand.gradient.masked_fill(explicand.inputs > 0.5, torch.nan)

    where = bind(Smooth(), torch.stack((torch.full((3, 8, 8), 0.5), torch.full((3, 8, 8), 0.1))), ids=ids(2))
    values, reasons = SMALL.evaluate(where, Broken()(where), Broken())
    assert values.isnan().tolist() == [True, False]
    assert reasons["value not finite"].tolist() == [True, False]
    assert not reasons["attribution not finite"].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reduction": "median"}, "reduction must be one of max, mean, got 'median'"),
        ({"copies": 0}, "copies must be at least 1, got 0"),
        ({"radius": 0}, "radius must be above 0, got 0"),
    ],
)
def test_unknown_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MaxSensitivity(**options)
