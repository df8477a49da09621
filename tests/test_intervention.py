"""Scores of scenes drawn anew: right, counted, shared by all who ask, and never drawn twice."""

import itertools

import pytest
import torch
from part_worlds import BACK, CLASSES, SIDE, Squares, Use, bound, parts_of, shown, square

from xaieval.classifier import Classifier
from xaieval.intervention import drawn_parts, effects, shown_class, without, without_objects

WEIGHTS = (1.0, 2.0, 3.0, 4.0, 5.0, 0.0)


def scenes():
    return [shown(0), shown(1, drawn=(0, 1, 3, 4)), shown(2, under=(2,)), shown(3, objects=1)]


def subsets():
    sets = [set(parts) for size in range(6) for parts in itertools.combinations(range(5), size)]
    return sets, torch.tensor([[part in parts for part in range(6)] for parts in sets])


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_every_subset_of_parts_as_one_by_one(batch_size):
    worlds, model = scenes(), Use(WEIGHTS, (0.5, 0.0), power=1.5)
    sets, gone = subsets()
    found = without(bound(model, worlds, batch_size=batch_size), gone.expand(4, -1, -1))
    with torch.no_grad():
        expected = [[model(world.image(without=tuple(parts))[None])[0] for parts in sets] for world in worlds]
    torch.testing.assert_close(found, torch.stack([torch.stack(rows) for rows in expected]))


def test_a_part_that_is_not_drawn_changes_nothing_and_costs_nothing():
    model = Use(WEIGHTS)
    where = bound(model, [shown(1, drawn=(0, 1, 3, 4))])
    spent = where.logits, model.seen
    gone = torch.zeros(1, 2, 6, dtype=torch.bool)
    gone[0, 0, 2], gone[0, 1, 5] = True, True
    assert torch.equal(without(where, gone), where.logits[:, None].expand(-1, 2, -1))
    assert model.seen == spent[1]
    assert drawn_parts(where).tolist() == [[True, True, False, True, True, False]]


def test_effects_of_an_additive_model_are_its_weights():
    where = bound(Use(WEIGHTS), scenes(), target=[0, 1, 2, 3])
    expected = torch.tensor(WEIGHTS).repeat(4, 1)
    expected[1, 2] = expected[2, 2] = 0  # not drawn, and hidden
    torch.testing.assert_close(effects(where), expected)


def test_nothing_is_scored_or_drawn_twice():
    model = Use(WEIGHTS)
    where = bound(model, scenes())
    gone = subsets()[1].expand(4, -1, -1)
    first = without(where, gone)
    seen, images, cost = model.seen, Squares.images, where.cost[:2]
    assert seen == 4 * 1 + 3 * 31 + 15  # the scene itself, and 31 subsets; the second scene has four parts
    assert cost == (seen / 4, 0)
    assert torch.equal(without(where, gone), first)
    effects(where)  # the part of no class alone is new in the three scenes that have it
    without(where, ~gone[:, :1])  # and so are all parts at once
    assert model.seen == seen + 3 + 3
    assert Squares.images == images + 3 + 3
    assert where.cost.forwards == model.seen / 4


def test_each_user_pays_its_share():
    where = bound(Use(WEIGHTS), scenes()[:1])
    gone = subsets()[1][None]
    with where.meter.ledger() as first:
        without(where, gone)
    with where.meter.ledger() as second:
        without(where, gone[:, 1:3])
    assert (first.standalone.forwards, first.paid.forwards) == (32, 31)  # the prediction was known
    assert second.standalone.forwards == pytest.approx(3)  # the scene and two sets
    assert second.paid.forwards == 0
    assert 0 < second.standalone.seconds < first.standalone.seconds


def test_no_more_images_at_once_than_the_model_takes():
    class Largest(Use):
        most = 0

        def forward(self, x):
            self.most = max(self.most, len(x))
            return super().forward(x)

    model = Largest(WEIGHTS)
    without(bound(model, scenes(), batch_size=3), subsets()[1].expand(4, -1, -1))
    assert model.most == 3


def test_objects_are_found_by_what_changes():
    worlds = scenes()
    where = bound(Use(WEIGHTS, (2.0, 1.0)), worlds, target=0)
    found = without_objects(where)
    masks = torch.zeros(4, 2, SIDE, SIDE, dtype=torch.bool)
    masks[:, 0][:, *square((18, 2))] = True
    masks[:3, 1][:, *square((18, 10))] = True
    assert torch.equal(found.masks, masks)
    assert found.seen.tolist() == [[True, True], [True, True], [True, True], [True, False]]
    drop = where.logits[:, None] - found.logits
    expected = torch.tensor([[2.0, 1.0]] * 3 + [[2.0, 0.0]])
    torch.testing.assert_close(drop, expected[:, :, None].expand(-1, -1, 4))
    seen = where.cost.forwards
    assert without_objects(where) is found
    assert where.cost.forwards == seen == (4 + 7) / 4


def test_scenes_without_objects():
    found = without_objects(bound(Use(WEIGHTS), [shown(0, objects=0)]))
    assert found.logits.shape == (1, 0, 4)
    assert found.masks.shape == (1, 0, SIDE, SIDE)


def test_shown_class():
    odd = Squares((0, 0, 1, 1, 3, 0))
    worlds = [shown(0), shown(3), odd, shown(1, drawn=(0, 1))]
    assert shown_class(bound(Use(WEIGHTS), worlds, target=[0, 1, 2, 0])).tolist() == [0, 3, -1, 0]
    assert shown_class(bound(Use(WEIGHTS), worlds, target=[1, 3, 2, 1])).tolist() == [0, 3, -1, 1]  # or the other
    assert len(CLASSES) == 4


def test_another_size_is_refused():
    world = shown(0)
    inputs = torch.full((1, 3, SIDE, SIDE + 2), BACK)
    parts = parts_of([world]).each(lambda rows: rows if rows.dim() < 4 else torch.nn.functional.pad(rows, (0, 2)))
    where = Classifier(Use(WEIGHTS)).explicand(inputs, parts=parts, worlds=[world])
    with pytest.raises(ValueError, match=r"drawn anew as \(3, 24, 24\), expected \(3, 24, 26\)"):
        effects(where)


def test_without_worlds_it_says_so():
    where = Classifier(Use(WEIGHTS)).explicand(torch.rand(1, 3, SIDE, SIDE))
    with pytest.raises(ValueError, match="cannot be drawn anew"):
        effects(where)


def test_copies_are_drawn_for_themselves():
    where = bound(Use(WEIGHTS), scenes(), target=[0, 1, 2, 3])
    for batch in where.batches(2):
        copies = batch.copies(batch.inputs)
        torch.testing.assert_close(effects(copies), batch.of_rows(effects(where)))
