"""The planted reader of scenes: what it makes of each part is known exactly, and it sees nothing else."""

import inspect
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from xaieval.creature import CUES, LOOKS
from xaieval.datasets.preprocess import Preprocess
from xaieval.datasets.scenes import Scenes
from xaieval.drawing import silhouette
from xaieval.models import planted_scenes
from xaieval.models.loading import ModelError
from xaieval.models.planted_scenes import CUE, EFFECTS, USUAL, effects
from xaieval.scene import CLASSES, TELLING

CONF = Path(__file__).parents[1] / "conf"


def loaded(count, size=64, cue=False, **options):
    classifier = planted_scenes.load(size=size, spurious=cue, batch_size=64)
    samples = list(Scenes(count, **options).load(classifier.preprocess))
    return classifier, samples, torch.stack([sample.input for sample in samples])


def brightness(images, masks):
    """Mean over all pixels `(...)` of the sum of channels at some of them."""
    return (images.sum(-3) * masks).mean((-2, -1))


@pytest.fixture(scope="module")
def known():
    return loaded(40, dropped=0.25, seed=2)


@pytest.mark.parametrize("size", [32, 64, 224])
def test_evidence_is_the_brightness_at_the_pixels_of_a_variant_and_zero_elsewhere(size):
    classifier, samples, images = loaded(6, size, cue=True, seed=3)
    evidence = classifier.module.evidence(images)
    assert evidence.shape == (6, 30, size, size)
    for sample, found in zip(samples, evidence, strict=True):
        scene = sample.world
        for part, variant in enumerate(scene.variants[:TELLING]):
            for other in range(len(LOOKS[part])):
                expected = sample.input.sum(0) * sample.parts.masks[part] * float(other == variant)
                torch.testing.assert_close(found[4 * part + other], expected, atol=0, rtol=1e-6)
        cue = torch.zeros(size, size, dtype=torch.bool)
        inside, _, top, left = silhouette(size, scene.things[scene.cue])
        for row, column in zip(*inside.nonzero(), strict=True):
            if 0 <= row + top < size and 0 <= column + left < size:
                cue[row + top, column + left] = True
        cues = found[20:]
        assert (cues[:, ~cue] == 0).all()
        assert (cues > 0).any((1, 2)).sum() <= 1
        assert not (cues > 0).any(0)[sample.mask].any()


def test_logits_are_the_sum_over_parts_of_a_weight_times_their_brightness(known):
    classifier, samples, images = known
    for sample, logits in zip(samples, classifier.logits(images), strict=True):
        expected = torch.zeros(len(CLASSES))
        for part, variant in enumerate(sample.world.variants[:TELLING]):
            light = brightness(sample.input, sample.parts.masks[part])
            for target, own in enumerate(CLASSES):
                expected[target] += EFFECTS[part] / USUAL[part] * light * (own[part] == variant)
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("size", "dropped"), [(64, 0.0), (64, 0.4), (32, 0.25), (96, 0.25)])
def test_it_is_right(size, dropped):
    classifier, samples, images = loaded(40, size, dropped=dropped, seed=5)
    right = classifier.logits(images).argmax(1) == torch.tensor([sample.target for sample in samples])
    assert right.float().mean() > 0.98


def test_a_usual_scene_has_the_usual_effects():
    classifier, samples, _ = loaded(150)
    lights = torch.stack([brightness(sample.input, sample.parts.masks[:TELLING]) for sample in samples])
    torch.testing.assert_close(lights.mean(0), torch.tensor(USUAL[:TELLING]), rtol=0.1, atol=0)
    real = torch.stack([effects(classifier, sample.world, sample.target) for sample in samples[:60]]).mean(0)
    torch.testing.assert_close(real[:TELLING], torch.tensor(EFFECTS), rtol=0.15, atol=0)


def test_removing_a_part_takes_what_it_adds_and_gives_what_it_hid(known):
    classifier, samples, _ = known
    for sample in samples[:15]:
        found = effects(classifier, sample.world, sample.target)
        assert (found[TELLING:] == 0).all()
        added = classifier.module.contributions(sample.input[None])[0, sample.target]
        for part in range(TELLING):
            less = sample.world.without([part]).seen()
            after = classifier.module.contributions(less.image[None])[0, sample.target]
            mask = sample.parts.masks[part]
            torch.testing.assert_close(found[part], (added - after)[mask].sum(), rtol=1e-3, atol=1e-3)
            assert (after[~mask] == added[~mask]).all()
            if part not in sample.world.parts:
                assert found[part] == 0


