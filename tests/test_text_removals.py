"""What stands in for a removed token: mask token, pad token, the embedding 0, or nothing at all."""

import pytest
import torch
from hydra import compose, initialize_config_module
from known_answers import bind, constant, ids, random
from text_models import (
    LENGTH,
    MASK,
    PAD,
    SIZES,
    WIDTH,
    WORDS,
    Attending,
    TextModel,
    additive,
    attended,
    bent,
    embeddings,
    ordered,
    present,
    projected,
    text,
)

from xaieval.attributions.feature_ablation import FeatureAblation
from xaieval.attributions.integrated_gradients import IntegratedGradients
from xaieval.attributions.kernel_shap import KernelSHAP
from xaieval.attributions.occlusion import Occlusion
from xaieval.classifier import Classifier
from xaieval.config import components, names, plain
from xaieval.laws.toys import seeded
from xaieval.metrics.deletion import Deletion as DeletionMetric
from xaieval.metrics.infidelity import Infidelity
from xaieval.modalities.texts import Texts
from xaieval.removal import NAMED, Deletion, PadToken, ZeroEmbedding
from xaieval.unsupported import UnsupportedError

EMBEDDINGS = {"zero": MASK, "pad_token": PAD, "zero_embedding": torch.zeros(WIDTH)}


def inputs_of(explicand, removal, gone):
    batch = next(explicand.batches(1, "scores"))
    return explicand.removal(removal)(batch, gone[: len(batch)])


@pytest.mark.parametrize("removal", EMBEDDINGS)
def test_a_token_is_replaced(removal):
    """Half gone is half way; what is no token of the text stays."""
    work = text(additive(), batch_size=3)
    found = inputs_of(work, removal, torch.full((3, 1, LENGTH), 0.5))
    expected = torch.where(present()[:, None], (embeddings() + EMBEDDINGS[removal][:, None]) / 2, embeddings())
    torch.testing.assert_close(found, expected)
    drop = bent(projected(embeddings())) - bent(projected(EMBEDDINGS[removal][None, :, None]))
    maps = FeatureAblation(removal=removal)(work)[:, 0]
    torch.testing.assert_close(maps, drop * present(), rtol=1e-5, atol=1e-5)


def test_names():
    assert [NAMED[name] for name in ("pad_token", "zero_embedding", "deletion")] == [
        PadToken(),
        ZeroEmbedding(),
        Deletion(),
    ]


def without(row, *gone):
    """A text without some of its tokens, alone and without padding."""
    kept = [place for place in range(SIZES[row]) if place not in gone]
    return embeddings()[row : row + 1, :, kept]


def score_of(module, inputs):
    everything = torch.ones(1, inputs.shape[2], dtype=torch.bool)
    return module(inputs, everything)[0, 0]


