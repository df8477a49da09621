"""Scenes: what is told of parts is what is seen, interventions touch nothing else, and options do what they say."""

import itertools
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from scipy.stats import binom

from xaieval.creature import CUES, LOOKS, MARKS, occurs, tells
from xaieval.datasets.preprocess import DatasetError, Preprocess
from xaieval.datasets.scenes import Scenes
from xaieval.drawing import silhouette
from xaieval.scene import CLASSES, PARTS, SCHEME, TELLING, Scene
from xaieval.scene_draws import FOLLOWS, HIDDEN, Chances, draw_scene

CONF = Path(__file__).parents[1] / "conf"
NONE = Chances()
VARIANTS = [len(looks) for looks in LOOKS]


def samples(count, size=64, **options):
    return list(Scenes(count, **options).load(Preprocess(size, size)))


def scenes(count, chances=NONE, name="test"):
    """Scenes that are not drawn into pixels."""
    return [draw_scene((name, number), number % len(CLASSES), 64, chances) for number in range(count)]


def stretched(scene, number):
    """The whole silhouette of a figure in the picture, seen or not."""
    figure = scene.figures()[number][1]
    inside, _, top, left = silhouette(scene.size, figure)
    found = np.zeros((scene.size, scene.size), bool)
    for row, column in np.argwhere(inside):
        if 0 <= row + top < scene.size and 0 <= column + left < scene.size:
            found[row + top, column + left] = True
    return found, int(inside.sum())


def whole(scene, part):
    """The whole silhouette of a part in the picture, and its area in and outside."""
    return stretched(scene, [number for number, _ in scene.figures()].index(part))


def expected_rate(hits, count, probability):
    """Whether a frequency lies in the range that holds all but 1e-6 of draws."""
    low, high = binom.interval(1 - 1e-6, count, probability)
    return low <= hits <= high


@pytest.fixture(scope="module")
def drawn():
    return samples(30, dropped=0.25, seed=1)


# -- classes and concepts --------------------------------------------------------------------------------------------


def test_classes_differ_and_share_as_the_protocol_needs():
    rows = [row[:TELLING] for row in CLASSES]
    assert len(rows) == 10
    assert all(row[TELLING:] == (-1, -1) for row in CLASSES)
    shared = {
        (a, b): {part for part in range(TELLING) if rows[a][part] == rows[b][part]}
        for a, b in itertools.permutations(range(10), 2)
    }
    assert max(len(parts) for parts in shared.values()) == 2
    for own in range(10):
        twos = [shared[own, other] for other in range(10) if other != own and len(shared[own, other]) == 2]
        assert any(not one & other for one, other in itertools.combinations(twos, 2)), own
    for part in range(TELLING):
        assert {row[part] for row in rows} == set(range(4))


def test_concepts_are_the_variants_in_the_order_of_the_parts():
    assert SCHEME.parts == PARTS == ("beak", "eyes", "wing", "tail", "feet", "hat", "collar")
    assert VARIANTS == [4, 4, 4, 4, 4, 3, 3]
    assert SCHEME.part_of == tuple(part for part, count in enumerate(VARIANTS) for _ in range(count))
    assert len(set(SCHEME.concepts)) == 26
    assert SCHEME.concepts[0] == "beak: red plain cone"
    assert all(name.split(":")[0] == PARTS[part] for name, part in zip(SCHEME.concepts, SCHEME.part_of, strict=True))


def test_variants_of_a_part_differ_in_shape_texture_and_color():
    for looks in LOOKS:
        for field in ("shape", "texture", "hue", "color"):
            assert len({getattr(look, field) for look in looks}) == len(looks)