def test_nuisance_parts_objects_and_backdrop_change_nothing(known):
    classifier, samples, images = known
    logits = classifier.logits(images)
    for change in (
        lambda scene: scene.without([5, 6]),
        lambda scene: scene.without(objects=range(scene.objects)),
        lambda scene: scene.swapped({part: 0 for part in (5, 6) if part in scene.parts}),
        lambda scene: replace(scene, backdrop=samples[0].world.backdrop),
        lambda scene: replace(scene, torso=samples[0].world.torso),
    ):
        changed = torch.stack([change(sample.world).image() for sample in samples])
        assert (changed != images).any((1, 2, 3)).sum() > 20
        assert torch.equal(classifier.logits(changed), logits)


def test_input_times_gradient_is_what_each_pixel_adds(known):
    classifier, samples, images = known
    target = torch.tensor([sample.target for sample in samples])
    given = images.clone().requires_grad_()
    logits = classifier.module(given)
    (gradient,) = torch.autograd.grad(logits.gather(1, target[:, None]).sum(), given)
    added = classifier.module.contributions(images)
    rows = torch.arange(len(samples))
    torch.testing.assert_close((gradient * images).sum(1), added[rows, target], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(added.sum((2, 3)), logits, atol=1e-4, rtol=1e-4)
    parts = torch.stack([sample.parts.masks[:TELLING].any(0) for sample in samples])
    assert (gradient.movedim(1, -1)[~parts] == 0).all()
    assert torch.equal(added[rows, target] > 0, parts)


def test_what_is_rounded_to_bytes_reads_the_same(known):
    classifier, _, images = known
    rounded = (images * 255).round() / 255
    torch.testing.assert_close(classifier.logits(rounded), classifier.logits(images), atol=0.5, rtol=0.05)


def test_the_cue_is_read_only_where_it_is_asked_for():
    plain, samples, images = loaded(30, seed=7)
    reader = planted_scenes.load(spurious=True)
    gone = torch.stack([sample.world.image(objects=[sample.world.cue]) for sample in samples])
    assert torch.equal(plain.logits(gone), plain.logits(images))
    assert torch.equal(reader.logits(gone), plain.logits(gone))
    gained = reader.logits(images) - reader.logits(gone)
    assert ((gained > 1e-3).sum(1) <= 1).all()
    for sample, gain in zip(samples, gained, strict=True):
        color = torch.tensor(sample.world.things[sample.world.cue].color)
        cues = torch.tensor(CUES) / torch.tensor(CUES).sum(1, keepdim=True)
        own = int((cues - color / color.sum()).abs().sum(1).argmin())
        assert gain.argmax() == own or gain.max() < 1e-3
    assert gained.max(1).values.mean() == pytest.approx(CUE, rel=0.25)
    _, spurious, marked = loaded(30, spurious=1.0, seed=7)
    target = torch.tensor([sample.target for sample in spurious])
    lost = reader.logits(marked) - plain.logits(marked)
    assert lost.gather(1, target[:, None]).sum() == pytest.approx(float(lost.sum()), rel=1e-3)


def test_it_is_loaded_as_the_yaml_says():
    root = OmegaConf.create({"device": None, "precision": "float32", "batch_size": "auto"})
    model = OmegaConf.merge(root, OmegaConf.load(CONF / "model" / "planted_scenes.yaml")).planted_scenes
    options = {name: model[name] for name in model if name != "_target_"}
    signature = inspect.signature(planted_scenes.load).parameters
    assert options == {name: value.default for name, value in signature.items()}
    state = torch.get_rng_state()
    classifier = instantiate(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert (classifier.name, classifier.preprocess) == ("planted_scenes", Preprocess(64, 64))
    assert len(classifier.categories) == len(CLASSES)
    assert planted_scenes.load(spurious=True).name == "planted_scenes_spurious"
    with pytest.raises(ModelError, match="at least 32 pixels a side, got size=31"):
        planted_scenes.load(size=31)
