"""Curves against a loop over patches."""

import itertools

import pytest
import torch
from known_answers import Smooth, bind, ids, linear, normal, random

from xaieval.curve import Curve
from xaieval.scores import NAMES, Scores
from xaieval.segments import segments_of

SIZE = (9, 12)


def explicand(count=3, **options):
    return bind(Smooth(), random(count, 3, *SIZE), ids=ids(count), batch_size=5, **options)


def slow_curve(work, attribution, grid, steps, removal, direction):
    """Probabilities `(N, steps + 1)`, one patch after the other, from sums with loops; no ties."""
    rows, columns = (min(grid, side) for side in SIZE)
    steps = min(steps, rows * columns)
    other = work.removal(removal).values
    table = torch.empty(work.count, steps + 1)
    for sample in range(work.count):
        patches: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for y, x in itertools.product(*map(range, SIZE)):
            patches.setdefault((y * rows // SIZE[0], x * columns // SIZE[1]), []).append((y, x))
        sums = {one: sum(attribution[sample, :, y, x].sum().item() for y, x in patches[one]) for one in patches}
        order = sorted(patches, key=sums.__getitem__, reverse=True)
        for step in range(steps + 1):
            first = order[: round(step / steps * len(order))]
            shown = work.inputs[sample].clone() if direction == "deletion" else other[sample].clone()
            for y, x in itertools.chain.from_iterable(patches[patch] for patch in first):
                shown[:, y, x] = (other if direction == "deletion" else work.inputs)[sample, :, y, x]
            with torch.no_grad():
                table[sample, step] = Smooth()(shown[None]).softmax(1)[0, work.target[sample]]
    return table


@pytest.mark.parametrize(("grid", "steps"), [(3, 9), (4, 5), (4, 1), (14, 7), (3, 100)])
@pytest.mark.parametrize("direction", ["deletion", "insertion"])
@pytest.mark.parametrize("removal", ["zero", "blur"])
def test_curve_by_a_loop(grid, steps, direction, removal):
    work, attribution = explicand(target=[0, 1, 2]), normal(3, 3, *SIZE)
    curve = work.curve(attribution, grid, steps, removal, direction)
    expected = slow_curve(work, attribution, grid, steps, removal, direction)
    torch.testing.assert_close(curve.scores.probability, expected, rtol=1e-4, atol=1e-5)
    areas = [sum((a + b) / 2 for a, b in itertools.pairwise(row)) / (len(row) - 1) for row in expected.tolist()]
    if steps in (9, 1, 100):  # equal steps
        torch.testing.assert_close(curve.area(), torch.tensor(areas), rtol=1e-4, atol=1e-5)


def test_fractions_are_those_of_the_patches():
    curve = explicand().curve(normal(3, 1, *SIZE), grid=3, steps=4)
    torch.testing.assert_close(curve.fraction[1], torch.tensor([0, 2, 4, 7, 9]) / 9)  # 2.25, 4.5 and 6.75 of 9, rounded
    finest = explicand().curve(normal(3, 1, *SIZE), grid=3, steps=50)
    torch.testing.assert_close(finest.fraction[0], torch.arange(10) / 9)


def test_points_may_be_parts_of_the_patches():
    """Each at least one patch: 1 % of 12 is one."""
    work, attribution = explicand(), normal(3, 1, *SIZE)
    curve = work.curve(attribution, grid=4, steps=(0.01, 0.25, 0.6), removal="blur")
    torch.testing.assert_close(curve.fraction[1], torch.tensor([0, 1, 4, 10, 16]) / 16)
    every = work.curve(attribution, grid=4, steps=16, removal="blur")
    torch.testing.assert_close(curve.scores.values, every.scores.values[:, [0, 1, 4, 10, 16]], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("removal", ["zero", "mean", "blur"])
def test_an_insertion_read_backwards_removes_the_lowest_patches_first(removal):
    """The lowest first is the order of the negated map, where there are no ties."""
    work, attribution = explicand(), normal(3, 1, *SIZE)
    backwards = work.curve(attribution, 4, 8, removal, "insertion").scores.values.flip(1)
    torch.testing.assert_close(backwards, work.curve(-attribution, 4, 8, removal).scores.values, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("direction", ["deletion", "insertion"])
def test_superpixels_go_in_the_order_of_their_means(direction):
    """Against a loop; where an image has fewer superpixels than there are steps, some steps remove nothing."""
    work, attribution = explicand(), normal(3, 1, *SIZE)
    labels = segments_of(work, "slic", 3).labels
    found = work.curve(attribution, 3, 9, "mean", direction, segments="slic")
    other = work.removal("mean").values
    for sample in range(3):
        numbers = labels[sample].unique()
        means = {int(one): attribution[sample, 0][labels[sample] == one].mean() for one in numbers}
        order = sorted(means, key=means.__getitem__, reverse=True)
        for step in range(10):
            first = sum((labels[sample] == one for one in order[: round(step / 9 * len(order))]), torch.zeros(SIZE))
            shown = torch.where((first > 0) == (direction == "deletion"), other[sample], work.inputs[sample])
            with torch.no_grad():
                expected = Smooth()(shown[None]).softmax(1)[0, work.target[sample]]
            torch.testing.assert_close(found.scores.probability[sample, step], expected, rtol=1e-4, atol=1e-5)
            assert found.fraction[sample, step] == round(step / 9 * len(order)) / len(order)


def test_unknown_segments_are_refused():
    with pytest.raises(ValueError, match="curve: segments must be one of slic, grid, got 'words'"):
        explicand().curve(normal(3, 1, *SIZE), segments="words")


def test_the_area_is_a_trapezoid_on_0_to_1():
    values = torch.tensor([[[1.0, 0, 0], [0.5, 0, 0], [0.0, 0, 0]]])
    assert Curve(Scores(values), torch.tensor([[0, 0.25, 1.0]])).area("logit").item() == 0.1875 + 0.1875


def test_end_points_are_shared_by_all_curves():
    work = explicand()
    spent = work.cost.forwards
    curves = [
        work.curve(normal(3, 1, *SIZE, seed=seed), grid=4, steps=5, direction=direction)
        for seed in range(3)
        for direction in ("deletion", "insertion")
    ]
    assert work.cost.forwards - spent == 2 + 6 * 4
    for deletion, insertion in zip(curves[::2], curves[1::2], strict=True):
        assert torch.equal(deletion.scores.values[:, 0], work.clean.values)
        assert torch.equal(insertion.scores.values[:, -1], work.clean.values)
        assert torch.equal(deletion.scores.values[:, -1], work.removed("zero").values)
        assert torch.equal(insertion.scores.values[:, 0], work.removed("zero").values)


def test_every_form_of_the_score_comes_from_the_same_forwards():
    work, attribution = explicand(), normal(3, 1, *SIZE)
    curve = work.curve(attribution, grid=4, steps=5)
    spent = work.cost
    for name in NAMES:
        work.curve(attribution, grid=4, steps=5).area(name)
    assert work.cost == spent
    torch.testing.assert_close(curve.scores.log_probability, curve.scores.probability.log(), rtol=1e-4, atol=1e-5)


def test_a_curve_is_kept_for_its_map_and_options_alone():
    work, attribution = explicand(), normal(3, 1, *SIZE)
    first = work.curve(attribution, grid=4, steps=5)
    assert work.curve(attribution, grid=4, steps=5) is first
    others = ({"grid": 3}, {"steps": 4}, {"removal": "mean"}, {"direction": "insertion"}, {"seed": 1})
    for options in (*others, {"steps": (0.5,)}, {"segments": "slic"}):
        assert work.curve(attribution, **{"grid": 4, "steps": 5, **options}) is not first
    attribution[0, 0, 0, 0] += 100
    second = work.curve(attribution, grid=4, steps=5)
    assert second is not first
    assert not torch.equal(second.scores.values, first.scores.values)


def ranks(work, attribution, seed=0, grid=3):
    """The order in which a linear model loses its patches, read from the steps of its curve; `(N, P)`."""
    patches = 2.0 ** torch.arange(9)
    weights = patches.view(3, 3).repeat_interleave(3, 0).repeat_interleave(4, 1) / 12
    work = bind(linear(weights / 3), torch.ones(work, 3, *SIZE), ids=ids(work))
    scores = work.curve(attribution, grid, 9, "zero", "deletion", seed).scores.logit
    return (scores[:, :-1] - scores[:, 1:]).round().log2().long()


def test_ties_are_broken_at_random_per_sample():
    orders = ranks(400, torch.ones(400, 1, *SIZE))
    assert (orders.sort(1).values == torch.arange(9)).all()
    for place in range(9):
        shares = torch.bincount(orders[:, place], minlength=9) / 400
        torch.testing.assert_close(shares, torch.full((9,), 1 / 9), rtol=0, atol=4 * (8 / 81 / 400) ** 0.5)


def test_ties_depend_on_the_seed_and_the_id_alone():
    constant = torch.ones(5, 1, *SIZE)
    assert torch.equal(ranks(5, constant), ranks(5, constant))
    assert torch.equal(ranks(5, constant)[:2], ranks(2, constant[:2]))
    assert torch.equal(ranks(5, constant), ranks(5, 7 * constant))
    assert not torch.equal(ranks(5, constant), ranks(5, constant, seed=1))


def test_ties_between_some_patches_leave_the_others_in_order():
    scores = torch.tensor([3.0, 1, 1, 1, 5, 1, 1, 4, 2]).view(1, 1, 3, 3)
    maps = scores.repeat_interleave(3, 2).repeat_interleave(4, 3).expand(50, -1, -1, -1)
    orders = ranks(50, maps.contiguous())
    assert (orders[:, :4] == torch.tensor([4, 7, 0, 8])).all()
    assert (orders[:, 4:].sort(1).values == torch.tensor([1, 2, 3, 5, 6])).all()
    assert len({tuple(order) for order in orders.tolist()}) > 25


def test_absent_patches_are_never_removed_and_do_not_count():
    present = torch.ones(2, *SIZE, dtype=torch.bool)
    present[0, :, 4:] = False  # a column of three patches is left
    work = bind(linear(torch.ones(3, *SIZE)), torch.ones(2, 3, *SIZE), ids=ids(2), present=present)
    curve = work.curve(normal(2, 1, *SIZE), grid=3, steps=3)
    removed = (curve.scores.logit[:, :1] - curve.scores.logit).round() / 36
    assert removed[0].tolist() == [0, 1, 2, 3]
    assert removed[1].tolist() == [0, 3, 6, 9]
    torch.testing.assert_close(curve.fraction, torch.tensor([[0, 1, 2, 3], [0, 1, 2, 3]]) / 3)


def test_a_single_pixel_is_one_step():
    work = bind(Smooth(), random(2, 3, 1, 1))
    curve = work.curve(torch.ones(2, 1, 1, 1))
    assert curve.fraction.tolist() == [[0, 1], [0, 1]]


# -- the forms of a score --


def test_scores_are_those_of_torch():
    logits, target = 5 * normal(20, 7), torch.arange(20) % 7
    scores = Scores.read(logits, target)
    chosen = target[:, None]
    torch.testing.assert_close(scores.logit, logits.gather(1, chosen)[:, 0])
    torch.testing.assert_close(scores.log_probability, logits.log_softmax(1).gather(1, chosen)[:, 0])
    torch.testing.assert_close(scores.probability, logits.softmax(1).gather(1, chosen)[:, 0])
    rival = logits.masked_fill(torch.nn.functional.one_hot(target, 7).bool(), -torch.inf).amax(1)
    torch.testing.assert_close(scores.margin, logits.gather(1, chosen)[:, 0] - rival)
    for name in NAMES:
        assert torch.equal(scores.of(name), getattr(scores, name))


def test_a_score_without_a_name_is_refused():
    with pytest.raises(
        ValueError, match="score must be one of logit, log_probability, probability, margin, got 'loss'"
    ):
        Scores.read(normal(2, 3), torch.tensor([0, 1])).of("loss")


def test_scores_of_large_logits_are_finite():
    scores = Scores.read(torch.tensor([[1e4, 0.0], [0.0, 1e4]]), torch.tensor([0, 0]))
    assert scores.probability.tolist() == [1, 0]
    assert scores.log_probability.tolist() == [0, -1e4]
