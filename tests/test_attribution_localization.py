"""Attribution localization: the share of the positive score inside the mask, in multiples of the mask's share."""

import numpy as np
import pytest
import torch
from known_answers import bind, constant, linear, normal, random
from metric_promises import PROMISES

from xaieval.attributions.gradient import Gradient
from xaieval.metrics.attribution_localization import AttributionLocalization
from xaieval.metrics.relevance_mass import RelevanceMass


@pytest.mark.parametrize("promise", PROMISES)
def test_promise(promise):
    promise(AttributionLocalization())


def explicand(mask, **options):
    return bind(constant(), random(len(mask), 3, *mask.shape[1:]), mask=mask, **options)


def masks(count, seed=2):
    return random(count, 8, 8, seed=seed) > 0.7


def test_agrees_with_the_formula_of_the_paper():
    """mu_w = (R_in / R_tot) (S_tot / S_in), the sizes in features."""
    attribution, mask, present = normal(4, 3, 8, 8), masks(4), random(4, 8, 8, seed=3) > 0.2
    ratios = []
    for scores, inside, exists in zip(attribution.double().sum(1).numpy(), mask.numpy(), present.numpy(), strict=True):
        positive = np.maximum(scores, 0)
        within = positive[inside & exists].sum() / positive[exists].sum()
        ratios.append(within * exists.sum() / (inside & exists).sum())
    where = explicand(mask, present=present)
    weighted = AttributionLocalization().weighted(where, attribution)
    np.testing.assert_allclose(weighted, ratios, rtol=1e-5)  # sums of 64 floats
    np.testing.assert_allclose(AttributionLocalization()(where, attribution), np.array(ratios) - 1, atol=1e-5)


def test_the_value_does_not_depend_on_the_batch():
    """Quantus 0.6 gives inf, .0201 and .0033 for one sample in batches of 2, 3 and 8."""
    attribution, mask = normal(8, 1, 8, 8), masks(8)
    alone = AttributionLocalization()(explicand(mask[:1]), attribution[:1])
    for count in (2, 3, 8):
        torch.testing.assert_close(AttributionLocalization()(explicand(mask[:count]), attribution[:count])[:1], alone)


def test_mask_complement_and_constant():
    mask = masks(3)
    where, inside = explicand(mask), mask[:, None].float()
    share = mask.float().mean((1, 2))
    torch.testing.assert_close(AttributionLocalization().weighted(where, inside), 1 / share)
    assert AttributionLocalization()(where, 1 - inside).tolist() == [-1, -1, -1]
    torch.testing.assert_close(
        AttributionLocalization()(where, torch.full_like(inside, 0.3)), torch.zeros(3), atol=1e-6, rtol=0
    )


def test_it_differs_from_relevance_mass_by_the_size_of_the_mask_alone():
    attribution, mask = normal(5, 3, 8, 8), masks(5)
    where, share = explicand(mask), mask.float().mean((1, 2))
    expected = RelevanceMass()(where, attribution) * (1 - share) / share
    torch.testing.assert_close(AttributionLocalization()(where, attribution), expected)
    assert torch.equal(AttributionLocalization().raw(where, attribution), RelevanceMass().raw(where, attribution))


def test_negative_scores_inside_are_no_evidence():
    """Quantus takes absolute scores by default, which would give the best value here."""
    mask = masks(2)
    attribution = torch.where(mask, -1.0, 0.01)[:, None]
    assert AttributionLocalization()(explicand(mask), attribution).tolist() == [-1, -1]


def test_undefined_without_positive_score_and_with_empty_and_full_masks():
    mask = masks(4)
    mask[0], mask[1] = False, True
    attribution = random(4, 1, 8, 8)
    attribution[2] *= -1
    values, reasons = AttributionLocalization().evaluate(explicand(mask), attribution)
    assert values.isnan().tolist() == [True, True, True, False]
    assert reasons["empty mask"].tolist() == [True, False, False, False]
    assert reasons["mask covers everything"].tolist() == [False, True, False, False]
    assert reasons["no positive score"].tolist() == [False, False, True, False]


def test_gradient_of_a_planted_model_is_all_inside():
    mask = masks(1).expand(3, 8, 8)
    where = bind(linear(mask[0] * (0.5 + random(3, 8, 8, seed=8))), random(3, 3, 8, 8), mask=mask)
    torch.testing.assert_close(
        AttributionLocalization().weighted(where, Gradient()(where)), 64 / mask.sum((1, 2)).float()
    )
