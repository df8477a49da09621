"""LIME against scikit-learn's and Captum's weighted ridge on the same draws, and Banzhaf values."""

import captum.attr
import numpy as np
import pytest
import torch
from captum._utils.models.linear_model import SkLearnRidge
from captum.attr._core.lime import get_exp_kernel_similarity_function
from known_answers import Model, bind, constant, linear, normal, random
from networks import assert_close, explained, network
from sklearn.linear_model import Ridge

from xaieval.attributions.lime import LIME
from xaieval.segments import segments_of

REPLICATES = 8
SIDE = 4


def game(m):
    """Products and a threshold; the last pixels count little."""
    z = m.flatten(1)
    slopes = torch.linspace(0.5, 0, z.shape[1]).to(z)
    return 3 * z[:, 0] * z[:, 1] * z[:, 2] - 2 * z[:, 1] * z[:, 3] + (z.sum(1) > 7.5).float() + z @ slopes


def recorded(method):
    """The sets `(samples, 16)` that are shown, in order, and the values: white images with one pixel a segment."""
    seen: list[torch.Tensor] = []

    def record(m):
        seen.append(m.flatten(1))
        return game(m)

    explicand = bind(Model(record), torch.ones(1, 1, SIDE, SIDE))
    _ = explicand.clean
    seen.clear()
    values = method(explicand).flatten()
    return torch.cat(seen), values


@pytest.mark.parametrize(("width", "ridge"), [(0.25, 1.0), (0.1, 0.01), (3.0, 20.0)])
@pytest.mark.parametrize("samples", [5, 300])
def test_weighted_ridge_by_scikit_learn_on_the_same_draws(samples, width, ridge):
    shown, values = recorded(LIME(samples, width, ridge, "grid", SIDE))
    assert len(shown) == samples
    z = np.concatenate((shown.double().numpy(), np.ones((1, 16))))
    cosine = z.sum(1) / np.sqrt(np.maximum(z.sum(1), 1) * 16)
    weights = np.exp(-((1 - cosine) ** 2) / (2 * width**2))
    fit = Ridge(ridge).fit(z, game(torch.from_numpy(z)).numpy(), sample_weight=weights)
    assert_close(values, torch.from_numpy(fit.coef_), 1e-5)


def test_agrees_with_captum_on_the_same_draws():
    """On white images with a pixel a segment Captum's distance of images is that of the sets."""
    shown, values = recorded(LIME(200, 0.3, 2.0, "grid", SIDE))
    draws = iter([*shown.view(-1, 1, 1, SIDE, SIDE), torch.ones(1, 1, SIDE, SIDE)])
    theirs = captum.attr.LimeBase(
        Model(game),
        SkLearnRidge(alpha=2.0),
        get_exp_kernel_similarity_function("cosine", 0.3),
        perturb_func=lambda *_, **__: next(draws),
        perturb_interpretable_space=False,
        from_interp_rep_transform=None,
        to_interp_rep_transform=lambda sample, *_, **__: sample.flatten(1),
    )
    expected = theirs.attribute(torch.ones(1, 1, SIDE, SIDE), target=0, n_samples=201)
    assert_close(values, expected.flatten(), 1e-5)


def test_without_a_kernel_the_coefficients_are_banzhaf_values():
    """Over uniform subsets least squares gives E[f | i shown] - E[f | i hidden]: 1/8 for a product of four."""
    explicand = bind(Model(lambda m: m.flatten(1)[:, :4].prod(1)), torch.ones(1, 1, 3, 2), batch_size=512)
    methods = [LIME(4000, 1e3, 1e-6, "grid", 3, seed=seed) for seed in range(REPLICATES)]
    found = torch.stack([method(explicand).flatten() for method in methods])
    error = found.std(0) / REPLICATES**0.5
    assert float(error.max()) < 0.01
    expected = torch.tensor([1 / 8] * 4 + [0] * 2)
    # 5 standard errors (t with 7 degrees of freedom: 1 in 600), and the bias of a ratio, of order 1 / samples.
    assert bool(((found.mean(0) - expected).abs() < 5 * error + 2 / 4000).all()), (found.mean(0), error)


def test_segments_are_shown_by_fair_and_independent_coins():
    shown, _ = recorded(LIME(4000, segments="grid", grid=SIDE))
    second = shown.T @ shown / 4000
    expected = torch.full((16, 16), 0.25) + 0.25 * torch.eye(16)
    assert float((second - expected).abs().max()) < 5 * (0.25 / 4000) ** 0.5  # of 136 moments


@pytest.mark.parametrize("removal", ["zero", "mean", "blur"])
def test_superpixels_of_a_linear_model(removal):
    weights, inputs = normal(3, 20, 20), random(2, 3, 20, 20)
    explicand = bind(linear(weights, 5.0), inputs)
    segments = segments_of(explicand, "slic", 3)
    expected = segments.share(segments.sum((weights * (inputs - explicand.removal(removal).values)).sum(1)))
    values = LIME(60, ridge=1e-8, grid=3, removal=removal)(explicand)
    assert_close(values, expected, 1e-5)
    assert explicand.cost[:2] == (61, 0)


def test_absent_segments_count_as_if_they_were_not_there():
    """One of nine patches is left, or six; the distance is that of the segments there are."""
    present = torch.ones(2, 9, 9, dtype=torch.bool)
    present[0, :, 6:] = False
    present[1, 3:] = present[1, :, 3:] = False
    inputs, weights = random(2, 1, 9, 9), normal(1, 9, 9)
    explicand = bind(linear(weights), inputs, present=present)
    values = LIME(50, width=1.0, ridge=1e-9, segments="grid", grid=3)(explicand)
    expected = (weights * inputs * present[:, None]).view(2, 3, 3, 3, 3).sum((2, 4))
    torch.testing.assert_close(values.view(2, 3, 3, 3, 3).sum((2, 4)), expected, rtol=1e-5, atol=1e-5)
    assert not values[~present[:, None]].any()
    half = torch.tensor([[True, True, False, False, False], [True, False, False, False, False]])
    there = torch.tensor([[True, True, True, True, False], [True, False, False, False, False]])
    expected = torch.exp(-(torch.tensor([1 - 0.5**0.5, 0], dtype=torch.float64) ** 2) / 0.125)
    torch.testing.assert_close(LIME()._weights(half, there), expected)


def test_a_constant_has_no_values():
    values = LIME(20)(bind(constant(), random(2, 3, 16, 16)))
    assert float(values.abs().max()) < 1e-8


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_batch_size_changes_nothing(size):
    inputs = random(3, 3, 16, 20)
    reference = LIME(30)(explained(network(), inputs))
    assert_close(LIME(30)(explained(network(), inputs, batch_size=size)), reference, 1e-4)


def test_wrong_options_are_told():
    with pytest.raises(ValueError, match="LIME: segments must be one of slic, grid, got 'quickshift'"):
        LIME(segments="quickshift")
    with pytest.raises(ValueError, match="LIME: samples must be at least 1, got 0"):
        LIME(0)
    with pytest.raises(ValueError, match="LIME: width must be positive, got 0"):
        LIME(width=0)
    with pytest.raises(ValueError, match="LIME: ridge must be positive, got -1"):
        LIME(ridge=-1)
