"""Metrics on texts: exact values by token and by word, beside special tokens and padding that have no part in them."""

import math

import numpy as np
import pytest
import torch
from known_answers import ids, normal
from rationales import rationale, scored
from text_models import MASK, PAD, WEIGHTS, WIDTH, Attending, additive, bag, bent, projected

from xaieval.attributions.feature_ablation import FeatureAblation
from xaieval.attributions.gradient import Gradient
from xaieval.classifier import Classifier
from xaieval.laws import composed
from xaieval.laws.components import SMALL, limited
from xaieval.laws.toys import seeded
from xaieval.metrics.aopc import AOPC
from xaieval.metrics.attribution_localization import AttributionLocalization
from xaieval.metrics.comprehensiveness import Comprehensiveness
from xaieval.metrics.decision_flip import DecisionFlip
from xaieval.metrics.deletion import Deletion
from xaieval.metrics.effective_complexity import EffectiveComplexity
from xaieval.metrics.entropy import Entropy
from xaieval.metrics.faithfulness_correlation import FaithfulnessCorrelation
from xaieval.metrics.faithfulness_estimate import FaithfulnessEstimate
from xaieval.metrics.infidelity import Infidelity
from xaieval.metrics.insertion import Insertion
from xaieval.metrics.iou import Iou
from xaieval.metrics.monotonicity import Monotonicity
from xaieval.metrics.morf_lerf import MorfLerf
from xaieval.metrics.mu_fidelity import MuFidelity
from xaieval.metrics.pointing_game import PointingGame
from xaieval.metrics.relevance_mass import RelevanceMass
from xaieval.metrics.relevance_rank import RelevanceRank
from xaieval.metrics.roc_auc import RocAuc
from xaieval.metrics.sensitivity_n import SensitivityN
from xaieval.metrics.sparseness import Sparseness
from xaieval.metrics.sufficiency import Sufficiency
from xaieval.metrics.token_auprc import TokenAuprc
from xaieval.metrics.token_f1 import TokenF1
from xaieval.metrics.token_iou import TokenIou
from xaieval.metrics.top_k_intersection import TopKIntersection
from xaieval.modalities.texts import Texts
from xaieval.unsupported import UnsupportedError

METRICS = dict(composed("metric"))
COUNT, LENGTH = 9, 14  # one text of nine tokens between two special ones, and three of padding
WORDS = (0, 0, 1, 2, 2, 2, 3, 4, 4)
TOKEN_FRACTIONS, WORD_FRACTIONS = (1, 1, 1, 2, 4), (1, 1, 1, 1, 2)  # 4.5 is rounded to 4, 2.5 to 2
UNITS = ["tokens", "words"]


def text(module, units="tokens", length=LENGTH, count=COUNT, words=WORDS, mask=None, tokens=None):
    """A text of `count` tokens, alone or padded to a length."""
    inputs = torch.zeros(1, WIDTH, length)
    inputs[:, :, : count + 2] = normal(1, WIDTH, count + 2, seed=5) if tokens is None else tokens
    place = torch.arange(length)[None]
    groups = torch.full((1, length), -1)
    groups[0, 1 : count + 1] = torch.tensor(words[:count])
    return Classifier(module, modality=Texts(mask=MASK, padding=PAD)).explicand(
        inputs,
        0,
        ids(1),
        mask=None if mask is None else whole(mask, length) > 0,
        present=(place > 0) & (place < count + 1),
        attended=place < count + 2,
        groups=groups if units == "words" else None,
    )


def whole(values, length=LENGTH):
    """Values of the tokens as a row of the text, with loud ones elsewhere."""
    row = torch.full((1, length), 99.0)
    row[0, 1 : len(values) + 1] = torch.as_tensor(values, dtype=torch.float32)
    return row


def map_of(values, length=LENGTH):
    return whole(values, length)[:, None]


SUM = "contribution"
"""Units of which a word has the sum of its tokens' scores."""


def noted(work, attribution):
    """A map that the explicand knows as contributions."""
    work.noted(attribution).units = SUM
    return attribution


def worth(work):
    """What each piece adds to the additive model, in NumPy."""
    gains = (bent(projected(work.inputs)) - bent(projected(MASK[None, :, None])))[0, 1 : COUNT + 1]
    return gains.double().numpy()


def by_piece(values, units):
    """The sums over words, or the values of the tokens themselves."""
    values = np.asarray(values, dtype=float)
    return values if units == "tokens" else np.bincount(WORDS, values)


