"""Infidelity: exact on models with known answers, equal to a slow loop and to Captum, one response for all."""

import captum.metrics
import numpy as np
import pytest
import torch
from known_answers import Model, Smooth, bind, constant, ids, linear, normal, quadratic, random, spread
from metric_promises import PROMISES

from xaieval.attributions.gradient import Gradient
from xaieval.metrics.infidelity import PERTURBATIONS, Infidelity
from xaieval.metrics.mu_fidelity import MuFidelity
from xaieval.perturbation import Gaussian, NoisyBaseline, PatchMask, ShapleyMask, Square

SMALL = Infidelity(samples=40, grid=4)
EACH = [Infidelity(samples=20, grid=4, perturbation=name) for name in PERTURBATIONS]
# A perfect prediction leaves residuals of float32 rounding, some 1e-6 of the changes, whose squares are the value.
ROUNDING = 1e-10


@pytest.mark.parametrize("promise", PROMISES)
@pytest.mark.parametrize("metric", EACH, ids=PERTURBATIONS)
def test_promise(promise, metric):
    promise(metric)


def test_perturbations_are_those_named():
    assert Infidelity().draws == PatchMask(samples=200, grid=14, fraction=0.2, removal="zero", seed=0)
    assert Infidelity(7, "square", largest=0.2, removal="mean").draws == Square(7, 0, 0.2, "mean")
    assert Infidelity(7, "shapley", 4, removal="blur").draws == ShapleyMask(7, 0, "grid", 4, "blur")
    assert Infidelity(7, "gaussian", noise=0.1, seed=3).draws == Gaussian(7, 3, 0.1)
    assert Infidelity(7, "noisy_baseline", noise=0.1).draws == NoisyBaseline(7, 0, 0.1)


# -- known answers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", EACH, ids=PERTURBATIONS)
@pytest.mark.parametrize("removal", ["zero", "mean", "blur", "noise"])
def test_gradient_of_a_linear_model_has_none(metric, removal):
    metric = Infidelity(metric.samples, metric.perturbation, metric.grid, removal=removal)
    where = bind(linear(normal(3, 8, 8), 2.0), random(3, 3, 8, 8, seed=1))
    gradient = Gradient()(where)
    assert metric(where, gradient).max() < ROUNDING
    assert metric(where, 3.7 * gradient).max() < ROUNDING
    assert metric.raw(where, gradient).max() < ROUNDING * where.response(metric.draws).change.square().mean()
    assert metric(where, -gradient).tolist() == [1, 1, 1]  # the scale may not turn the sign


@pytest.mark.parametrize("perturbation", ["patches", "square"])
@pytest.mark.parametrize("units", ["contribution", "importance"])
def test_contributions_of_an_additive_model_have_none(perturbation, units):
    shape = normal(3, 8, 8)
    where = bind(Model(lambda x: (torch.sin(3 * x) * shape).flatten(1).sum(1)), random(3, 3, 8, 8, seed=1))
    contribution = torch.sin(3 * where.inputs) * shape  # sin 0 = 0, so black contributes nothing
    metric = Infidelity(40, perturbation, grid=4)
    assert metric(where, contribution, units=units).max() < ROUNDING
    one_channel = contribution.sum(1, keepdim=True)
    assert metric(where, one_channel, units=units).max() < ROUNDING
    assert metric.raw(where, one_channel, units).max() < 1e-9


def test_gradient_of_a_quadratic_model_leaves_the_closed_form():
    """`I'g - (f(x) - f(x - I)) = I'AI`, and `E (I'AI)^2 = s^4 (2 tr A^2 + (tr A)^2)` for I of standard deviation s."""
    matrix, noise, samples = normal(12, 12), 0.3, 4000
    matrix = (matrix + matrix.T) / 2
    where = bind(quadratic(matrix), random(3, 3, 2, 2, seed=1), batch_size=500)
    expected = noise**4 * (2 * (matrix @ matrix).trace() + matrix.trace() ** 2)
    draws = noise * np.random.default_rng(0).normal(size=(100_000, 12))
    deviation = (np.einsum("ni,ij,nj->n", draws, matrix.numpy(), draws) ** 2).std()
    metric = Infidelity(samples, "gaussian", noise=noise)
    # Four standard errors of a mean of 4000 draws.
    np.testing.assert_allclose(
        metric.raw(where, Gradient()(where)), expected, rtol=0, atol=4 * deviation / samples**0.5
    )