@pytest.mark.parametrize("make", [ordered, lambda: seeded(Attending).eval()])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_deletion_is_the_text_without_the_token(make, batch_size):
    """In which later tokens stand one place earlier."""
    module = make()
    work = text(module, batch_size=batch_size)
    drops = FeatureAblation(removal="deletion")(work)[:, 0]
    for row in range(3):
        clean = score_of(module, without(row))
        torch.testing.assert_close(work.clean.logit[row], clean, rtol=1e-5, atol=1e-6)
        for place in range(1, SIZES[row] - 1):
            expected = clean - score_of(module, without(row, place))
            torch.testing.assert_close(drops[row, place], expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(Occlusion(1, 1, "deletion")(work)[:, 0], drops, rtol=1e-5, atol=1e-6)


def test_whole_words_are_deleted():
    module = ordered()
    drops = FeatureAblation(removal="deletion")(text(module, groups=WORDS))[:, 0]
    clean = score_of(module, without(0))
    for places in ((1, 2), (3,), (4, 5)):
        expected = (clean - score_of(module, without(0, *places))) / len(places)
        torch.testing.assert_close(drops[0, list(places)], expected.expand(len(places)), rtol=1e-5, atol=1e-6)


def test_curves_and_responses_delete():
    """Along a curve each point is a shorter text, down to the special tokens."""
    module = ordered()
    work = text(module)
    map_ = torch.arange(float(LENGTH)).expand(3, 1, -1).contiguous()
    curve = work.curve(map_, removal="deletion", steps=LENGTH)
    last = [score_of(module, without(0, *range(5, 5 - gone, -1))) for gone in range(6)]
    torch.testing.assert_close(curve.scores.logit[0].unique(), torch.stack(last).unique(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(work.removed("deletion").logit[0], last[-1], rtol=1e-5, atol=1e-6)
    flat = text(TextModel(lambda x, there: (projected(x) * there).sum(1)))
    assert DeletionMetric(removal="deletion")(flat, map_).isfinite().all()
    exact = (projected(embeddings()) * present())[:, None]
    found = Infidelity(20, removal="deletion")(flat, exact, units="contribution")
    torch.testing.assert_close(found, torch.zeros(3), rtol=0, atol=1e-5)
    shap = KernelSHAP(64, removal="deletion")(flat)
    torch.testing.assert_close(shap, exact, rtol=1e-4, atol=1e-4)


def test_deleted_in_part():
    """A token is there or is not: it goes where more than half of it is gone."""
    work = text(additive(), batch_size=3)
    gone = torch.tensor([0.0, 0.4, 0.5, 0.6, 1.0, 0.0, 1.0]).expand(3, 1, -1)
    found = inputs_of(work, "deletion", gone)
    assert found[0].isnan().all(0).tolist() == [False, False, False, True, True, False, False]
    assert torch.equal(found[0][:, :3], embeddings()[0][:, :3])


def test_a_deleted_token_has_no_gradient():
    work = text(additive(), batch_size=3)
    batch = next(work.batches(1))
    gone = torch.zeros(3, 1, LENGTH).index_fill(2, torch.tensor([1]), 1.0)
    gradient = batch.gradients(work.removal("deletion")(batch, gone))
    assert torch.equal(gradient[:, :, 1], torch.zeros(3, WIDTH))
    assert bool(gradient.isfinite().all())
    assert bool((gradient[0, :, 2:6] != 0).all())


def test_nothing_in_place_predicts_nothing_and_is_no_baseline():
    work = text(additive())
    with pytest.raises(UnsupportedError, match="there is no baseline where deletion puts nothing in place"):
        IntegratedGradients(3, removal="deletion")(work)
    values, reasons = Infidelity(5, removal="deletion").evaluate(work, work.gradient.clone(), units="gradient")
    assert bool(values.isnan().all())
    assert bool(reasons["units"].all())


def test_the_first_call_with_other_weights_may_delete():
    """It also finds out which batch normalizations can be folded, from a leaf of its own."""
    work = text(seeded(Attending).eval())
    other = work.with_weights({"head.bias": torch.ones(3)})
    drops = [FeatureAblation(removal="deletion")(one) for one in (other, work)]
    expected = work.removed("deletion").logit + 1 - seeded(Attending).head.bias[0].detach()
    fresh = work.with_weights({"head.bias": torch.ones(3)})
    torch.testing.assert_close(fresh.removed("deletion").logit, expected)
    torch.testing.assert_close(*drops, rtol=1e-5, atol=1e-6)


def test_only_what_is_attended_can_be_deleted():
    work = bind(constant(), random(2, 3, 8, 8), ids=ids(2))
    with pytest.raises(UnsupportedError, match="Model is not told what to attend to, so nothing can be deleted"):
        FeatureAblation(removal="deletion")(work)


def test_copies_stay_deleted():
    """A method that explains again explains the shorter text."""
    work = text(ordered(), batch_size=3)
    batch = next(work.batches(1, "scores"))
    gone = torch.zeros(3, 1, LENGTH).index_fill(2, torch.tensor([2]), 1.0)
    copies = batch.copies(work.removal("deletion")(batch, gone))
    expected = torch.stack([score_of(ordered(), without(row, 2)) for row in range(3)])
    torch.testing.assert_close(copies.clean.logit, expected, rtol=1e-5, atol=1e-6)


def test_runs_on_meta():
    there = [part.to("meta") for part in (present(), attended())]
    modality = Texts(mask=MASK.to("meta"), padding=PAD.to("meta"))
    with torch.device("meta"):
        module = Attending()
    work = Classifier(module, device="meta", modality=modality).explicand(
        embeddings().to("meta"), 0, present=there[0], attended=there[1]
    )
    for removal in (*EMBEDDINGS, "deletion"):
        assert FeatureAblation(removal=removal)(work).device.type == "meta"


def composed_with(removal):
    with initialize_config_module("xaieval.conf", version_base="1.3"):
        values = plain(compose("config", overrides=["method=feature_ablation", f"removal={removal}"]))
    return components(values, "method")["feature_ablation"]


@pytest.mark.parametrize("kind", ["image", "text"])
@pytest.mark.parametrize("name", names("removal"))
def test_removals_by_their_yaml_fit_or_are_refused_in_a_sentence(name, kind):
    method = composed_with(name)
    work = text(additive()) if kind == "text" else bind(constant(), random(2, 3, 8, 8))
    refused = {
        ("pad_token", "image"): r"the pad token means nothing for this kind of input \(image\); choose another",
        ("deletion", "image"): "is not told what to attend to, so nothing can be deleted; choose another removal",
        ("blur", "text"): r"a blur means nothing for this kind of input \(text\); choose another",
        ("noisy_linear", "text"): r"interpolating what is gone means nothing for this kind of input \(text\)",
    }
    if (name, kind) in refused:
        with pytest.raises(UnsupportedError, match=refused[name, kind]):
            method(work)
    else:
        assert bool(method(work).isfinite().all())
