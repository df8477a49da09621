"""Perturbations: what is drawn, and what an attribution predicts, against sums over all features."""

import pytest
import torch
from known_answers import Smooth, bind, ids, normal, random

from xaieval.explicand import UNITS
from xaieval.perturbation import Gaussian, NoisyBaseline, PatchMask, Perturbation, Square
from xaieval.removal import Blur, Mean, Noise

SIDE = 10
ALL = [
    PatchMask(samples=7, grid=4),
    PatchMask(samples=7, grid=3, fraction=0.5, removal="blur", seed=1),
    PatchMask(samples=7, grid=4, removal="noise"),
    PatchMask(samples=7, grid=4, removal="mean"),
    Square(samples=7),
    Square(samples=7, largest=1.0, removal=Blur(3, 1.0)),
    Square(samples=7, removal=Noise(seed=3)),
    Gaussian(samples=7),
    NoisyBaseline(samples=7),
]


def explicand(count=3, batch_size=5, present=None, **options):
    return bind(
        Smooth(), random(count, 3, SIDE, SIDE), batch_size=batch_size, ids=ids(count), present=present, **options
    )


def perturbed(perturbation, work):
    """All perturbed inputs `(N, samples, C, H, W)`."""
    table = work.inputs.new_empty(work.count, perturbation.samples, *work.shape[1:])
    for batch in work.batches(perturbation.samples):
        batch.write(table, perturbation.inputs(work, batch))
    return table


def masks(perturbation, work):
    """All masks `(N, samples, H, W)`."""
    table = work.inputs.new_empty(work.count, perturbation.samples, SIDE, SIDE)
    for batch in work.batches(perturbation.samples):
        batch.write(table, perturbation.mask(work, batch)[:, 0])
    return table


@pytest.mark.parametrize("perturbation", ALL, ids=repr)
@pytest.mark.parametrize("partly", [False, True])
def test_response_is_the_change_of_the_logit(perturbation, partly):
    present = random(3, SIDE, SIDE, seed=5) > 0.3 if partly else None
    work = explicand(present=present)
    response, inputs = work.response(perturbation), perturbed(perturbation, work)
    with torch.no_grad():
        clean, changed = Smooth()(work.inputs)[:, 0], Smooth()(inputs.flatten(0, 1))[:, 0].view(3, 7)
    torch.testing.assert_close(response.change, clean[:, None] - changed, rtol=1e-4, atol=1e-5)
    if present is not None:
        absent = ~present[:, None, None].expand_as(inputs)
        assert torch.equal(inputs[absent], work.inputs[:, None].expand_as(inputs)[absent])


@pytest.mark.parametrize("perturbation", ALL, ids=repr)
@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize("partly", [False, True])
def test_prediction_is_the_sum_over_features(perturbation, units, partly):
    """Gradient: sum of (x - x~) g; contribution and importance: sum of the removed scores; NaN where there are none."""
    work = explicand(present=random(3, SIDE, SIDE, seed=5) > 0.3 if partly else None)
    attribution = normal(3, 1 if units == "importance" else 3, SIDE, SIDE)
    predicted = work.predicted(perturbation, attribution, units)
    if units == "gradient":
        step = work.inputs[:, None] - perturbed(perturbation, work)
        expected = (step * attribution[:, None]).flatten(2).sum(2)
    elif isinstance(perturbation, PatchMask | Square):
        scores = (
            attribution.sum(1, keepdim=True)
            if work.present is None
            else attribution.sum(1, keepdim=True) * (work.present[:, None])
        )
        expected = (masks(perturbation, work) * scores).flatten(2).sum(2)
    else:
        expected = torch.full((3, 7), torch.nan)
    torch.testing.assert_close(predicted, expected, rtol=1e-4, atol=1e-4, equal_nan=True)


@pytest.mark.parametrize("perturbation", ALL, ids=repr)
def test_draws_do_not_depend_on_the_batch_or_the_neighbors(perturbation):
    together, alone = explicand(3, 5), bind(Smooth(), random(3, 3, SIDE, SIDE)[2:], ids=ids(3)[2:], batch_size=2)
    assert torch.equal(perturbed(perturbation, together)[2:], perturbed(perturbation, alone))


@pytest.mark.parametrize(("grid", "fraction", "removed"), [(4, 0.2, 3), (4, 0.01, 1), (3, 0.5, 4), (14, 0.2, 20)])
def test_every_draw_removes_the_same_number_of_patches(grid, fraction, removed):
    """20 of 10 x 10 single pixels for a grid of 14: a patch is never smaller than a pixel."""
    work, perturbation = explicand(2), PatchMask(samples=50, grid=grid, fraction=fraction)
    counts = perturbation.masks(work).sum(2)
    assert (counts == removed).all()


