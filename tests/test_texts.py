"""Methods and metrics on texts of known answers: features are tokens, pieces are tokens or words."""

import numpy as np
import pytest
import torch
from known_answers import bind, ids, linear, normal, random
from text_models import (
    LENGTH,
    MASK,
    PAD,
    SIZES,
    WEIGHTS,
    WIDTH,
    WORDS,
    Attending,
    additive,
    attended,
    bag,
    bent,
    embeddings,
    present,
    projected,
    text,
)

from xaieval.attributions.edge_detector import EdgeDetector
from xaieval.attributions.expected_gradients import ExpectedGradients
from xaieval.attributions.feature_ablation import FeatureAblation
from xaieval.attributions.gradient import Gradient
from xaieval.attributions.input_x_gradient import InputXGradient
from xaieval.attributions.integrated_gradients import IntegratedGradients
from xaieval.attributions.kernel_shap import KernelSHAP
from xaieval.attributions.occlusion import Occlusion
from xaieval.attributions.smoothgrad import SmoothGrad
from xaieval.attributions.sobol import Sobol
from xaieval.classifier import Classifier
from xaieval.laws import composed
from xaieval.laws.components import SMALL, limited
from xaieval.laws.guards import no_waiting
from xaieval.laws.toys import seeded
from xaieval.metrics.completeness_gap import CompletenessGap
from xaieval.metrics.deletion import Deletion
from xaieval.metrics.entropy import Entropy
from xaieval.metrics.infidelity import Infidelity
from xaieval.metrics.insertion import Insertion
from xaieval.modalities.images import Images
from xaieval.modalities.texts import Texts
from xaieval.segments import Segments
from xaieval.unsupported import UnsupportedError

METHODS = {name: method for name, method in composed("method") if "world" not in method.needs}
METRICS = dict(composed("metric"))
SHOWN = present()


def worth(x):
    """What each token adds to the additive model beyond the mask token, `(N, T)`; 0 where there is no token."""
    return (bent(projected(x)) - bent(projected(MASK[None, :, None]))) * SHOWN


def close(found, expected, tolerance=1e-5):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def tokens_of(explicand, attribution):
    return explicand.features(attribution)


# -- methods --


def test_gradient_of_a_linear_bag():
    """The weights wherever a token is attended, special ones too; as a feature their norm, which no basis changes."""
    work = text(bag())
    close(Gradient()(work), WEIGHTS[None, :, None] * attended()[:, None])
    close(tokens_of(work, Gradient()(work)), WEIGHTS.norm() * SHOWN)
    noisy = SmoothGrad(samples=9, noise=0.5)(work)
    close(noisy, WEIGHTS[None, :, None] * attended()[:, None])
    close(tokens_of(work, noisy), WEIGHTS.norm() * SHOWN)


def test_contributions_of_a_linear_bag():
    """`w.(x_t - mask)`, summed over the embedding."""
    work, expected = text(bag()), projected(embeddings() - MASK[:, None]) * SHOWN
    for method in (InputXGradient(), IntegratedGradients(3), Occlusion(1, 1), FeatureAblation(), KernelSHAP(64)):
        close(tokens_of(work, method(work)), expected, 1e-4)
    pad = projected(embeddings() - PAD[:, None]) * SHOWN
    for method in (IntegratedGradients(3, removal="pad_token"), Occlusion(1, 1, "pad_token")):
        close(tokens_of(work, method(work)), pad)


def test_contributions_of_an_additive_model():
    """Alone or along the line, a token is worth what it is worth."""
    work = text(additive())
    for method in (IntegratedGradients(4), Occlusion(1, 1), FeatureAblation(), ExpectedGradients(400, noise=0.0)):
        tolerance = 0.3 if isinstance(method, ExpectedGradients) else 1e-5  # a mean over 400 draws
        close(tokens_of(work, method(work)), worth(embeddings()), tolerance)
    close(tokens_of(work, InputXGradient()(work))[0, 1], _first_order(embeddings())[0, 1])


def _first_order(x):
    """`(x_t - mask) df/dx_t`, f' = 1 + u."""
    return projected(x - MASK[:, None]) * (1 + projected(x)) * SHOWN


