"""Masking by importance: by hand, against a slow derivation, asked again of what is left, and counted."""

import math
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from known_answers import ids, linear, random
from masked_texts import SEEN, Own, Sum, texts
from text_models import Attending, attended, embeddings, present, text

from xaieval.attributions.feature_ablation import FeatureAblation
from xaieval.attributions.integrated_gradients import IntegratedGradients
from xaieval.attributions.random import Random
from xaieval.classifier import Classifier
from xaieval.faithfulness_curve import Masked
from xaieval.laws.guards import no_waiting
from xaieval.laws.toys import seeded
from xaieval.metrics.acu import ACU
from xaieval.metrics.racu import RACU

WORTH = (4.0, 1.1, 1.2, 1.3, -1.0, -1.01, -1.02, -1.03, -1.04, -1.05)


def curve(metric, work, method):
    """What is right at each ratio, the method's and by chance."""
    values = metric(work, method(work), method, method.units)
    return values.chunk(2, 1)


def test_planted_tokens_by_hand():
    """Worth 1.45 + .5 in all; without the 4 it is -2.05, then falls to -5.65, then rises to -.5 and to .5 for nothing.

    A text of 4 tokens loses floor(4 k / 10) of them at each ratio: 0 0 0 1 1 2 2 2 3 3 4.
    """
    found, _ = curve(ACU(), texts(WORTH, (2.0, -1.0, 1.0, -2.0)), Own())
    assert found[0].tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert found[1].tolist() == [1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1]  # .5 -1.5 -2.5 -1.5 .5


def test_the_least_important_first_by_hand():
    found, _ = curve(ACU(), texts(WORTH, (2.0, -1.0, 1.0, -2.0)), Own(sign=-1.0))
    assert found[0].tolist() == [1] * 11
    assert found[1].tolist() == [1] * 11


