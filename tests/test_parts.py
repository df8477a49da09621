"""What is told of a sample's parts goes with it to the explicand, its parts and its copies."""

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch

from xaieval import Classifier
from xaieval.attributions.gradient import Gradient
from xaieval.collate import collate
from xaieval.datasets.base import Sample
from xaieval.laws import part_toys, toys
from xaieval.metrics.sparseness import Sparseness
from xaieval.parts import Parts, Scheme
from xaieval.plan import Cell, Part, Subject, chunks

TOLD = part_toys.told(3)


def one(parts, row):
    """What is told of one sample of a batch."""
    return parts.each(lambda values: values[row])


def samples(changed=None):
    parts = [one(TOLD["parts"], row) for row in range(3)]
    if changed is not None:
        parts[1] = changed
    rows = zip(toys.images(3), parts, TOLD["worlds"], strict=True)
    return [
        Sample(f"s{n}", image, n, None, (f"s{n}",), None, known, world) for n, (image, known, world) in enumerate(rows)
    ]


def bound(count=3):
    classifier = Classifier(toys.seeded(toys.General), batch_size=2)
    return classifier.explicand(target=0, **collate(samples()[:count]))


def test_samples_become_one_batch():
    work = bound()
    for name in ("centers", "visible", "concepts", "masks"):
        assert torch.equal(getattr(work.parts, name), getattr(TOLD["parts"], name))
    assert list(work.worlds) == TOLD["worlds"]


def test_rows_are_chosen_with_their_samples():
    work, rows = bound(), [2, 0]
    part = work.part(torch.tensor(rows), rows)
    assert torch.equal(part.parts.masks, TOLD["parts"].masks[rows])
    assert list(part.worlds) == [TOLD["worlds"][row] for row in rows]
    assert torch.equal(work.retargeted(torch.tensor([1, 1, 1])).parts.concepts, TOLD["parts"].concepts)


def test_copies_have_the_parts_of_their_samples():
    work = bound()
    seen: list[tuple[Any, Any]] = []
    for batch in work.batches(3):
        copies = batch.copies(batch.inputs)
        seen += zip(copies.parts.centers, copies.worlds, strict=True)
    assert len(seen) == 9
    for number, (centers, world) in enumerate(seen):
        assert torch.equal(centers, TOLD["parts"].centers[number // 3])
        assert world is TOLD["worlds"][number // 3]


def test_samples_of_which_some_tell_nothing_tell_nothing():
    plain = Sample("plain", toys.images(1)[0], 0, None, ("plain",))
    assert {"parts", "worlds"} & set(collate([*samples(), plain])) == set()


def test_samples_of_which_less_is_told_have_their_own_chunk():
    """Mask, parts and world, each there or not: what some samples of a chunk lack, collate would take from all."""
    mask, known, world = (
        torch.ones(toys.images(1).shape[2:], dtype=torch.bool),
        one(TOLD["parts"], 0),
        TOLD["worlds"][0],
    )
    kinds = list(itertools.product((None, mask), (None, known), (None, world)))
    subjects = []
    for number, (image, told) in enumerate(zip(toys.images(16), kinds * 2, strict=True)):
        sample = Sample(f"s{number}", image, 0, told[0], (f"s{number}",), None, *told[1:])
        subjects.append(Subject.of(number, sample, "d", "predicted"))
    method, metric = Part.of("gradient", Gradient()), Part.of("sparseness", Sparseness())
    found = chunks([Cell(subject, method, metric, subject.id) for subject in subjects])
    shared = [[subject.index for subject in chunk.subjects] for chunk in found]
    assert shared == [[number, number + 8] for number in range(8)]


def test_different_schemes_are_refused():
    other = Scheme(("a",) * 5, part_toys.SCHEME.concepts, part_toys.SCHEME.part_of)
    first = one(TOLD["parts"], 1)
    changed = Parts(other, first.centers, first.visible, first.concepts, first.masks)
    with pytest.raises(ValueError, match="the same parts and concepts, all with masks or all without, got 2 schemes"):
        collate(samples(changed))


@pytest.mark.parametrize(
    ("part_of", "message"), [((0,), "for each of the 2 concepts, got 1"), ((0, 2), "must lie in -1 to 1")]
)
def test_schemes_are_checked(part_of, message):
    with pytest.raises(ValueError, match=message):
        Scheme(("beak", "tail"), ("red", "blue"), part_of)


def test_parts_of_other_inputs_are_refused():
    classifier = Classifier(toys.seeded(toys.General))
    with pytest.raises(ValueError, match=r"parts must belong to the inputs .* got those of 3 samples"):
        classifier.explicand(toys.images(2), 0, parts=TOLD["parts"])


def test_rows_depend_on_what_is_told():
    """On the mask, and on every field of the parts, names included."""
    known, drawn = one(TOLD["parts"], 0), one(TOLD["parts"], 0).masks
    assert drawn is not None
    scheme = Scheme(known.scheme.parts[::-1], known.scheme.concepts, known.scheme.part_of)
    changed = [
        replace(known, scheme=scheme),
        replace(known, centers=known.centers + 1),
        replace(known, visible=known.visible * 0),
        replace(known, concepts=~known.concepts),
        replace(known, masks=~drawn),
        replace(known, masks=None),
    ]
    told: list[tuple[Any, Any]] = [(None, None), (None, known), (drawn[0], None), (drawn[0], known), (drawn[1], known)]
    told += [(None, parts) for parts in changed]
    keys = [
        Subject.of(0, Sample("s", toys.images(1)[0], 0, mask, ("s",), None, parts), "d", "predicted").mask
        for mask, parts in told
    ]
    assert keys[0] is None
    assert len(set(keys)) == len(told)


def test_toy_classes_share_two_parts_with_two_others():
    for row in part_toys.CLASSES:
        shared = [{p for p in range(5) if row[p] == other[p]} for other in part_toys.CLASSES if other is not row]
        pairs = [found for found in shared if len(found) == 2]
        assert len(pairs) == 2
        assert not pairs[0] & pairs[1]