def drops(values, units, scores=None):
    """What is gone after 0, 1, ... of the pieces in the order of the scores."""
    pieces, order = by_piece(values, units), np.argsort(-by_piece(values if scores is None else scores, units))
    return np.concatenate([[0], np.cumsum(pieces[order])])


def sigmoid(values):
    return 1 / (1 + np.exp(-values))


# -- faithfulness --


@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize("output", ["logit", "probability"])
def test_aopc_bins_of_comprehensiveness_and_sufficiency(units, output):
    """Of nine tokens or five words, for a map that is not the exact one."""
    work, scores = text(additive(), units), normal(COUNT, seed=3).numpy()
    gone = drops(worth(work), units, scores)
    form = sigmoid if output == "probability" else np.asarray
    clean = float(work.clean.logit)
    empty = clean - gone[-1]
    numbers = list(TOKEN_FRACTIONS if units == "tokens" else WORD_FRACTIONS)
    found = Comprehensiveness(output=output)(work, map_of(scores), units=SUM)
    assert found.item() == pytest.approx(np.mean(form(clean) - form(clean - gone[numbers])), abs=1e-5)
    found = Sufficiency(output=output)(work, map_of(scores), units=SUM)
    assert found.item() == pytest.approx(np.mean(form(clean) - form(empty + gone[numbers])), abs=1e-5)


def test_a_fraction_is_the_nearest_number_of_tokens():
    work = text(additive())
    fractions = work.curve(map_of(range(COUNT)), 14, (0.01, 0.05, 0.1, 0.2, 0.5)).fraction[0]
    assert (fractions * COUNT).round().int().tolist() == [0, *TOKEN_FRACTIONS, COUNT]


@pytest.mark.parametrize("units", UNITS)
def test_curves(units):
    """On the logit of an additive model each point is known; there are fewer pieces than steps, each goes alone."""
    work, scores = text(additive(), units), normal(COUNT, seed=3).numpy()
    clean, gone = float(work.clean.logit), drops(worth(work), units, scores)
    area = np.trapezoid(clean - gone, dx=1 / (len(gone) - 1))
    lowest = np.trapezoid(clean - drops(worth(work), units, -scores), dx=1 / (len(gone) - 1))
    for metric, expected in (
        (Deletion(output="logit"), area),
        (Insertion(output="logit"), 2 * clean - gone[-1] - area),
        (MorfLerf(output="logit"), lowest - area),
        (AOPC(output="logit"), gone.mean()),
        (Monotonicity(output="logit"), np.mean(np.diff(gone) >= 0)),
    ):
        assert metric(work, map_of(scores), units=SUM).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("units", UNITS)
def test_a_decision_flips_after_the_shortest_prefix_that_exceeds_the_margin(units):
    """Each token is worth one more than the mask token, and the margin is 3.5."""
    step = WEIGHTS / WEIGHTS.norm() ** 2
    tokens = MASK[:, None] + step[:, None] * torch.tensor([0.0, *[1.0] * COUNT, 0.0])
    work = text(bag(), units, tokens=tokens[None])
    margin = float(work.clean.logit) - 3.5
    shifted = text(_minus(margin), units, tokens=tokens[None])
    pieces = by_piece(np.ones(COUNT), units)
    scores = by_piece(np.arange(COUNT, 0, -1.0), units)
    prefix = int(np.argmax(np.cumsum(pieces[np.argsort(-scores)]) > 3.5)) + 1
    found = DecisionFlip()(shifted, map_of(np.arange(COUNT, 0, -1.0)), units=SUM)
    assert found.item() == pytest.approx(prefix / len(pieces))
    assert prefix == (4 if units == "tokens" else 2)  # two words of two and three tokens
    assert DecisionFlip()(text(_minus(-50)), map_of(range(COUNT))).item() == 1


def _minus(constant):
    """The bag with less for the class explained."""
    module = bag()
    inner = module.function
    module.function = lambda x, attended: inner(x, attended) - constant
    return module


@pytest.mark.parametrize("units", UNITS)
def test_effective_complexity_is_the_part_that_keeps_the_score(units):
    work, scores = text(additive(), units), normal(COUNT, seed=3).abs().numpy()
    values = worth(work)
    gone = drops(values, units, scores)
    loss = np.abs(gone[-1] - gone)  # of what is kept so far
    enough = [all(loss[later:] <= 0.1 * loss[0]) for later in range(len(loss))]
    expected = enough.index(True) / (len(loss) - 1)
    assert EffectiveComplexity(output="logit")(work, map_of(scores), units=SUM).item() == pytest.approx(expected)