def test_product_of_two_patches():
    """f = u v: removing either patch, or both, loses all of f, so the exact map of one removal is (1, 1)."""
    where = bind(Model(lambda x: 8 * x[:, 0, 0, 0] * x[:, 0, 1, 1]), random(2, 3, 2, 2, seed=1) + 0.2)
    metric = Infidelity(samples=50, grid=2, fraction=0.25)
    both, one = torch.zeros(2, 1, 2, 2), torch.zeros(2, 1, 2, 2)
    both[..., 0, 0] = both[..., 1, 1] = one[..., 0, 0] = 1.0
    removed = MuFidelity(50, 2, 0.25).draws.masks(where).float()  # (2, 50, 4), one patch each
    hits = removed[..., [0, 3]].sum(1)
    assert metric(where, both, units="importance").max() < ROUNDING
    torch.testing.assert_close(metric(where, one, units="importance"), hits[:, 1] / hits.sum(1))


def test_shapley_values_are_best_under_the_shapley_kernel():
    """Of all maps with one total, which rules the scale; f pays 2 more where the first two of four patches are left."""
    single = torch.tensor([1.0, -0.5, 2.0, 0.3])

    def score(x):
        left = torch.stack((x[:, 0, 0, 0], x[:, 0, 0, 7], x[:, 0, 7, 0], x[:, 0, 7, 7]), 1)
        return left @ single + 2 * left[:, 0] * left[:, 1]

    where = bind(Model(score), torch.ones(1, 3, 8, 8), batch_size=500)
    metric = Infidelity(4000, "shapley", grid=2)

    def value(scores):
        return float(metric.raw(where, spread(scores.view(1, 2, 2) / 16, 8), "importance"))

    shapley = single + torch.tensor([1.0, 1, 0, 0])
    best = value(shapley)
    for first in range(4):
        for second in range(first):
            for step in (-0.2, 0.2):
                other = shapley.clone()
                other[first] += step
                other[second] -= step
                assert value(other) > best
    # Off by 1 where one of the pair is removed: 1, 2 or 3 of 4 with chances 4/11, 3/11, 4/11, of which 1/2, 2/3, 1/2.
    chance = 6 / 11
    assert best == pytest.approx(chance, abs=4 * (chance * (1 - chance) / 4000) ** 0.5)


def test_planted_mask_model_is_explained_by_its_mask():
    inside = (random(4, 4, seed=2) > 0.7).float()
    weights = spread(inside[None], 8)[0]
    where = bind(linear(weights), torch.ones(2, 3, 8, 8))
    assert SMALL(where, weights.expand(2, 1, 8, 8), units="importance").max() < ROUNDING


def test_constant_model_is_undefined_and_a_zero_map_is_right_about_it():
    where = bind(constant(), random(2, 3, 8, 8))
    values, reasons = SMALL.evaluate(where, normal(2, 3, 8, 8))
    assert values.isnan().all()
    assert reasons["constant response"].all()
    assert SMALL.raw(where, torch.zeros(2, 3, 8, 8)).tolist() == [0, 0]


def test_a_change_of_rounding_alone_is_constant():
    """The model ignores its input but for the last digits of its score."""
    where = bind(Model(lambda x: 10 + 1e-7 * x.flatten(1).sum(1)), random(2, 3, 8, 8))
    assert where.response(SMALL.draws).change.abs().max() > 0
    assert SMALL.evaluate(where, normal(2, 3, 8, 8))[1]["constant response"].all()


# -- the formula again -------------------------------------------------------------------------------------------------


def perturbed(explicand, perturbation):
    """All draws `(N * samples, C, H, W)`, sample by sample."""
    return torch.cat([perturbation.inputs(explicand, batch) for batch in explicand.batches(perturbation.samples)])