def test_words_are_removed_together():
    """A word is worth the sum of its tokens, and shares it among them."""
    work, tokens = text(additive(), groups=WORDS), worth(embeddings())
    found = tokens_of(work, FeatureAblation()(work))
    for row, words in enumerate(WORDS):
        for word in range(3):
            inside = words == word
            if inside.any():
                close(found[row][inside], tokens[row][inside].mean().expand(int(inside.sum())))
    assert torch.equal(found * ~SHOWN, torch.zeros(3, LENGTH))
    assert work.patches(14).count == 3
    assert torch.equal(work.patches(14).present.sum(1), torch.tensor([3, 2, 2]))


def test_sobol_of_an_additive_model():
    """Tokens fade towards the mask token; the total indices of an additive model sum to 1, absent ones have 0."""
    work = text(bag())
    indices = Sobol(designs=4096)(work)[:, 0]
    squared = (projected(embeddings() - MASK[:, None]) * SHOWN) ** 2
    close(indices, squared / squared.sum(1, keepdim=True), 0.02)
    by_word = Sobol(designs=64)(text(bag(), groups=WORDS))[:, 0]
    assert torch.equal(by_word[0, 1], by_word[0, 2])
    assert torch.equal(by_word[~SHOWN], torch.zeros(int((~SHOWN).sum())))


# -- metrics --


@pytest.mark.parametrize("groups", [None, WORDS])
def test_infidelity_is_zero_for_the_exact_explanation(groups):
    """And one for a map of nothing right; a gradient is told by `(x - x~) g`, whose sum is over the embedding."""
    work = text(additive(), groups=groups)
    exact = IntegratedGradients(4)(work)
    close(Infidelity(50)(work, exact), torch.zeros(3))
    close(Infidelity(50)(work, worth(embeddings())[:, None], units="contribution"), torch.zeros(3))
    flat = text(bag(), groups=groups)
    close(Infidelity(50)(flat, Gradient()(flat)), torch.zeros(3))
    close(Infidelity(50)(flat, -Gradient()(flat)), torch.ones(3))
    close(CompletenessGap()(work, exact, IntegratedGradients(4)), torch.zeros(3), 1e-4)


@pytest.mark.parametrize("groups", [None, WORDS])
def test_curves_have_their_closed_form(groups):
    """`f(b) + sum_r c_(r) (r - 1/2) / n` for n pieces in the order removed; insertion is the rest."""
    work = text(additive(), groups=groups)
    exact = worth(embeddings())[:, None]
    clean, empty = work.clean.logit, work.removed("zero").logit
    for row in range(3):
        words = WORDS[row] if groups is not None else torch.arange(LENGTH)
        pieces = [exact[row, 0][(words == word) & SHOWN[row]].sum() for word in range(LENGTH)]
        pieces = [worth_ for word, worth_ in enumerate(pieces) if bool(((words == word) & SHOWN[row]).any())]
        order = sorted(map(float, pieces), reverse=True)
        area = float(empty[row]) + sum(c * (r + 0.5) for r, c in enumerate(order)) / len(order)
        found = Deletion(output="logit")(work, exact)[row]
        np.testing.assert_allclose(found, area, rtol=1e-5)
        np.testing.assert_allclose(
            Insertion(output="logit")(work, exact)[row], clean[row] + empty[row] - area, rtol=1e-5
        )


def test_a_gradient_is_ordered_by_its_norm():
    """A rotation of the embedding is another basis of the same text: nothing may depend on it."""
    turn = torch.linalg.qr(normal(WIDTH, WIDTH, seed=2))[0]
    plain = text(seeded(Attending), groups=WORDS)
    map_ = Gradient()(plain)
    turned = torch.einsum("de,net->ndt", turn, map_)
    for metric in (Deletion(), Entropy()):
        close(metric(plain, map_, units="gradient"), metric(plain, turned, units="gradient"))
    assert not torch.allclose(
        Entropy()(plain, map_, units="contribution"), Entropy()(plain, turned, units="contribution")
    )


