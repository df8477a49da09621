"""Beam search against brute force, a greedy search of its own, and on models of known order."""

from itertools import combinations, permutations

import numpy as np
import pytest
import torch
from known_answers import Model, bind, ids, normal, random
from networks import TARGET, explained, network
from text_models import (
    LENGTH,
    MASK,
    PAD,
    SIZES,
    WORDS,
    Attending,
    TextModel,
    additive,
    embeddings,
    present,
    text,
)

from xaieval.attributions.beam_search import BeamSearch
from xaieval.attributions.feature_ablation import FeatureAblation
from xaieval.classifier import Classifier
from xaieval.laws.toys import seeded
from xaieval.modalities.texts import Texts

SHOWN = present()


class Sets(torch.nn.Module):
    """Logits (f, 0) of which f is a table's entry for the set of pieces that are black: n pixels in a row."""

    table: torch.Tensor

    def __init__(self, count, seed=0, table=None):
        super().__init__()
        self.count, self.asked = count, []
        values = normal(2**count, seed=seed) if table is None else torch.tensor(table)
        self.register_buffer("table", values)

    def forward(self, x):
        gone = (x[:, 0, 0] == 0).long() @ (2 ** torch.arange(self.count))
        self.asked += gone.tolist()
        score = self.table[gone]
        return torch.stack((score, torch.zeros_like(score)), 1)

    def without(self, pieces):
        return float(self.table[sum(2**piece for piece in pieces)])

    def value(self, order):
        """The sum that beam search maximizes, less `n f(x)`."""
        return -sum(self.without(order[: length + 1]) for length in range(len(order)))


def order_of(importance, shown=None):
    """The pieces in the order removed."""
    places = [number for number in range(len(importance)) if shown is None or bool(shown[number])]
    return sorted(places, key=lambda place: -float(importance[place]))


def row_of(model, beams):
    """The order found for n pixels in a row."""
    work = bind(model, torch.ones(1, 1, 1, model.count))
    model.asked = []
    importance = BeamSearch(beams, grid=model.count)(work)[0, 0, 0]
    assert sorted(importance.tolist()) == list(range(1, model.count + 1))
    return order_of(importance), work


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [2, 4, 5])
def test_with_beams_for_all_sets_it_is_brute_force(count, seed):
    model = Sets(count, seed)
    found, work = row_of(model, 10)
    best = max(permutations(range(count)), key=model.value)
    assert tuple(found) == best
    # Each set but none and all was evaluated once, and counted.
    assert sorted(model.asked) == list(range(1, 2**count - 1))
    assert work.cost[:2] == (2**count - 2, 0)


@pytest.mark.parametrize("seed", range(5))
def test_one_beam_is_greedy(seed):
    model = Sets(6, seed)
    found, work = row_of(model, 1)
    order: list[int] = []
    left = list(range(6))
    while left:
        order.append(min(left, key=lambda piece: model.without([*order, piece])))
        left.remove(order[-1])
    assert found == order
    assert work.cost[:2] == (6 * 7 / 2 - 1, 0)


def slow(model, beams, merge=True):
    """Beam search as one would write it down: lists of orders, sorted, and the sets that it evaluates."""
    kept: list[tuple[tuple[int, ...], float]] = [((), 0.0)]
    evaluated = set()
    for _ in range(model.count - 1):
        children, reached = [], set()
        for order, value in kept:
            for piece in range(model.count):
                if piece in order:
                    continue
                child = frozenset((*order, piece))
                if merge and child in reached:
                    continue
                reached.add(child)
                evaluated.add(child)
                children.append(((*order, piece), value - model.without(child)))
        kept = sorted(children, key=lambda entry: -entry[1])[:beams]
    order = kept[0][0]
    return [*order, *(piece for piece in range(model.count) if piece not in order)], evaluated


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("beams", [2, 3, 5, 8])
def test_it_is_what_one_would_write_down(beams, seed):
    """The same order, from the same evaluations."""
    model = Sets(7, seed)
    found, work = row_of(model, beams)
    order, evaluated = slow(model, beams)
    assert found == order
    assert len(model.asked) == work.meter.forwards == len(evaluated)
    assert set(model.asked) == {sum(2**piece for piece in pieces) for pieces in evaluated}