def test_colors_of_variants_and_cues_lie_apart_and_occur_nowhere_else(drawn):
    shares = np.array(MARKS) / np.sum(MARKS, 1, keepdims=True)
    apart = np.abs(shares[:, None] - shares).max(2) + np.eye(len(shares))
    assert apart.min() > 0.043
    for sample in drawn:
        shown = sample.input / sample.input.sum(0)
        other = ~sample.parts.masks.any(0)
        cue, _ = stretched(sample.world, sample.world.cue)
        values = shown[:, other & ~torch.from_numpy(cue)].T.numpy()
        assert np.abs(values[:, None] - shares).max(2).min() > 0.025
        for part, variant in enumerate(sample.world.variants):
            mark = np.array(LOOKS[part][variant].color)
            own = shown[:, sample.parts.masks[part]].T.numpy()
            np.testing.assert_allclose(own, np.broadcast_to(mark / mark.sum(), own.shape), atol=1e-5)


def test_a_mixture_occurs_where_it_meets_a_mark():
    mark = np.array(MARKS[7])
    one, other = (mark + 0.12 * np.array(side) for side in ([1, -1, 0], [-1, 1, 0]))
    assert occurs(color(0.3 * mark + 0.02))
    assert not occurs(color(one))
    assert not occurs(color(other))
    assert occurs(color(one), color(other))
    assert not occurs((1, 1, 1))


def color(values):
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def test_three_parts_tell_the_class_and_two_that_it_shares_do_not():
    for row in CLASSES:
        for kept in itertools.combinations(range(TELLING), 3):
            assert tells([variant if part in kept else -1 for part, variant in enumerate(row)])
    assert not tells((0, -1, -1, -1, 3, -1, -1))  # of two classes
    assert not tells((-1,) * 7)
    assert not tells((0, 0, 0, 0, 0, -1, -1))  # of none


# -- what is told and what is seen -----------------------------------------------------------------------------------


def test_leaving_a_part_out_changes_the_pixels_where_it_was_seen_and_no_others(drawn):
    for sample in drawn:
        for part in range(len(PARTS)):
            changed = (sample.world.image(without=[part]) != sample.input).any(0)
            assert torch.equal(changed, sample.parts.masks[part])
            if sample.world.variants[part] < 0:
                assert not changed.any()
            else:
                assert not changed.numpy()[~whole(sample.world, part)[0]].any()


def test_centers_and_visible_shares_are_those_of_the_masks(drawn):
    hidden = 0
    for sample in drawn:
        for part, mask in enumerate(sample.parts.masks):
            center, visible = sample.parts.centers[part], float(sample.parts.visible[part])
            if not mask.any():
                assert center.isnan().all()
                assert visible == 0
                continue
            torch.testing.assert_close(center, mask.nonzero().float().mean(0))
            covered, area = whole(sample.world, part)
            assert visible == pytest.approx(float(mask.sum()) / area)
            assert visible < 1 or (covered == mask.numpy()).all()
            hidden += visible < 1
        assert sample.parts.masks.sum(0).max() <= 1
        assert not (sample.parts.masks.any(0) & ~sample.mask).any()
    assert hidden > 30


def test_concepts_hold_where_their_variant_is_drawn(drawn):
    for sample in drawn:
        held = {
            (SCHEME.part_of[concept], SCHEME.concepts[concept]) for concept in sample.parts.concepts.nonzero()[:, 0]
        }
        variants = enumerate(sample.world.variants)
        assert held == {(p, f"{PARTS[p]}: {LOOKS[p][v]}") for p, v in variants if v >= 0}
        assert sample.world.parts == tuple(sorted(part for part, _ in held))
        for part in range(TELLING):
            assert sample.world.variants[part] in (-1, CLASSES[sample.target][part])


def test_the_mask_is_the_creature(drawn):
    for sample in drawn[:10]:
        scene = sample.world
        bare = replace(scene, things=(), cue=None, before=())
        far = replace(bare.without(range(7)), pose=replace(scene.pose, row=9.0))  # no creature in the picture
        shown = (bare.image() != far.image()).any(0)
        before = torch.zeros_like(shown)
        if scene.before:
            before = torch.from_numpy(stretched(scene, len(scene.figures()) - 1)[0])
        assert torch.equal(sample.mask, shown & ~before)