def test_random_masking_is_enumerated():
    """The orders drawn, counted in plain Python."""
    rows = (WORTH, (2.0, -1.0, 1.0, -2.0), (1.0, -3.0, 2.0))
    work = texts(*rows, bias=-0.3)
    _, found = curve(ACU(seeds=7, seed=3), work, Own())
    pieces = work.patches(14)
    for row, worth in enumerate(rows):
        expected = torch.zeros(11)
        for seed in range(3, 10):
            drawn = work.uniform("faithfulness curve", seed, (pieces.count,))[row]
            where = [place for place in drawn.argsort(descending=True).tolist() if bool(pieces.present[row, place])]
            worths = [float(pieces.sum(work.inputs[:, 0])[row, place]) for place in where]
            for step in range(11):
                expected[step] += sum(worths[step * len(worth) // 10 :]) - 0.3 > 0
        torch.testing.assert_close(found[row], expected / 7)


def slow_steps(module, inputs, there, shown, groups, ratios=10):
    """At which step each piece of one text goes by leave-one-out, one call of the model for each number."""
    mask = torch.tensor([0.3, 0.1, -0.2, 0.4])

    def score(gone):
        where = torch.tensor([bool(shown[t]) and int(groups[t]) in gone for t in range(len(shown))])
        changed = torch.where(where, mask[:, None], inputs)
        return float(module(changed[None], there[None]).detach()[0, 0])

    pieces = sorted({int(groups[t]) for t in range(len(shown)) if shown[t]})
    steps: dict[int, int] = {}
    gone: set[int] = set()
    for step in range(1, ratios + 1):
        drops = {piece: score(gone) - score(gone | {piece}) for piece in pieces if piece not in gone}
        number = step * len(pieces) // ratios - len(gone)
        for piece in sorted(drops, key=drops.__getitem__, reverse=True)[:number]:
            steps[piece] = step
        gone |= set(steps)
    return steps


@pytest.mark.parametrize("words", [False, True])
@pytest.mark.parametrize("ratios", [3, 4, 10])
def test_importance_is_asked_again_as_in_the_slow_derivation(words, ratios):
    """Leave-one-out in a transformer, by token and by word; a word's score is the sum of its tokens', as in curves."""
    module = seeded(Attending)
    groups = torch.tensor([[-1, 0, 1, 1, 2, 3, -1], [-1, 0, 0, 1, -1, -1, -1], [-1, 0, 1, -1, -1, -1, -1]])
    work = text(module, groups=groups) if words else text(module)
    method = FeatureAblation()
    steps = Masked(ratios).steps(work, method(work), method)
    tokens = work.patches(14).spread(steps.float())[:, 0]
    own = groups if words else torch.arange(7).expand(3, -1)
    for row in range(3):
        found = slow_steps(module, embeddings()[row], attended()[row], present()[row], own[row], ratios)
        expected = [found.get(int(own[row, t]), 0) * bool(present()[row, t]) for t in range(7)]
        assert tokens[row].tolist() == expected


def there(work):
    assert work.present is not None
    return work.present


def read(work):
    assert work.attended is not None
    return work.attended


def test_what_a_method_is_asked_of():
    """What is gone is no feature and reads as the mask token; all is attended still; draws are fresh at each step."""
    SEEN.clear()
    work = texts(WORTH, (2.0, -1.0, 1.0, -2.0), removed=0.25)
    ACU().score(work, Own()(work), "contribution", Own())
    assert len(SEEN) == 1 + 8
    for step, rest in enumerate(SEEN[1:], 2):
        gone = there(work) & ~there(rest)
        assert gone.sum(1).tolist() == [step - 1, (step - 1) * 4 // 10]
        assert torch.equal(rest.inputs, torch.where(gone[:, None], 0.25, work.inputs))
        assert torch.equal(read(rest), read(work))
        assert set(rest.copy) == {f".masked {step}"}
    one, other = (Random()(rest) for rest in SEEN[1:3])
    assert not torch.equal(one, other)


def test_words_lose_what_is_gone():
    """The groups of what is left hold no absent token."""
    SEEN.clear()
    work = texts((3.0, 1.0, 2.0), groups=torch.tensor([[-1, 0, 0, 1, -1]]))
    Masked(2).steps(work, Own()(work), Own())
    steps = Masked(3).steps(work, Own()(work), Own())
    assert steps.tolist() == [[2, 3]]  # floor(2 / 3) = 0 words, then 1, then 2
    assert len(SEEN) == 1 + 0 + 1 + 1  # with two steps nothing is asked again
    groups = SEEN[-1].groups
    assert groups is not None
    assert groups.area.tolist() == [[2, 1]]


@dataclass(frozen=True)
class Whole(Own):
    whole_order: ClassVar[bool] = True


def test_a_whole_order_is_asked_for_once():
    SEEN.clear()
    work = texts(WORTH)
    found, _ = curve(ACU(budget=1), work, Whole())
    assert len(SEEN) == 1
    assert found[0].tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]


def test_forwards_are_counted():
    """Nine for the ratios between the ends and two ends, 8 explanations of 3 beside the given one, 5 x 9 by chance."""
    work = texts(WORTH, (2.0, -1.0))
    ACU().score(work, Own()(work), "contribution", Own())
    assert work.cost[:2] == (3 + 8 * 3 + 9 + 2 + 5 * 9, 0)
    other = Own(unsigned=True)
    RACU().score(work, other(work), "importance", other)  # the ends and what is by chance are known
    assert work.cost[:2] == (83 + 3 + 8 * 3 + 9, 0)


def test_leave_one_out_is_asked_about_what_is_left_alone():
    """Of n tokens n - floor(n (k - 1) / 10) are left before step k; a shorter text of the batch costs no more."""
    work, method = texts(WORTH, (2.0, -1.0, 0.5)), FeatureAblation()
    made = method(work)
    with work.meter.ledger() as ledger:
        Masked().steps(work, made, method)
    rows = (len(WORTH), 3)
    left = sum(count - count * (step - 1) // 10 for count in rows for step in range(2, 10))
    assert ledger.paid.forwards == left + 8 * len(rows)  # and each masked text as it is


def test_a_metric_costs_alone_what_it_shares():
    work = texts(WORTH, (2.0, -1.0))
    maps = {method: method(work) for method in (Own(unsigned=True), Own(unsigned=True, sign=2.0))}
    for method, made in maps.items():
        with work.meter.ledger() as ledger:
            RACU().score(work, made, "importance", method)
        assert ledger.standalone.forwards / 2 == 8 * 3 + 9 + 2 + 5 * 9
    assert ledger.paid.forwards / 2 == 8 * 3 + 9
    with work.meter.ledger() as ledger:
        Masked().steps(work, made, method)
    assert ledger.paid.forwards == 0


def test_only_maps_with_a_sign_or_without():
    """What is refused costs nothing; sentinels and importance of unknown origin are measured by both."""
    work, everywhere = texts(WORTH), torch.ones(1, dtype=torch.bool)
    for metric, method, reason in ((ACU(), Own(unsigned=True), "unsigned"), (RACU(), Own(), "signed")):
        made = method(work)
        before = work.meter.forwards
        assert metric.undefined(work, made, method.units)[reason] == everywhere
        assert metric.undefined_with(work, method) == {}
        assert bool(metric.score(work, made, method.units, method).isnan().all())
        assert work.meter.forwards == before
    for metric in (ACU(), RACU()):
        chance, other = Random()(work), torch.ones(1, 1, 12)
        for made in (chance, other):
            assert {"signed", "unsigned"}.isdisjoint(metric.undefined(work, made, "importance"))
            assert bool(metric(work, made, Random(), "importance").isfinite().all())
    assert "signed" in RACU().undefined(work, torch.ones(1, 1, 12), "contribution")


@dataclass(frozen=True)
class Broken(Own):
    """Gives nothing for a text of less than 9 tokens."""

    def attribute(self, explicand):
        few = explicand.present.sum(1) < 9
        return explicand.inputs.masked_fill(few[:, None, None], torch.nan)


def test_a_map_of_a_masked_text_that_is_not_finite():
    work = texts(WORTH, WORTH[:9])
    made = Broken()(work)
    values = ACU().score(work, made, "contribution", Broken())
    assert bool(values.isnan().any(1).all())
    assert ACU().undefined_with(work, Broken())["map of a masked input not finite"].tolist() == [True, True]
    assert Masked(2).steps(work, made, Broken()).min() >= 0  # not asked again


def test_too_costly():
    work = texts(WORTH)
    made = Own()(work)
    metric = ACU(budget=2)
    assert metric.undefined(work, made, "contribution")["skipped: cost"].tolist() == [True]
    before = work.meter.forwards
    assert bool(metric.score(work, made, "contribution", Own()).isnan().all())
    assert work.meter.forwards == before


def test_neighbors_and_batches_do_not_matter():
    rows = (WORTH, (2.0, -1.0, 1.0, -2.0), (1.0, -3.0, 2.0))
    method = IntegratedGradients(3)
    together = curve(ACU(), texts(*rows), method)
    in_ones = curve(ACU(), texts(*rows, batch_size=1), method)
    for found, other in zip(together, in_ones, strict=True):
        assert torch.equal(found, other)
    (alone, _) = curve(ACU(), texts(rows[1], names=ids(2)[1:]), method)
    assert torch.equal(alone[0], together[0][1])


def test_images_by_patches():
    """A linear model of 2 x 2 patches: each is removed whole, black, the most important first, two at each step."""
    weights = torch.zeros(8, 8)
    weights[:2, :2], weights[6:, 6:], weights[4:6, :2] = 3.0, 1.0, -1.0
    images = 0.5 + random(2, 3, 8, 8) / 4
    classifier = Classifier(linear(weights, -4.0), batch_size=3)
    work = classifier.explicand(images, 0, ids(2))
    method = FeatureAblation(grid=4)
    metric = ACU(ratios=8, grid=4)
    steps = metric.steps(work, method(work), method)
    assert steps[0].view(4, 4)[0, 0] == 1  # then many worth nothing, at random
    assert steps[0].view(4, 4)[3, 3] == 1
    assert steps[0].view(4, 4)[2, 0] == 8
    found, chance = curve(metric, work, method)
    assert found.tolist() == [[1.0, *[0.0] * 8]] * 2
    assert bool((chance[:, 0] == 1).all())
    assert bool((chance[:, -1] == 0).all())


def test_deletion_is_not_read():
    """A deleted token is no longer attended when the method is asked again, and no number of it is left."""
    SEEN.clear()
    work = texts((2.0, -1.0, 1.0, -2.0, 5.0))
    found, _ = curve(ACU(removal="deletion"), work, Own())
    assert all(bool(rest.inputs.isfinite().all()) for rest in SEEN)
    assert torch.equal(read(work) & ~read(SEEN[-1]), there(work) & ~there(SEEN[-1]))
    expected, _ = curve(ACU(), texts((2.0, -1.0, 1.0, -2.0, 5.0)), Own())  # the mask token is worth nothing
    assert torch.equal(found, expected)


def test_nothing_waits_and_meta():
    work = texts(WORTH, (2.0, -1.0))
    with no_waiting():
        curve(ACU(), work, IntegratedGradients(2))
    classifier = Classifier(Sum(), device="meta", modality=work.classifier.modality)
    shown = (values.to("meta") for values in (work.present, work.attended))
    there = dict(zip(("present", "attended"), shown, strict=True))
    far = classifier.explicand(work.inputs.to("meta"), 0, ids(2), **there)
    assert torch.cat(curve(ACU(), far, IntegratedGradients(2)), 1).shape == (2, 22)


class TestAreas:
    """One number of many samples."""

    grid = torch.linspace(0, 1, 11)

    def values(self, method, chance):
        return torch.stack([torch.cat((torch.as_tensor(method), torch.as_tensor(chance)))])

    def test_known_answers(self):
        """Where chance falls linearly from 1 to .5 the best is .9, the worst -.9, chance itself 0."""
        chance = 1 - self.grid / 2
        best, worst = torch.full((11,), 0.5), torch.ones(11)
        best[0], worst[-1] = 1.0, 0.5
        assert RACU().aggregate(self.values(best, chance)) == pytest.approx(0.9)
        assert RACU().aggregate(self.values(worst, chance)) == pytest.approx(-0.9)
        assert RACU().aggregate(self.values(chance, chance)) == 0
        assert ACU().aggregate(self.values(best, chance)) == pytest.approx(0.9 / 4)
        assert ACU().aggregate(self.values(chance, chance)) == 0
        assert RACU().reachable(self.values(chance, chance)) == pytest.approx(0.9)

    def test_reachable_is_reached_on_any_curve(self):
        chance = torch.tensor([0.9, 0.9, 0.8, 0.4, 0.5, 0.3])
        best = torch.tensor([0.9, *[0.3] * 5])
        found = self.values(best, chance)
        assert RACU(5).aggregate(found) == pytest.approx(RACU(5).reachable(found))

    def test_signs_may_go_below_the_floor(self):
        chance = 1 - self.grid / 2
        below = torch.zeros(11)
        below[0], below[-1] = 1.0, 0.5
        assert RACU().aggregate(self.values(below, chance)) > 1

    def test_affine_rescaling(self):
        values = random(40, 22)
        values[:, 11:] = 1 - self.grid * (0.5 + values[:, 11:] / 4)
        values[:, 10] = values[:, 21]
        assert RACU().aggregate(3 * values - 1) == pytest.approx(RACU().aggregate(values))
        assert ACU().aggregate(3 * values - 1) == pytest.approx(3 * ACU().aggregate(values))

    def test_curves_are_pooled_before_they_are_divided(self):
        """The ratio of means, not the mean of ratios."""
        chance = torch.stack((1 - self.grid, torch.cat((torch.ones(10), torch.zeros(1)))))
        method = torch.stack((torch.tensor([1.0, *[0.0] * 10]), chance[1]))
        expected = (0.5 - 0.05) / (0.5 + 0.95)
        assert RACU().aggregate(torch.cat((method, chance), 1)) == pytest.approx(expected)

    def test_flat_curves_are_not_divided_by(self):
        flat = self.values(1 - self.grid, torch.ones(11))
        assert math.isnan(RACU().aggregate(flat))
        assert math.isnan(RACU().reachable(flat))
        assert ACU().aggregate(flat) == pytest.approx(0.5)
        rising = self.values(1 - self.grid, self.grid)
        assert math.isnan(RACU().aggregate(rising))

    def test_noise_is_not_divided_by(self):
        """One text in 20 falls, another rises: their areas are 1 standard error from 0."""
        chance = torch.ones(20, 11)
        chance[0] = 1 - self.grid
        chance[1:3, -1] = 0
        chance[3:5, :-1] = 0
        values = torch.cat((chance, chance), 1)
        assert math.isnan(RACU().aggregate(values))
        assert not math.isnan(RACU().aggregate(torch.cat((chance[:3], chance[:3]), 1)))

    def test_undefined_samples_are_left_out(self):
        values = torch.cat((random(5, 22), torch.full((2, 22), torch.nan)))
        for metric in (ACU(), RACU()):
            assert metric.aggregate(values) == pytest.approx(metric.aggregate(values[:5]), nan_ok=True)


def test_bad_options():
    with pytest.raises(ValueError, match="RACU: ratios must be at least 2, got 1"):
        RACU(1)
    with pytest.raises(ValueError, match="ACU: seeds must be at least 1, got 0"):
        ACU(seeds=0)