def test_merged_sets_leave_room_for_others():
    """The two orders of {0, 1} would be the two beams; merged, {2, 3} has a place, and leads to the best order."""
    table = [0.0] * 16

    def put(value, *pieces):
        table[sum(2**piece for piece in pieces)] = value

    for piece, value in enumerate((-3.0, -2.9, -2.5, 0.0)):
        put(value, piece)
    put(-5.0, 0, 1)
    put(-4.0, 0, 2)
    put(1.0, 1, 2)
    put(1.0, 1, 3)
    for pieces in combinations(range(4), 3):
        put(9.0, *pieces)
    put(-9.0, 0, 2, 3)
    model = Sets(4, table=table)
    with_merging, without = slow(model, 2)[0], slow(model, 2, merge=False)[0]
    assert with_merging[:3] == [0, 2, 3]
    assert without[:2] == [0, 1]
    assert model.value(with_merging) > model.value(without)
    assert row_of(model, 2)[0] == with_merging


def test_more_beams_may_be_better():
    """A piece that does nothing alone, and all with a second one."""
    model = Model(lambda x: x[:, 0, 0, 0].maximum(x[:, 0, 0, 1]) * 5 + x[:, 0, 0, 2])
    greedy, wide = (
        order_of(BeamSearch(beams, grid=3)(bind(model, torch.ones(1, 1, 1, 3)))[0, 0, 0]) for beams in (1, 10)
    )
    assert greedy == [2, 0, 1]
    assert wide == [0, 1, 2]


def test_ties_go_to_the_earlier_piece():
    model = Sets(5, table=[1.0] * 32)
    for beams in (1, 3, 10):
        assert row_of(model, beams)[0] == [0, 1, 2, 3, 4]


# -- texts --


def test_an_additive_text_is_ordered_by_the_effects():
    """As leaving one out orders it; special tokens and padding have no place."""
    work = text(additive())
    effects = FeatureAblation()(work)[:, 0]
    for beams in (1, 4, 50):
        found = BeamSearch(beams)(work)[:, 0]
        for row in range(3):
            assert order_of(found[row], SHOWN[row]) == order_of(effects[row], SHOWN[row])
            assert sorted(found[row][SHOWN[row]].tolist()) == list(range(1, int(SHOWN[row].sum()) + 1))
        assert not found[~SHOWN].any()


def test_words_are_removed_together():
    """A word's importance is shared among its tokens."""
    work = text(additive(), groups=WORDS)
    words = work.patches(1)
    found, effects = (words.sum(method(work)[:, 0]) for method in (BeamSearch(4), FeatureAblation()))
    for row, number in enumerate((3, 2, 2)):
        assert order_of(found[row], words.present[row]) == order_of(effects[row], words.present[row])
        assert sorted(found[row][words.present[row]].tolist()) == pytest.approx(range(1, number + 1))
    tokens = BeamSearch(4)(work)[0, 0]
    assert tokens[1] == tokens[2]
    assert tokens[4] == tokens[5]


@pytest.mark.parametrize("removal", ["zero", "pad_token", "zero_embedding", "deletion"])
def test_a_text_alone_is_that_text_among_others(removal):
    """Padding costs nothing, and changes nothing; the search is the one of the sets' own scores."""
    module = Texted(seeded(Attending))
    work = text(module, target=[0, 1, 2], batch_size=8)
    module.forwards = 0
    together = BeamSearch(3, removal=removal)(work)
    assert module.forwards == work.meter.forwards
    spent = 0
    for row, size in enumerate(SIZES):
        part = slice(size)
        classifier = Classifier(seeded(Attending), modality=Texts(mask=MASK, padding=PAD), batch_size=5)
        one = classifier.explicand(
            embeddings()[row : row + 1, :, part],
            row,
            ids(1),
            present=SHOWN[row : row + 1, part],
            attended=torch.ones(1, size, dtype=torch.bool),
        )
        alone = BeamSearch(3, removal=removal)(one)
        assert torch.equal(together[row : row + 1, :, part], alone)
        spent += one.meter.forwards
    assert work.meter.forwards == spent