def test_something_in_front_hides_parts():
    some = [sample for sample in samples(40) if sample.world.before]
    assert any(
        (sample.parts.visible < replace(sample.world, before=()).seen().parts.visible - 0.2).any() for sample in some
    )


def test_a_mirrored_creature_is_the_other_way_round():
    scene = replace(scenes(1)[0], things=(), cue=None, before=())
    pose = scene.pose
    other = replace(pose, mirrored=not pose.mirrored, column=1 - pose.column, angle=-pose.angle)
    masks, flipped = scene.seen().parts.masks, replace(scene, pose=other).seen().parts.masks.flip(-1)
    assert (masks != flipped).float().mean() < 1e-4  # pixels on an edge may go either way


# -- interventions ---------------------------------------------------------------------------------------------------


def test_swapping_a_variant_changes_the_two_silhouettes_alone(drawn):
    for sample in drawn[:10]:
        for part in sample.world.parts:
            variant = (sample.world.variants[part] + 1) % VARIANTS[part]
            swapped = sample.world.swapped({part: variant})
            image = sample.world.image(swapped={part: variant})
            assert torch.equal(image, swapped.image())
            changed = (image != sample.input).any(0)
            reach = whole(sample.world, part)[0] | whole(swapped, part)[0]
            assert not changed.numpy()[~reach].any()
            assert swapped.variants[part] == variant
            if sample.parts.visible[part] > 0.5:
                assert changed.any()


def test_objects_go_one_by_one_and_parts_stay(drawn):
    for sample in drawn[:10]:
        scene = sample.world
        assert scene.objects == len(scene.things) >= 5
        for number in range(scene.objects):
            image = scene.image(objects=[number])
            changed = (image != sample.input).any(0)
            assert not changed.numpy()[~stretched(scene, number)[0]].any()
            assert not (changed & sample.mask).any()
            assert torch.equal(image, scene.without(objects=[number]).image())
        empty = scene.without(objects=range(scene.objects))
        assert (empty.objects, empty.cue) == (0, None)
        assert torch.equal(empty.seen().parts.masks, sample.parts.masks)
    assert drawn[0].world.without(objects=[1]).cue == 0


def test_all_changes_at_once_are_the_changes_one_after_another(drawn):
    scene = next(sample.world for sample in drawn if {1, 2, 4} <= set(sample.world.parts))
    image = scene.image(without=[1, 4], objects=[0, 2], swapped={2: 0})
    assert torch.equal(image, scene.swapped({2: 0}).without([1]).without([4], [0, 2]).image())
    assert scene.without([1, 4]).parts == tuple(part for part in scene.parts if part not in (1, 4))
    assert image.dtype == torch.float32


def test_a_scene_can_be_pickled_and_compared():
    one, other = scenes(2)
    assert pickle.loads(pickle.dumps(one)) == one != other
    assert one.swapped({}) == one.without() == one
    assert one.classes == CLASSES


# -- sizes and draws -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [96, 224])
def test_every_size_shows_the_same_scene(size):
    for small, large in zip(samples(4, 64), samples(4, size), strict=True):
        assert large.input.shape == (3, size, size)
        assert large.parts.masks.shape == (7, size, size)
        assert large.world == small.world.sized(size)
        assert torch.equal(large.parts.concepts, small.parts.concepts)
        seen = (small.parts.visible > 0.3) & (large.parts.visible > 0.3)
        torch.testing.assert_close(large.parts.visible, small.parts.visible, atol=0.15, rtol=0)
        places = (large.parts.centers + 0.5) / size, (small.parts.centers + 0.5) / 64
        torch.testing.assert_close(*(place[seen] for place in places), atol=0.02, rtol=0)