def test_units_that_are_given_count_for_one_evaluation():
    """A curve is kept for each of them, and what the method noted stays noted."""
    work = text(seeded(Attending))
    map_ = Gradient()(work)
    by_norm, by_sum = (Deletion()(work, map_, units=units) for units in ("gradient", "contribution"))
    assert not torch.equal(by_norm, by_sum)
    assert work.units_of(map_) == "gradient"
    assert torch.equal(Deletion()(work, map_), by_norm)


def test_the_map_of_a_randomized_model_has_the_units_of_the_first():
    """By its shape alone it would be a gradient: of contributions the sums are compared, not the norms."""
    work, method = text(seeded(Attending)), IntegratedGradients(3)
    found = limited(METRICS["random_logit"], SMALL)
    map_ = method(work)
    other = method(work.retargeted((work.target + 1) % 3))
    sums = text(seeded(Attending))
    expected = found(sums, map_.sum(1, keepdim=True), Summed(method))
    assert other.shape == map_.shape
    close(found(work, map_, method), expected)


class Summed:
    """A method's map, summed over the embedding."""

    def __init__(self, method):
        self.method = method
        self.sentinel, self.units = False, "contribution"

    def __call__(self, explicand):
        return self.method(explicand).sum(1, keepdim=True)


# -- every method and metric --


def model():
    return seeded(Attending)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_explains_a_text_or_says_why_not(name):
    """Finite, the same beside other texts, without waiting for the host, on meta; absent embeddings change nothing."""
    method, mask = limited(METHODS[name], SMALL), SHOWN & (random(3, LENGTH) > 0.3)
    work = text(model(), mask=mask, target=[0, 1, 2])
    try:
        maps = method(work)
    except UnsupportedError:
        return
    assert tuple(maps.shape) in ((3, 1, LENGTH), (3, WIDTH, LENGTH))
    assert bool(maps.isfinite().all())
    alone = [method(one) for one in text(model(), mask=mask, target=[0, 1, 2], batch_size=5).each()]
    close(maps, torch.cat(alone), 1e-4)
    other = torch.where(attended()[:, None], embeddings(), 5 * normal(3, WIDTH, LENGTH, seed=8))
    again = method(text(model(), other, mask=mask, target=[0, 1, 2]))
    close(maps * SHOWN[:, None], again * SHOWN[:, None], 1e-4)
    by_word = method(text(model(), mask=mask, groups=WORDS))
    assert bool(by_word.isfinite().all())
    if not method.syncs:
        fresh = work.classifier.explicand(embeddings(), 0, ids(3), mask, SHOWN, attended(), WORDS)
        with no_waiting():
            method(fresh)
        assert method(on_meta(mask)).device.type == "meta"


def on_meta(mask=None):
    present, read, words = (part.to("meta") for part in (SHOWN, attended(), WORDS))
    with torch.device("meta"):
        module = Attending()
    modality = Texts(mask=MASK.to("meta"), padding=PAD.to("meta"))
    classifier = Classifier(module, device="meta", batch_size=2, modality=modality)
    inputs = embeddings().to("meta")
    mask = None if mask is None else mask.to("meta")
    return classifier.explicand(inputs, 0, None, mask, present, read, words)


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_scores_a_text_or_says_why_not(name):
    metric, mask = limited(METRICS[name], SMALL), SHOWN & (torch.arange(LENGTH) < 3)
    units = next(units for units in ("contribution", "importance", "gradient") if units in metric.accepts)
    map_ = normal(3, WIDTH if units == "gradient" else 1, LENGTH, seed=4)
    work = text(model(), mask=mask, groups=WORDS)
    try:
        values = metric(work, map_, Gradient(), units)
    except UnsupportedError:
        return
    alone = text(model(), mask=mask, groups=WORDS, batch_size=5).each()
    expected = [metric(one, map_[row : row + 1].clone(), Gradient(), units) for row, one in enumerate(alone)]
    torch.testing.assert_close(values, torch.cat(expected), rtol=1e-3, atol=1e-4, equal_nan=True)  # small differences
    if not metric.syncs:
        assert metric(on_meta(mask), map_.to("meta"), Gradient(), units).device.type == "meta"