@pytest.mark.parametrize("metric", EACH, ids=PERTURBATIONS)
@pytest.mark.parametrize("units", ["gradient", "contribution"])
def test_agrees_with_a_loop(metric, units):
    model, inputs, attribution = Smooth(), random(4, 3, 8, 8), normal(4, 3, 8, 8)
    where = bind(model, inputs, target=1)
    if units not in metric.accepts:
        assert metric(where, attribution, units=units).isnan().all()
        return
    draws = perturbed(where, metric.draws).double().numpy().reshape(4, metric.samples, -1)
    exact = model.double()
    ratios, means = [], []
    for i in range(4):
        x, a = inputs[i].double().numpy().ravel(), attribution[i].double().numpy().ravel()
        changes, predictions = [], []
        for y in draws[i]:
            with torch.no_grad():
                pair = torch.tensor(np.stack((x, y))).view(2, 3, 8, 8)
                before, after = exact(pair)[:, 1].tolist()
            changes.append(before - after)
            gone = (y != x).reshape(3, 64).any(0)
            predictions.append(((x - y) * a).sum() if units == "gradient" else a.reshape(3, 64)[:, gone].sum())
        d, p = np.array(changes), np.array(predictions)
        beta = max(0.0, (p * d).mean() / (p * p).mean())
        ratios.append(((d - beta * p) ** 2).mean() / (d * d).mean())
        means.append(((p - d) ** 2).mean())
    # float32 scores: changes are off by some 1e-6 of the score.
    np.testing.assert_allclose(metric(where, attribution, units=units), ratios, rtol=1e-4)
    np.testing.assert_allclose(metric.raw(where, attribution, units), means, rtol=1e-4)


def test_removes_a_fixed_number_of_equal_patches():
    where = bind(Smooth(), random(3, 3, 8, 8))
    gone = (perturbed(where, SMALL.draws) == 0).all(1).view(-1, 4, 2, 4, 2)
    assert torch.equal(gone.all(4).all(2), gone.any(4).any(2))
    assert (gone.all(4).all(2).sum((1, 2)) == 3).all()  # .2 of 16


@pytest.mark.parametrize("metric", EACH, ids=PERTURBATIONS)
def test_agrees_with_captum(metric):
    model, inputs = Smooth(), random(4, 3, 8, 8)
    where = bind(model, inputs, target=1)
    gradient = Gradient()(where)
    draws = perturbed(where, metric.draws)

    def infidelity(attribution, normalize):
        return captum.metrics.infidelity(
            model,
            lambda expanded: (expanded - draws, draws),
            inputs,
            attribution,
            target=1,
            n_perturb_samples=metric.samples,
            normalize=normalize,
        )

    attribution = gradient + 0.3 * gradient.std() * normal(4, 3, 8, 8)
    power = where.response(metric.draws).change.square().mean(1)
    torch.testing.assert_close(metric.raw(where, attribution), infidelity(attribution, False), rtol=1e-4, atol=1e-7)
    # Captum's scale may be negative, and its sum of moments cancels: the tolerance is one of E[D^2].
    positive = (metric(where, attribution) < 1)[:, None, None, None]
    found = metric(where, torch.where(positive, attribution, -attribution))
    assert (found < 1).all()
    torch.testing.assert_close(found, infidelity(attribution, True) / power, rtol=0, atol=1e-4)


# -- scaling, sentinels ------------------------------------------------------------------------------------------------


def test_scale_cannot_be_negative():
    where = bind(Smooth(), random(4, 3, 8, 8), target=1)
    attribution = normal(4, 3, 8, 8)
    first, second = SMALL(where, attribution), SMALL(where, -attribution)
    assert (first.maximum(second) == 1).all()
    assert (first.minimum(second) < 1).all()


@pytest.mark.parametrize("metric", EACH, ids=PERTURBATIONS)
def test_signed_scaling_takes_a_map_for_as_good_as_its_negative(metric):
    signed = Infidelity(metric.samples, metric.perturbation, metric.grid, scaling="signed")
    where = bind(Smooth(), random(4, 3, 8, 8), target=1)
    attribution = Gradient()(where) + 0.3 * normal(4, 3, 8, 8)
    first, second = signed(where, attribution), signed(where, -attribution)
    torch.testing.assert_close(first, second)
    torch.testing.assert_close(first, metric(where, attribution).minimum(metric(where, -attribution)))
    line = bind(linear(normal(3, 8, 8), 2.0), random(3, 3, 8, 8, seed=1))
    assert signed(line, -3.7 * Gradient()(line)).max() < ROUNDING
    assert metric(line, -3.7 * Gradient()(line)).tolist() == [1, 1, 1]


