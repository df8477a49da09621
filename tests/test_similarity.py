"""Similarity of maps: SciPy's rank correlation and scikit-image's structural similarity, and what absence changes."""

import numpy as np
import pytest
import scipy.stats
import torch
from known_answers import Smooth, bind, ids, normal, random
from skimage.metrics import structural_similarity

from xaieval.similarity import SIMILARITIES, similarity


def shown(maps, absolute=False):
    """A map in [0, 1]."""
    scaled = maps / np.abs(maps).max()
    return scaled if absolute else (1 + scaled) / 2


def explicand(count=3, side=11, present=None):
    return bind(Smooth(), random(count, 3, side, side), present=present, ids=ids(count))


@pytest.mark.parametrize("absolute", [False, True])
def test_spearman_agrees_with_scipy_with_ties(absolute):
    first, second = (normal(3, 1, 11, 11, seed=seed).mul(2).round() for seed in (1, 2))
    second = second + first
    found = similarity(explicand(), "spearman", first, second, absolute)
    maps = [(m.abs() if absolute else m).flatten(1).numpy() for m in (first, second)]
    expected = [scipy.stats.spearmanr(a, b).statistic for a, b in zip(*maps, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("side", [11, 6, 3])
@pytest.mark.parametrize("absolute", [False, True])
def test_ssim_agrees_with_scikit_image(side, absolute):
    first, second = (normal(3, 1, side, side, seed=seed) for seed in (1, 2))
    second = 5 * (second + first)
    found = similarity(explicand(side=side), "ssim", first, second, absolute)
    maps = [(m.abs() if absolute else m)[:, 0].double().numpy() for m in (first, second)]
    expected = [
        structural_similarity(
            shown(a, absolute), shown(b, absolute), win_size=min(7, side - 1 + side % 2), data_range=1
        )
        for a, b in zip(*maps, strict=True)
    ]
    np.testing.assert_allclose(found, expected, atol=1e-5)  # maps are rounded to 1e-6 of their maximum


def test_channels_are_summed_with_their_signs():
    first, second = (normal(3, 3, 11, 11, seed=seed) for seed in (1, 2))
    for name in SIMILARITIES:
        summed = [maps.sum(1, keepdim=True) for maps in (first, second)]
        torch.testing.assert_close(
            similarity(explicand(), name, first, second), similarity(explicand(), name, *summed), rtol=0, atol=1e-5
        )


@pytest.mark.parametrize("name", SIMILARITIES)
def test_identical_and_negated_and_scaled_maps(name):
    maps = normal(3, 1, 11, 11)
    assert similarity(explicand(), name, maps, 1e-9 * maps).tolist() == pytest.approx([1, 1, 1], abs=1e-5)
    assert (similarity(explicand(), name, maps, -maps) < -0.9).all()
    assert similarity(explicand(), name, maps, -maps, absolute=True).tolist() == pytest.approx([1, 1, 1])


@pytest.mark.parametrize("name", SIMILARITIES)
def test_constant_maps_are_alike_and_unlike_any_other(name):
    flat, maps = torch.ones(3, 1, 11, 11), normal(3, 1, 11, 11)
    assert similarity(explicand(), name, flat, -2 * flat).tolist() == [1, 1, 1]
    assert similarity(explicand(), name, flat, 0 * flat).tolist() == [1, 1, 1]
    assert similarity(explicand(), name, flat, flat + 1e-8 * maps).tolist() == [1, 1, 1]  # rounding
    assert similarity(explicand(), name, flat, maps).isnan().all()
    assert similarity(explicand(), name, maps, 0 * maps).isnan().all()


def test_absent_features_count_in_neither():
    present = torch.ones(3, 11, 11, dtype=torch.bool)
    present[:, :, 9:] = False
    first, second = (normal(3, 1, 11, 11, seed=seed) for seed in (1, 2))
    inside = [maps[..., :9] for maps in (first, second)]
    found = similarity(explicand(present=present), "spearman", first, second)
    expected = [scipy.stats.spearmanr(a.flatten(), b.flatten()).statistic for a, b in zip(*inside, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    found = similarity(explicand(present=present), "ssim", first, second)
    maps = [m[:, 0].double().numpy() for m in inside]
    expected = [structural_similarity(shown(a), shown(b), win_size=7, data_range=1) for a, b in zip(*maps, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_ssim_where_no_window_is_whole():
    """With 5 of 11 columns every window of 7 misses some: the fullest ones hold all 5, and nothing else counts."""
    present = torch.zeros(3, 11, 11, dtype=torch.bool)
    present[:, :, 2:7] = True
    first, second = (normal(3, 1, 11, 11, seed=seed) for seed in (1, 2))
    found = similarity(explicand(present=present), "ssim", first, second)
    for i in range(3):
        a, b = (shown(maps[i, 0, :, 2:7].double().numpy()) for maps in (first, second))
        values = []
        for row in range(5):
            u, v = a[row : row + 7].ravel(), b[row : row + 7].ravel()
            covariance = np.cov(u, v)
            light = (2 * u.mean() * v.mean() + 1e-4) / (u.mean() ** 2 + v.mean() ** 2 + 1e-4)
            values.append(light * (2 * covariance[0, 1] + 9e-4) / (covariance[0, 0] + covariance[1, 1] + 9e-4))
        assert float(found[i]) == pytest.approx(np.mean(values), abs=1e-5)