@pytest.mark.parametrize("units", UNITS)
def test_correlations_with_the_model_are_one_for_the_exact_map(units):
    work = text(additive(), units)
    exact, part = map_of(worth(work)), 0.4
    ways = (
        MuFidelity(60, fraction=part),
        FaithfulnessCorrelation(60, fraction=part),
        FaithfulnessEstimate(),
        SensitivityN(60, fractions=(0.2, part)),
    )
    for metric in ways:
        assert metric(work, exact, units="contribution").item() == pytest.approx(1, abs=1e-5)
        assert metric(work, -exact, units="contribution").item() == pytest.approx(-1, abs=1e-5)
    assert Infidelity(60)(work, exact, units="contribution").item() == pytest.approx(0, abs=1e-6)


# -- complexity --


@pytest.mark.parametrize("units", UNITS)
def test_complexity_counts_what_is_told_apart(units):
    """Entropy ln d of an even map, Gini 0; a word's tokens count as one, with their sum, signs and all."""
    work, scores = text(bag(), units), normal(COUNT, seed=3).numpy()
    sizes = np.sort(np.abs(by_piece(scores, units)))
    shares = sizes / sizes.sum()
    assert Entropy()(work, map_of(scores), units=SUM).item() == pytest.approx(
        -(shares * np.log(shares)).sum(), rel=1e-5
    )
    places = 2 * np.arange(1, len(sizes) + 1) - len(sizes) - 1
    assert Sparseness()(work, map_of(scores), units=SUM).item() == pytest.approx(
        (places * shares).sum() / len(sizes), rel=1e-5
    )
    even = np.array([1 / WORDS.count(word) for word in WORDS]) if units == "words" else np.ones(COUNT)
    assert Entropy()(work, map_of(even), units=SUM).item() == pytest.approx(math.log(len(sizes)), rel=1e-6)
    assert Sparseness()(work, map_of(even), units=SUM).item() == pytest.approx(0, abs=1e-6)
    one = np.array([word == 2 for word in WORDS], dtype=float) if units == "words" else np.eye(COUNT)[2]
    assert Entropy()(work, map_of(one), units=SUM).item() == 0


# -- localization --

INSIDE = (1, 1, 0, 0, 1, 1, 0, 0, 0)
LOCAL = (
    *(Iou(), PointingGame(0), RelevanceMass(), RelevanceRank(), RocAuc(), TopKIntersection(0.2)),
    *(AttributionLocalization(), TokenAuprc(), TokenF1(), TokenIou()),
)


@pytest.mark.parametrize("metric", LOCAL, ids=lambda metric: type(metric).__name__)
def test_words_are_found_as_pieces_of_their_own(metric):
    """The same as for a text of five tokens whose scores are the words' sums; special tokens and padding are loud."""
    scores = normal(COUNT, seed=3).numpy()
    work = text(bag(), "words", mask=INSIDE)
    inside = np.bincount(WORDS, INSIDE) > 0
    small = rationale([inside.tolist()])
    tokens, whole_text = text(bag(), mask=INSIDE), rationale([INSIDE])
    words = scored([by_piece(scores, "words").tolist()])
    torch.testing.assert_close(metric.raw(work, noted(work, map_of(scores))), metric.raw(small, words))
    torch.testing.assert_close(metric.raw(tokens, map_of(scores)), metric.raw(whole_text, scored([scores.tolist()])))
    if not isinstance(metric, TokenIou):  # of which chance is drawn
        torch.testing.assert_close(metric(work, map_of(scores), units=SUM), metric(small, words))
        torch.testing.assert_close(
            metric(tokens, map_of(scores), units=SUM), metric(whole_text, scored([scores.tolist()]))
        )


@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize("metric", LOCAL, ids=lambda metric: type(metric).__name__)
def test_what_a_planted_model_reads_is_found(metric, units):
    """All tokens but those of the rationale are mask tokens, so that leaving one out changes nothing."""
    gain = torch.tensor([0, *(1.0 + place if inside else 0.0 for place, inside in enumerate(INSIDE)), 0])
    tokens = MASK[:, None] + (WEIGHTS / WEIGHTS.norm() ** 2)[:, None] * gain
    work = text(bag(), units, mask=INSIDE, tokens=tokens[None])
    best = 1 / metric.chance(work).item() - 1 if isinstance(metric, AttributionLocalization) else 1
    assert metric(work, FeatureAblation()(work)).item() == pytest.approx(best, abs=1e-4)


