"""Feature ablation against Captum's, and in closed form."""

import captum.attr
import pytest
import torch
from known_answers import Model, Smooth, bind, linear, normal, random
from networks import TARGET, Normalized, assert_close, explained, network
from text_models import MASK, SIZES, WORDS, Attending, TextModel, attended, embeddings, projected, text

from xaieval.attributions.feature_ablation import FeatureAblation
from xaieval.attributions.occlusion import Occlusion
from xaieval.classifier import Classifier
from xaieval.laws.guards import no_waiting
from xaieval.laws.toys import seeded
from xaieval.modalities.texts import Texts
from xaieval.segments import segments_of


def test_agrees_with_captum_on_patches():
    module, inputs = network(), random(3, 3, 16, 20)
    labels = torch.arange(16).view(4, 4).repeat_interleave(4, 0).repeat_interleave(5, 1)
    theirs = captum.attr.FeatureAblation(Normalized(module))
    expected = theirs.attribute(inputs, target=torch.tensor(TARGET), feature_mask=labels.expand(1, 3, -1, -1))
    explicand = explained(module, inputs)
    values = FeatureAblation(grid=4)(explicand)
    assert explicand.cost[:2] == (16 + 1, 0)
    assert explicand.units_of(values) == "contribution"
    assert_close(values * 20, expected[:, :1].detach())


@pytest.mark.parametrize("removal", ["zero", "mean"])
def test_agrees_with_captum_on_superpixels_of_each_image(removal):
    inputs, target = random(3, 3, 20, 20), [2, 0, 1]
    explicand = bind(Smooth(), inputs, target)
    segments = segments_of(explicand, "slic", 3)
    assert not torch.equal(segments.labels[0], segments.labels[1])
    theirs = captum.attr.FeatureAblation(Smooth())
    expected = theirs.attribute(
        inputs,
        baselines=explicand.removal(removal).values.contiguous(),
        target=torch.tensor(target),
        feature_mask=segments.labels[:, None].expand(-1, 3, -1, -1),
    )
    values = FeatureAblation("slic", 3, removal)(explicand)
    area = segments.spread(segments.area)
    assert_close(values * area, expected[:, :1].detach())


def test_one_patch_a_pixel_is_occlusion_by_single_pixels():
    inputs = random(2, 3, 5, 6)
    explicand = bind(Smooth(), inputs)
    assert_close(FeatureAblation(grid=6)(explicand), Occlusion(1, 1)(explicand), 1e-6)


def test_a_product_counts_for_each_of_its_factors():
    """f = x1 x2 + 3 x4: both factors lose all of the product, so the drops do not sum to f."""
    function = Model(lambda x: x[:, 0, 0, 0] * x[:, 0, 0, 1] + 3 * x[:, 0, 1, 1])
    inputs = random(2, 1, 2, 2)
    a, b, _, d = inputs.flatten(1).unbind(1)
    expected = torch.stack((a * b, a * b, 0 * a, 3 * d), 1).view(2, 1, 2, 2)
    assert_close(FeatureAblation(grid=2)(bind(function, inputs)), expected, 1e-6)


def test_pixels_of_a_segment_sum_to_its_drop_where_some_are_absent():
    present = torch.ones(1, 6, 6, dtype=torch.bool)
    present[:, :, 5:] = False
    inputs, weights = random(1, 3, 6, 6), normal(3, 6, 6)
    values = FeatureAblation(grid=2)(bind(linear(weights), inputs, present=present))
    expected = (weights * inputs * present[:, None]).sum(1).view(1, 2, 3, 2, 3).sum((2, 4))
    assert_close(values.view(1, 2, 3, 2, 3).sum((2, 4)), expected, 1e-5)
    assert not values[~present[:, None]].any()


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_batch_size_changes_nothing(size):
    inputs = random(3, 3, 16, 20)
    for method in (FeatureAblation(grid=3), FeatureAblation("slic", 3)):
        reference = method(explained(network(), inputs))
        assert_close(method(explained(network(), inputs, batch_size=size)), reference, 1e-4)


def test_wrong_options_are_told():
    with pytest.raises(ValueError, match="FeatureAblation: segments must be one of slic, grid, got 'pixels'"):
        FeatureAblation("pixels")
    with pytest.raises(ValueError, match="grid must be at least 1 patch per side, got 0"):
        FeatureAblation(grid=0)(bind(Smooth(), random(1, 3, 8, 8)))


def counted(**options):
    """Texts of 7, 5 and 4 tokens of which the ends are special ones, and how many inputs the model was called with."""
    calls: list[int] = []

    def score(x, attended):
        calls.append(len(x))
        return (torch.tanh(projected(x)) * attended).sum(1) ** 2

    work = text(TextModel(score), **options)
    _ = work.clean
    calls.clear()
    return work, calls


@pytest.mark.parametrize("removal", ["zero", "deletion", "noise"])
def test_a_text_costs_its_own_pieces(removal):
    """5, 3 and 2 tokens in full batches, and each text as it is alone: also with drawn removals."""
    work, calls = counted(batch_size=4)
    spent = work.meter.forwards
    values = FeatureAblation(removal=removal)(work)
    assert calls == [4, 4, 2]
    assert work.meter.forwards - spent == 5 + 3 + 2
    for row, size in enumerate(SIZES):
        part = (slice(row, row + 1), ..., slice(size))
        where = {"present": work.present[part], "attended": work.attended[part]}
        alone = work.classifier.explicand(work.inputs[part], 0, [work.ids[row]], **where)
        _ = alone.clean
        calls.clear()
        assert_close(values[part], FeatureAblation(removal=removal)(alone), 1e-5)
        assert sum(calls) == size - 2
    assert not values[:, 0][~work.present].any()


def test_a_text_costs_its_own_words():
    """3, 2 and 2 words, in copies too; numbers of words may have gaps, and their drops are shared among the tokens."""
    work, calls = counted(groups=WORDS)
    values = FeatureAblation()(work)
    assert sum(calls) == 3 + 2 + 2
    assert values[0, 0, 1] == values[0, 0, 2] != 0
    gaps, calls = counted(groups=torch.where(WORDS > 0, WORDS + 2, WORDS))
    assert_close(FeatureAblation()(gaps), values, 1e-5)
    assert sum(calls) == 3 + 2 + 2
    assert [batch.copies(batch.inputs).sizes for batch in work.batches(2)] == [(3, 3), (2, 2), (2, 2)]
    assert work.part(slice(0, 2), [0, 1]).sizes == (3, 2)
    assert work.like(present=work.present & (torch.arange(7) < 3)).sizes is None  # as if nobody knew


def test_texts_do_not_wait_and_run_on_meta():
    work, _ = counted()
    with no_waiting():
        values = FeatureAblation()(work)
    unknown = work.like(sizes=None)
    assert_close(FeatureAblation()(unknown), values, 1e-5)
    there = attended().to("meta")
    classifier = Classifier(seeded(Attending), device="meta", modality=Texts(mask=MASK.to("meta")))
    nowhere = classifier.explicand(embeddings().to("meta"), 0, work.ids, present=there, attended=there)
    assert FeatureAblation()(nowhere).shape == (3, 1, 7)