# -- the modality --


def test_repr_tells_embeddings_apart():
    """It is part of the key of stored results."""
    assert repr(Texts(mask=MASK)) == repr(Texts(mask=MASK.clone())) != repr(Texts(mask=PAD))
    assert repr(Texts()) == "Texts(mask=none, padding=none)"
    assert repr(Images()) == "Images(name='image', zero_is_zero=True)"


def test_pieces():
    """Sums, spread and shares are those of segments; empty ones of shorter texts are absent."""
    work = text(bag(), groups=WORDS)
    words = work.patches(14)
    assert isinstance(words, Segments)
    features = random(3, LENGTH, seed=1)
    expected = torch.stack([features[row] @ (WORDS[row][:, None] == torch.arange(3)).float() for row in range(3)])
    close(words.sum(features), expected)
    close(words.share(expected)[:, 0].sum(1), expected.sum(1))
    tokens = text(bag()).patches(2)
    assert tokens.count == LENGTH
    assert torch.equal(tokens.present.sum(1), SHOWN.sum(1))  # numbered from the first that is present
    assert torch.equal(tokens.spread(torch.ones(3, LENGTH))[:, 0], SHOWN.float())


def test_what_is_looked_at_without_a_model():
    work = text(bag())
    mean = torch.stack([embeddings()[row][:, SHOWN[row]].mean(1) for row in range(3)])
    close(work.removal("mean").values, mean[:, :, None].expand(-1, -1, LENGTH))
    close(EdgeDetector()(work)[:, 0], (embeddings() - mean[:, :, None]).norm(dim=1) * SHOWN)
    middle = work.modality.center_blob(work.inputs, 0.25, work.present)[:, 0]
    close(middle[0], torch.exp(-((torch.tensor([0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.0]) - 0.5) ** 2) * 8) * SHOWN[0])
    masks = torch.tensor([[False, True, False, False, False, False, False]])
    assert work.modality.dilate(masks, 2)[0].tolist() == [True, True, True, False, False, False, False]
    assert torch.equal(work.modality.dilate(masks, 0), masks)
    assert torch.equal(work.upsample(features := random(3, 1, LENGTH)), features)
    assert work.upsample(random(3, 1, 3), "nearest").shape == (3, 1, LENGTH)


@pytest.mark.parametrize("removal", ["blur", "noisy_linear"])
def test_what_means_nothing_is_refused(removal):
    with pytest.raises(UnsupportedError, match=r"means nothing for this kind of input \(text\)"):
        FeatureAblation(removal=removal)(text(bag()))
    with pytest.raises(UnsupportedError, match="the pad token means nothing for this kind of input"):
        bind(linear(torch.ones(3, 8, 8)), random(1, 3, 8, 8)).removed("pad_token")
    with pytest.raises(UnsupportedError, match="the tokenizer has no mask token; choose another removal"):
        FeatureAblation()(text(bag(), modality=Texts()))


def test_groups_are_checked():
    for groups, sentence in (
        (WORDS.float(), r"groups must be integers \(3, 7\) .* got torch.float32 \(3, 7\)"),
        (WORDS[:, :5], r"got torch.int64 \(3, 5\)"),
        ([1, 2], "got list"),
        (WORDS - 1, "groups must give each present feature a number from 0"),
        (WORDS * 9, "groups must be numbered from 0 without gaps, got the number 18"),
    ):
        with pytest.raises(ValueError, match=sentence):
            text(bag(), groups=groups)


def test_groups_of_an_image():
    """Pieces of one's own in place of the grid, for any kind of input."""
    halves = (torch.arange(8) // 4).expand(2, 8, 8).contiguous()
    work = bind(linear(torch.ones(3, 8, 8)), random(2, 3, 8, 8), groups=halves)
    found = FeatureAblation()(work)[:, 0]
    expected = random(2, 3, 8, 8).sum(1).unflatten(2, (2, 4)).sum((1, 3)) / 32
    close(found[:, 0, [0, 7]], expected)


def test_sizes_are_those_of_the_texts():
    assert SIZES == (7, 5, 4)
    assert attended().sum(1).tolist() == list(SIZES)