class Texted(torch.nn.Module):
    """Counts the texts that pass."""

    def __init__(self, module):
        super().__init__()
        self.module, self.forwards, self.sizes = module, 0, []

    def forward(self, inputs, attended):
        self.forwards += len(inputs)
        self.sizes.append(len(inputs))
        return self.module(inputs, attended)


def test_batches_are_full_across_texts_and_beams():
    module = Texted(seeded(Attending))
    work = text(module, batch_size=6)
    module.sizes = []
    BeamSearch(4)(work)
    sizes, steps = list(module.sizes), [5 + 3 + 2, *module_counts(work)]
    assert sum(sizes) == work.meter.forwards == sum(steps)
    expected = [size for step in steps for size in [6] * (step // 6) + [step % 6] * (step % 6 > 0)]
    assert sizes == expected


def module_counts(work):
    """Different sets that are reached in each step after the first, told by a search of its own for each text."""
    found = [0] * 3
    for row, size in enumerate((5, 3, 2)):
        model = Sets(size, table=[table_of(work, row, bits) for bits in range(2**size)])
        for pieces in slow(model, 4)[1]:
            if len(pieces) > 1:
                found[len(pieces) - 2] += 1
    return found


def table_of(work, row, bits):
    """The logit of a text without the tokens that these bits name, behind the first."""
    places = torch.tensor([bool(bits & (1 << place - 1)) if place else False for place in range(LENGTH)])
    inputs = torch.where(places, MASK[:, None], embeddings()[row])
    return float(work.classifier.logits(inputs[None], work.attended[row : row + 1])[0, 0])


def test_one_token_alone():
    """Its place needs no evaluation."""
    model = TextModel(lambda x, attended: x.sum((1, 2)))
    work = text(model, embeddings(), sizes=(3, 3, 3), present=torch.arange(LENGTH).expand(3, -1) == 1)
    found = BeamSearch()(work)
    assert torch.equal(found[:, 0], (torch.arange(LENGTH) == 1).float().expand(3, -1))
    assert work.cost[:2] == (0, 0)


def test_a_drawn_removal_is_drawn_for_each_set_whatever_the_batch():
    maps = [BeamSearch(3, removal="noise")(text(seeded(Attending), batch_size=size)) for size in (1, 4, 64)]
    assert torch.equal(maps[0], maps[1])
    assert torch.equal(maps[0], maps[2])


# -- images --


@pytest.mark.parametrize("size", [1, 7, 64])
def test_batch_size_changes_nothing(size):
    inputs = random(3, 3, 16, 20)
    reference = BeamSearch(4, grid=3)(explained(network(), inputs))
    assert torch.equal(BeamSearch(4, grid=3)(explained(network(), inputs, batch_size=size)), reference)
    assert len(TARGET) == len(reference)


def test_a_curve_on_the_same_patches_follows_the_order():
    inputs = random(1, 3, 12, 12)
    work = explained(network(), inputs, target=1)
    found = BeamSearch(6, grid=3)(work)
    curve = work.curve(found, grid=3, steps=9)
    order = order_of(work.patches(3).sum(found[:, 0])[0])
    expected = []
    for number in range(10):
        gone = torch.isin(torch.arange(9), torch.tensor(order[:number], dtype=torch.long)).float()[None]
        kept = inputs * (1 - work.patches(3).spread(gone))
        expected.append(float(work.classifier.logits(kept)[0, 1]))
    np.testing.assert_allclose(curve.scores.logit[0], expected, rtol=1e-5, atol=1e-6)


def test_what_it_says_of_itself():
    assert BeamSearch.whole_order
    assert not BeamSearch().signed
    with pytest.raises(ValueError, match="BeamSearch: beams must be at least 1, got 0"):
        BeamSearch(0)