def test_removed_areas_differ_by_the_patches_rows_and_columns_alone():
    work, perturbation = explicand(2), PatchMask(samples=50, grid=4, fraction=0.2)  # sides of 2 or 3 pixels
    areas = masks(perturbation, work).flatten(2).sum(2)
    assert areas.min() >= 3 * 4
    assert areas.max() <= 3 * 9
    drawn = masks(PatchMask(samples=50, grid=5, fraction=0.2), work).flatten(2).sum(2)
    assert (drawn == 5 * 4).all()  # where the grid divides the side


def test_every_patch_is_drawn_equally_often():
    counts = PatchMask(samples=2000, grid=4, fraction=0.25).masks(explicand(1)).float().mean((0, 1))
    torch.testing.assert_close(counts, torch.full((16,), 0.25), rtol=0, atol=4 * (0.25 * 0.75 / 2000) ** 0.5)


def test_only_present_patches_are_drawn_and_counted():
    present = torch.ones(2, SIDE, SIDE, dtype=torch.bool)
    present[0, :, 4:] = False  # two of five columns of patches are left
    work, perturbation = explicand(2, present=present), PatchMask(samples=30, grid=5, fraction=0.2)
    drawn = perturbation.masks(work)
    assert (drawn[0].sum(1) == 2).all()
    assert (drawn[1].sum(1) == 5).all()
    assert not drawn[0].view(30, 5, 5)[:, :, 2:].any()


def test_squares_are_squares_of_all_sides_and_places():
    drawn = masks(Square(samples=600, largest=0.4), explicand(1))[0]
    sides, corners = set(), set()
    for mask in drawn:
        rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
        assert mask.sum() == len(rows) * len(columns)
        assert len(rows) == len(columns) == rows[-1] - rows[0] + 1
        sides.add(len(rows))
        corners.add((len(rows), int(rows[0]), int(columns[0])))
    assert sides == {1, 2, 3, 4}
    assert {(4, row, column) for row in (0, 6) for column in (0, 6)} <= corners


def test_noise_has_its_standard_deviation():
    work = explicand(1)
    step = work.inputs[:, None] - perturbed(Gaussian(samples=300, noise=0.3), work)
    assert step.std() == pytest.approx(0.3, rel=0.02)
    assert step.mean() == pytest.approx(0, abs=0.003)
    baseline = perturbed(NoisyBaseline(samples=300, noise=0.3), work)
    assert baseline.min() == 0
    assert baseline.max() <= 1
    assert (baseline == 0).float().mean() == pytest.approx(0.5, abs=0.01)


def test_perturbations_with_equal_fields_share_one_response():
    work = explicand()
    spent = work.cost.forwards
    first = work.response(PatchMask(samples=7, grid=4))
    assert torch.equal(first.change, work.response(PatchMask(samples=7, grid=4)).change)
    assert work.cost.forwards - spent == 7 + 1
    work.response(PatchMask(samples=7, grid=4, seed=1))
    assert work.cost.forwards - spent == 14 + 1


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: PatchMask(fraction=0.0), r"PatchMask: fraction must lie in \(0, 1\], got 0.0"),
        (lambda: PatchMask(fraction=20), "PatchMask: fraction must lie in"),
        (lambda: Square(largest=35), r"Square: largest must lie in \(0, 1\], got 35"),
        (lambda: PatchMask(removal="black"), "removal must be one of zero"),
        (lambda: explicand().response(PatchMask(grid=0)), "grid must be at least 1 patch per side, got 0"),
    ],
)
def test_perturbations_that_cannot_be(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_a_shared_response_is_that_of_a_fresh_explicand():
    shared, fresh = explicand(), explicand(batch_size=64)
    shared.response(Gaussian(samples=9))
    shared.curve(normal(3, 1, SIDE, SIDE), grid=4, steps=3)
    perturbation = PatchMask(samples=7, grid=4)
    torch.testing.assert_close(
        shared.response(perturbation).change, fresh.response(perturbation).change, rtol=1e-4, atol=1e-6
    )


def test_what_makes_no_difference_is_below_rounding():
    work = explicand()
    response = work.response(Gaussian(samples=7, noise=0.0))
    assert (response.change.abs().amax(1) <= response.rounding).all()
    assert (work.response(Gaussian(samples=7)).change.abs().amax(1) > work.response(Gaussian(samples=7)).rounding).all()


def test_the_base_class_perturbs_nothing_itself():
    with pytest.raises(NotImplementedError):
        explicand().response(Perturbation(samples=2))


def test_a_removal_has_one_key_by_its_name_and_by_itself():
    assert PatchMask(removal="blur") == PatchMask(removal=Blur())
    assert repr(Square(removal="mean")) == repr(Square(removal=Mean()))


def test_methods_and_responses_never_share_the_noise_they_remove_with():
    work = explicand(count=1)
    (batch,) = work.batches(1, "scores")
    gone = torch.ones_like(batch.inputs[:, :1])
    of_method, of_response = (work.removal("noise", purpose)(batch, gone) for purpose in ("method", "response"))
    assert not torch.equal(of_method, of_response)