def test_exact_beats_permuted_beats_negated():
    patches = normal(2, 4, 4)
    where = bind(linear(spread(patches[:1], 8)[0]), torch.ones(2, 3, 8, 8))
    exact = spread(patches[:1].expand(2, 4, 4), 8)
    generator = torch.Generator().manual_seed(0)
    orders = [torch.randperm(16, generator=generator) for _ in range(100)]
    permuted = [spread(patches[:1].flatten(1)[:, order].view(1, 4, 4).expand(2, 4, 4), 8) for order in orders]
    mean = torch.stack([SMALL(where, attribution, units="importance") for attribution in permuted]).mean(0)
    assert (SMALL(where, exact, units="importance") < 1e-6).all()
    assert ((mean > 0.5) & (mean < 1)).all()
    assert (SMALL(where, -exact, units="importance") == 1).all()


def test_a_constant_map_gains_nothing_from_area():
    """Patches are equal and their number fixed, so a constant map predicts one number for all draws."""
    where = bind(linear(normal(3, 8, 8)), random(2, 3, 8, 8, seed=1))
    change = where.response(SMALL.draws).change
    mean, power = change.mean(1), change.square().mean(1)
    expected = 1 - mean.clamp(min=0) ** 2 / power
    torch.testing.assert_close(SMALL(where, torch.ones(2, 1, 8, 8)), expected, rtol=1e-4, atol=1e-6)
    assert torch.equal(SMALL(where, torch.ones(2, 1, 8, 8)), SMALL(where, torch.full((2, 1, 8, 8), 0.25)))


def test_noise_takes_gradients_alone_and_spends_nothing_on_others():
    where = bind(Smooth(), random(2, 3, 8, 8))
    metric = Infidelity(samples=40, perturbation="gaussian")
    spent = where.cost.forwards
    values, reasons = metric.evaluate(where, normal(2, 1, 8, 8), units="importance")
    assert values.isnan().all()
    assert reasons["units"].all()
    assert where.cost.forwards == spent
    assert metric.raw(where, normal(2, 1, 8, 8), units="importance").isnan().all()


# -- nothing twice -----------------------------------------------------------------------------------------------------


def test_ten_maps_with_infidelity_and_mu_fidelity_cost_one_response():
    inputs, maps = random(3, 3, 8, 8), [normal(3, 1, 8, 8, seed=seed) for seed in range(10)]
    where = bind(Smooth(), inputs, ids=ids(3))
    assert where.cost == (0, 0, 0)
    found = [metric(where, attribution) for attribution in maps for metric in (Infidelity(), MuFidelity())]
    assert where.cost[:2] == (201, 0)  # the inputs and 200 draws
    alone = [
        metric(bind(Smooth(), inputs, ids=ids(3)), attribution)
        for attribution in maps[:2]
        for metric in (Infidelity(), MuFidelity())
    ]
    for shared, fresh in zip(found, alone, strict=False):
        assert torch.equal(shared, fresh)


def test_samples_seed_and_removal_change_the_draws():
    inputs, attribution = random(2, 3, 8, 8), normal(2, 1, 8, 8)
    where = bind(Smooth(), inputs, ids=ids(2))
    changed = (
        Infidelity(100),
        Infidelity(seed=1),
        Infidelity(removal="blur"),
        Infidelity(grid=4),
        Infidelity(fraction=0.5),
    )
    values = [metric(where, attribution) for metric in (Infidelity(), *changed)]
    assert all(not torch.allclose(values[0], value) for value in values[1:])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"perturbation": "salt"},
            "perturbation must be one of patches, square, gaussian, noisy_baseline, shapley, got 'salt'",
        ),
        ({"samples": 0}, "samples must be at least 1, got 0"),
        ({"scaling": "free"}, "scaling must be one of positive, signed, got 'free'"),
    ],
)
def test_unknown_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Infidelity(**options)