def test_shares_by_hand():
    """Scores 4, -1, 3, 2, 0 and a rationale of the first and fourth: 6/9 of the mass, one of the two top tokens."""
    work, attribution = rationale([[1, 0, 0, 1, 0]]), scored([[4, -1, 3, 2, 0]])
    assert RelevanceMass().raw(work, attribution).item() == pytest.approx(6 / 9)
    assert RelevanceRank().raw(work, attribution).item() == 1 / 2
    assert Iou().raw(work, attribution).item() == pytest.approx(1 / 3)
    assert RocAuc().raw(work, attribution).item() == pytest.approx(5 / 6)
    assert TokenAuprc().raw(work, attribution).item() == pytest.approx((1 + 2 / 3) / 2)
    assert TopKIntersection(0.5).raw(work, attribution).item() == pytest.approx(2 / 3)


def test_the_top_token_points_at_the_rationale_or_near_it():
    """A tolerance is a distance in tokens, and may reach over what is absent; words hit by any of their tokens."""
    work, attribution = rationale([[0, 0, 1, 0, 0, 0, 0, 0]]), scored([[0, 0, 0, 0, 5, 0, 0, 0]])
    assert [PointingGame(distance).raw(work, attribution).item() for distance in (0, 1, 2, 2.5)] == [0, 0, 0, 1]
    assert PointingGame(2.5).chance(work).item() == pytest.approx(5 / 8)
    assert METRICS["token_pointing"] == PointingGame(0)
    words = rationale([[0, 0, 1, 0, 0, 0]], groups=[[0, 0, 1, 1, 1, 2]])
    found = scored([[2, 2, -1, 3, 3, 4.5]])
    words.noted(found).units = SUM
    assert PointingGame(0).raw(words, found).item() == 1
    assert PointingGame(0).raw(rationale([[0, 0, 1, 0, 0, 0]]), found).item() == 0
    assert PointingGame(1.5).chance(words).item() == pytest.approx(2 / 3)  # token 1 is near, and is half of a word


def test_of_importance_a_word_has_the_mean():
    """As a method by word gives it, all of it at each token: an even map is even, whatever the number of tokens."""
    work, even = text(additive(), "words", mask=INSIDE), map_of(np.ones(COUNT))
    assert Entropy()(work, even).item() == pytest.approx(math.log(5))
    assert TokenAuprc()(work, even).item() == pytest.approx(0, abs=1e-6)
    by_word = np.array([0.3, 0.9, 0.2, 0.5, 0.1])
    spread = map_of(by_word[list(WORDS)])
    gone = np.concatenate([[0], np.cumsum(by_piece(worth(work), "words")[np.argsort(-by_word)])])
    expected = np.trapezoid(float(work.clean.logit) - gone, dx=1 / 5)
    assert Deletion(output="logit")(work, spread).item() == pytest.approx(expected, rel=1e-4)
    shared = map_of((by_word / np.bincount(WORDS))[list(WORDS)])
    for metric in (MuFidelity(60, fraction=0.4), FaithfulnessEstimate(), EffectiveComplexity(output="logit")):
        told = metric(work, shared, units="contribution").item()
        assert metric(work, spread, units="importance").item() == pytest.approx(told, abs=1e-5)


# -- padding --

NOISY = (
    *("local_lipschitz", "max_sensitivity", "non_sensitivity", "monotonicity_correlation", "smooth_mprt"),
    *("relative_input_stability", "relative_output_stability"),
)
"""Their noise is drawn for whole embeddings, and tested with the draws."""


@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize("count", [9, 3])
@pytest.mark.parametrize("name", [name for name in METRICS if name not in NOISY])
def test_padding_changes_no_value(name, count, units):
    """With the steps of a real run; texts shorter than these have no more points for it."""
    metric = (
        METRICS[name] if METRICS[name].category in ("localization", "complexity") else limited(METRICS[name], SMALL)
    )
    if hasattr(METRICS[name], "steps") and "method" not in metric.needs:
        metric = METRICS[name]
    accepted = next(one for one in ("contribution", "importance", "gradient") if one in metric.accepts)
    full = normal(1, WIDTH if accepted == "gradient" else 1, 40, seed=4)
    found = []
    for length in (count + 2, 40):
        work = text(deep(), units, length, count, mask=INSIDE[:count])
        try:
            found.append(metric(work, full[..., :length].contiguous(), Gradient(), accepted))
        except UnsupportedError:
            return
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-4, equal_nan=True)


def deep():
    """A small transformer with places for long texts."""
    module = seeded(Attending).eval()
    module.place = torch.nn.Parameter(normal(40, 8, seed=9))
    return module
