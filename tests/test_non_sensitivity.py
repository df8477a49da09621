"""Non-sensitivity: patches without a score against patches without an effect."""

import pytest
import torch
from known_answers import Model, Smooth, bind, constant, linear, normal, random
from metric_promises import PROMISES

from xaieval.attributions.gradient import Gradient
from xaieval.attributions.integrated_gradients import IntegratedGradients
from xaieval.metrics.non_sensitivity import NonSensitivity

SMALL = NonSensitivity(grid=4, samples=1)
PATCHES = torch.tensor([[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1]]).bool()  # 5 of 16


@pytest.mark.parametrize(
    "promise", [promise for promise in PROMISES if "absent_features_change" not in promise.__name__]
)
def test_promise(promise):
    promise(SMALL)


def spread(patches):
    return patches.repeat_interleave(2, 0).repeat_interleave(2, 1)


def planted(count=3, **options):
    """The model depends on five of sixteen patches alone."""
    weights = spread(PATCHES) * (0.5 + random(3, 8, 8, seed=3))
    return bind(linear(weights), random(count, 3, 8, 8), **options)


def test_exact_maps_of_a_planted_model_have_the_value_zero():
    where = planted()
    for method in (Gradient(), IntegratedGradients(steps=2)):
        assert SMALL(where, method(where)).tolist() == [0, 0, 0]
    assert SMALL(where, -spread(PATCHES).float().expand(3, 1, 8, 8)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("seed", range(4))
def test_any_map_is_the_size_of_the_symmetric_difference(seed):
    scored = random(4, 4, seed=seed) > 0.5
    expected = len(places(scored) ^ places(PATCHES)) / 16
    attribution = spread(scored).float() * normal(3, 3, 8, 8, seed=seed)
    assert SMALL(planted(), attribution).tolist() == [expected] * 3


def places(patches):
    return {tuple(place) for place in patches.nonzero().tolist()}


def test_constant_complement_and_one_hot():
    where = planted(1)
    single = torch.zeros(1, 1, 8, 8)
    single[..., 0, 1] = -3.0
    assert SMALL(where, torch.ones(1, 1, 8, 8)).item() == 11 / 16
    assert SMALL(where, 1 - spread(PATCHES).float()[None, None]).item() == 1
    assert SMALL(where, single).item() == 4 / 16


def test_scores_that_cancel_are_scores():
    """A patch whose channels sum to 0 has scores all the same."""
    attribution = torch.zeros(1, 3, 8, 8)
    attribution[0, 0] = spread(PATCHES).float()
    attribution[0, 1, :, :4] = -attribution[0, 0, :, :4]
    assert SMALL(planted(1), attribution).item() == 0


def test_a_constant_model_ignores_everything():
    assert SMALL(bind(constant(), random(1, 3, 8, 8)), torch.ones(1, 1, 8, 8)).item() == 1


def test_black_patches_have_an_effect_too():
    """Removal by black would not see it."""
    weights = 0.5 + random(3, 8, 8)
    where = bind(linear(weights), torch.zeros(1, 3, 8, 8))
    assert SMALL(where, Gradient()(where)).item() == 0


def test_more_draws_find_what_a_single_one_misses():
    """The first pixel matters above .5 only: of 20 draws of noise one lies there, but for one case in a million."""
    where = bind(
        Model(lambda x: torch.relu(x[:, 0, 0, 0] - 0.5)), torch.zeros(40, 3, 8, 8), ids=[str(i) for i in range(40)]
    )
    attribution = torch.zeros(40, 1, 8, 8)
    attribution[..., 0, 0] = 1
    single, many = (NonSensitivity(grid=8, samples=samples)(where, attribution) for samples in (1, 20))
    assert many.tolist() == [0] * 40
    assert 8 < (single == 1 / 64).sum() < 32  # 40 fair coins, within four standard deviations
    assert ((single == 0) | (single == 1 / 64)).all()


def test_patches_count_where_they_are_present():
    present = torch.ones(1, 8, 8, dtype=torch.bool)
    present[..., 4:] = False  # eight patches left, three of which matter
    where = planted(1, present=present)
    loud = torch.ones(1, 1, 8, 8)
    assert SMALL(where, loud).item() == 5 / 8
    loud[..., 4:] = 1e9
    assert SMALL(where, loud).item() == 5 / 8


def test_the_effects_are_found_once_for_all_methods():
    where = bind(Smooth(), random(3, 3, 8, 8))
    attribution = Gradient()(where)
    before = where.cost.forwards
    NonSensitivity(grid=4, samples=2)(where, attribution)
    assert where.cost.forwards - before == 2 * 16 + 1
    NonSensitivity(grid=4, samples=2)(where, normal(3, 1, 8, 8))
    assert where.cost.forwards - before == 2 * 16 + 1


def test_no_sample_is_refused():
    with pytest.raises(ValueError, match="NonSensitivity: samples must be at least 1, got 0"):
        NonSensitivity(samples=0)