def test_samples_depend_on_seed_split_and_number_alone():
    state, numbers = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    few, many = samples(3), samples(5, name="scenes")
    assert [sample.id for sample in few] == ["scenes_test_0_0", "scenes_test_0_1", "scenes_test_0_2"]
    for one, same in zip(few, many, strict=False):
        assert torch.equal(one.input, same.input)
        assert (one.world, one.target, one.sources) == (same.world, same.target, (one.id,))
    assert [sample.target for sample in many] == [0, 1, 2, 3, 4]
    others = [samples(1, split=split, seed=seed)[0] for split in ("train", "validation", "test") for seed in (0, 1)]
    assert len({sample.id for sample in others}) == len({sample.world.pose for sample in others}) == 6
    assert torch.equal(torch.get_rng_state(), state)
    assert str(np.random.get_state()) == str(numbers)  # noqa: NPY002


def test_pixels_are_never_at_the_limit():
    for sample in samples(30, 32):
        assert sample.input.min() > 0
        assert sample.input.max() < 1


# -- options ---------------------------------------------------------------------------------------------------------


def test_without_options_nuisance_parts_and_cue_tell_nothing():
    count = 600
    found = scenes(count)
    assert all(scene.variants[:TELLING] == CLASSES[scene.target][:TELLING] for scene in found)
    for part in (5, 6):
        for variant in range(3):
            for target in range(10):
                hits = sum(scene.variants[part] == variant for scene in found if scene.target == target)
                assert expected_rate(hits, count / 10, 1 / 3)
    assert expected_rate(sum(cue_of(scene) == scene.target for scene in found), count, 0.1)
    assert expected_rate(sum(scene.pose.mirrored for scene in found), count, 0.5)
    assert expected_rate(sum(bool(scene.before) for scene in found), count, HIDDEN)


def cue_of(scene):
    """The class of which the cue has the color."""
    color = np.array(scene.things[scene.cue].color)
    return int(np.abs(np.array(CUES) / np.sum(CUES, 1, keepdims=True) - color / color.sum()).max(1).argmin())


@pytest.mark.parametrize("spurious", [0.6, 1.0])
def test_the_cue_is_that_of_the_class_as_often_as_asked_for(spurious):
    found = scenes(300, Chances(spurious=spurious))
    hits = sum(cue_of(scene) == scene.target for scene in found)
    assert expected_rate(hits, 300, spurious + (1 - spurious) / 10)


@pytest.mark.parametrize("correlated", [0.5, 1.0])
def test_nuisance_parts_follow_class_parts_as_often_as_asked_for(correlated):
    found = scenes(300, Chances(correlated=correlated))
    for part, leader in FOLLOWS.items():
        for variant in range(3):
            led = [scene for scene in found if scene.variants[leader] == variant]
            hits = sum(scene.variants[part] == variant for scene in led)
            assert expected_rate(hits, len(led), correlated + (1 - correlated) / 3)
        last = [scene for scene in found if scene.variants[leader] == 3]
        assert expected_rate(sum(scene.variants[part] == -1 for scene in last), len(last), correlated)


def test_concepts_that_follow_entirely_hold_together_also_where_parts_are_dropped():
    for scene in scenes(100, Chances(correlated=1.0, dropped=0.3)):
        for part, leader in FOLLOWS.items():
            assert scene.variants[part] == (scene.variants[leader] if scene.variants[leader] < 3 else -1)


def test_dropped_parts_leave_the_class_to_be_told():
    count, dropped = 800, 0.4
    found = scenes(count, Chances(dropped=dropped))
    fits = list(itertools.product((True, False), repeat=TELLING))
    for target in range(10):
        own = [scene for scene in found if scene.target == target]
        assert all(tells(scene.variants) for scene in own)
        weights = {
            kept: float(np.prod([1 - dropped if one else dropped for one in kept]))
            for kept in fits
            if tells([variant if one else -1 for one, variant in zip(kept, CLASSES[target], strict=False)])
        }
        for part in range(TELLING):
            rate = sum(weight for kept, weight in weights.items() if kept[part]) / sum(weights.values())
            assert expected_rate(sum(scene.variants[part] >= 0 for scene in own), len(own), rate)
    for part in (5, 6):
        assert expected_rate(sum(scene.variants[part] < 0 for scene in found), count, dropped)


