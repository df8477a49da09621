"""RISE: its masks by another route, its map from the masks, its expectation on a linear model."""

import pytest
import torch
from known_answers import Model, bind, constant, linear, normal, random
from networks import assert_close, explained, network
from torch.nn.functional import interpolate

from xaieval.attributions.rise import RISE
from xaieval.modalities.images import ImagePatches


def recorded(function):
    seen: list[torch.Tensor] = []

    def record(x):
        seen.append(x.detach().clone())
        return function(x)

    return Model(record), seen


@pytest.mark.parametrize("sides", [(14, 14), (16, 20), (9, 30)])
def test_masks_are_interpolated_cells_cropped_at_a_shift(sides):
    rows = random(12, 51)
    size = [-(-side // 7) for side in sides]
    cells = (rows[:, :49] < 0.4).float().view(12, 1, 7, 7)
    large = interpolate(cells, size=[8 * s for s in size], mode="bilinear", align_corners=False)
    masks = ImagePatches(sides, 7, torch.device("cpu")).smooth((rows[:, :49] < 0.4).float(), rows[:, 49:])
    for mask, image, shift in zip(masks, large, rows[:, 49:], strict=True):
        top, left = (int(u * s) for u, s in zip(shift, size, strict=True))
        torch.testing.assert_close(mask, image[:, top : top + sides[0], left : left + sides[1]], rtol=0, atol=1e-5)


def test_design_shows_cells_with_the_probability_and_uses_every_shift():
    model, seen = recorded(lambda x: x.flatten(1).sum(1))
    explicand = bind(model, torch.ones(1, 1, 21, 21), batch_size=64)
    seen.clear()
    RISE(3000, probability=0.3)(explicand)
    masks = torch.cat(seen)[:, 0]
    assert masks.shape[0] == explicand.cost.forwards == 3000
    assert masks.unique(dim=0).shape[0] == 3000
    # A pixel's mean has the variance of one cell at most, p (1 - p).
    assert float(((masks.mean(0) - 0.3) / (0.3 * 0.7 / 3000) ** 0.5).abs().max()) < 4.5
    rows = RISE(3000)._design(0, 51)
    counts = (rows[:, 49:] * 3).long().flatten().bincount()
    assert float(((counts - 2000) / (6000 * 2 / 9) ** 0.5).abs().max()) < 4


@pytest.mark.parametrize("normalization", ["masks", "paper"])
@pytest.mark.parametrize("score", ["probability", "logit"])
def test_map_is_the_weighted_mean_of_the_masks(normalization, score):
    model, seen = recorded(lambda x: (x.flatten(1) @ normal(99)).sin())
    explicand = bind(model, torch.ones(1, 1, 9, 11), batch_size=7)
    seen.clear()
    values = RISE(50, 4, normalization=normalization, score=score)(explicand)
    masks = torch.cat(seen).double()
    logits = (masks.flatten(1) @ normal(99).double()).sin()
    weights = logits.sigmoid() if score == "probability" else logits  # the other class has logit 0
    total = torch.einsum("s,schw->chw", weights, masks)
    assert_close(values[0], (total / (masks.sum(0) if normalization == "masks" else 25)).float(), 1e-5)


def test_expectation_on_a_linear_model():
    """E[f(x M) M_i] / p = sum_j w_j x_j E[M_i M_j] / p with E[M_i M_j] = p^2 + p (1 - p) K_ij.

    K_ij sums the products of the interpolation weights of i and j over cells, averaged over shifts; it is the identity
    for independent pixels, which gives p w.x + (1 - p) w_i x_i.
    """
    side, grid, p, samples = 10, 5, 0.3, 6000
    basis = interpolate(torch.eye(grid)[None], size=2 * (grid + 1), mode="linear")[0]  # (cells, 12)
    kernel = torch.stack([basis[:, s : s + side].T @ basis[:, s : s + side] for s in (0, 1)]).mean(0)
    weights, inputs = normal(1, side, side), random(1, 1, side, side)
    products = weights * inputs
    second = p**2 * products.sum() + p * (1 - p) * kernel @ products[0, 0] @ kernel
    model, seen = recorded(lambda x: (x * weights).flatten(1).sum(1))
    explicand = bind(model, inputs, batch_size=64)
    seen.clear()
    values = RISE(samples, grid, p, "paper", score="logit")(explicand)
    hidden = torch.cat(seen)
    terms = (hidden * weights).flatten(1).sum(1)[:, None, None] * hidden[:, 0] / inputs[0, 0]
    error = terms.std(0) / p / samples**0.5
    assert float(((values[0, 0] - second / p) / error).abs().max()) < 4.5  # of 100 correlated normal numbers


def test_a_constant_score_is_returned_at_every_pixel():
    """Dividing by the summed masks takes the unevenness of the masks away, which the paper's form keeps."""
    explicand = bind(constant(0.7), random(2, 3, 16, 16))
    probability = torch.full((2, 1, 16, 16), 0.7).sigmoid()
    assert_close(RISE(40)(explicand), probability, 1e-6)
    assert float((RISE(40, normalization="paper")(explicand) - probability).abs().max()) > 0.05


def test_hidden_parts_are_replaced_by_the_removal():
    inputs = random(1, 3, 8, 8)
    model, seen = recorded(lambda x: x.flatten(1).sum(1))
    explicand = bind(model, inputs)
    seen.clear()
    RISE(5, 4, removal="mean")(explicand)
    shown, mean = torch.cat(seen), inputs.mean((2, 3), keepdim=True)
    masks = ((shown - mean) / (inputs - mean)).sort(1).values[:, 1]  # the same in all channels
    torch.testing.assert_close(shown, mean + masks[:, None] * (inputs - mean), rtol=0, atol=1e-4)
    assert 0.2 < float(masks.mean()) < 0.8


def test_a_pixel_that_no_mask_shows_gets_zero():
    values = RISE(1, 7, 1e-6)(bind(linear(normal(3, 14, 14)), random(1, 3, 14, 14)))
    assert not values.any()


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_batch_size_changes_nothing(size):
    inputs = random(3, 3, 16, 20)
    reference = RISE(50)(explained(network(), inputs))
    assert_close(RISE(50)(explained(network(), inputs, batch_size=size)), reference, 1e-5)


def test_seed_and_copy_decide_the_masks():
    explicand = explained(network())
    reference = RISE(20)(explicand)
    assert torch.equal(reference, RISE(20)(explicand))
    assert not torch.equal(reference, RISE(20, seed=1)(explicand))
    (batch,) = explicand.batches(1)
    assert not torch.equal(reference, RISE(20)(batch.copies(batch.inputs)))
    assert torch.equal(reference, RISE(20)(batch.copies(batch.inputs, common_draws=True)))


def test_wrong_options_are_told():
    with pytest.raises(ValueError, match="normalization must be one of masks, paper, got 'max'"):
        RISE(normalization="max")
    with pytest.raises(ValueError, match="probability must lie between 0 and 1, got 1"):
        RISE(probability=1.0)