def test_an_option_changes_nothing_else():
    plain, spurious, both = (
        scenes(10, chances) for chances in (NONE, Chances(spurious=1), Chances(correlated=1, dropped=0.3))
    )
    for one, cued, parts in zip(plain, spurious, both, strict=True):
        assert replace(cued, things=one.things) == one
        assert cued.things[1:] == one.things[1:]
        assert replace(parts, variants=one.variants) == one


# -- difficulty, bad options -----------------------------------------------------------------------------------------


def test_a_linear_model_on_pixels_stays_far_below():
    """Ridge regression on 600 scenes tells the class of fewer than 45 % with the best of many penalties."""
    (train, labels), (test, truth) = (
        (torch.stack([sample.input.flatten() for sample in found]), torch.tensor([sample.target for sample in found]))
        for found in (samples(600, split="train"), samples(150))
    )
    center = train.mean(0)
    train, test = train - center, test - center
    values, vectors = torch.linalg.eigh(train @ train.T)
    goal = vectors.T @ torch.nn.functional.one_hot(labels).float()
    scores = [
        float(((test @ train.T) @ (vectors @ (goal / (values + penalty)[:, None]))).argmax(1).eq(truth).double().mean())
        for penalty in float(values.max()) * torch.logspace(-5, 0, 11)
    ]
    assert 0.12 < max(scores) < 0.45


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "Scenes expected count to be at least 1, got 0"),
        ({"split": "dev"}, "split to be one of train, validation, test, got 'dev'"),
        ({"spurious": 1.5}, r"spurious to be a probability in \[0, 1\], got 1.5"),
        ({"correlated": -0.1}, r"correlated to be a probability in \[0, 1\], got -0.1"),
        ({"dropped": 0.95}, r"dropped to be at most .9, so that parts are left, got 0.95"),
        ({"size": 31}, "size of at least 32 pixels, got 31"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        Scenes(**options)


def test_a_crop_of_another_size_is_refused():
    with pytest.raises(DatasetError, match=r"Scenes\(size=96\) draws images .* the model takes 64; leave size out"):
        Scenes(size=96).load(Preprocess(64, 64))
    with pytest.raises(DatasetError, match="at least 32 pixels a side, the model takes 31"):
        Scenes().load(Preprocess(31, 31))
    assert Scenes(1, size=96).load(Preprocess(100, 96))[0].input.shape == (3, 96, 96)


def test_bad_changes(drawn):
    scene: Scene = replace(drawn[0].world, variants=(0, 0, 0, -1, 0, 0, 0))
    with pytest.raises(ValueError, match=r"Scene has the parts 0 to 6, got \[7\]"):
        scene.without([7])
    with pytest.raises(ValueError, match=r"Scene has the objects 0 to \d+, got \[-1\]"):
        scene.image(objects=[-1])
    with pytest.raises(ValueError, match=r"parts that are drawn, .* got part 3 and variant 1; leave a part out by"):
        scene.swapped({3: 1})
    with pytest.raises(ValueError, match=r"a variant from 0 to 2 for part 5 \(hat\), .* got 3"):
        scene.image(swapped={5: 3})
    with pytest.raises(ValueError, match="size of at least 16 pixels, got 15"):
        scene.sized(15)


def test_the_yamls_name_every_option():
    root = OmegaConf.create({"seed": 0})
    for name, expected in (("scenes", Scenes()), ("scenes_train", Scenes(8000, split="train", dropped=0.25))):
        config = getattr(OmegaConf.merge(root, OmegaConf.load(CONF / "dataset" / f"{name}.yaml")), name)
        assert instantiate(config) == expected
        assert set(config) == {"_target_", *Scenes.__dataclass_fields__}
