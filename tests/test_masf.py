"""What is usual: Max-Simes-Fisher against a slow derivation, its promises, and the features of a transformer."""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import pytest
import torch
from known_answers import ids, normal

from xaieval.classifier import Classifier
from xaieval.component import Method
from xaieval.laws.guards import no_waiting
from xaieval.masf import Pooled, Reference, dataset_p
from xaieval.metrics.masf import MaSF

LAYERS, WIDTH = 3, 4


def features(count, seed=0):
    """Texts whose dimensions are correlated, as hidden states are."""
    own = normal(count, LAYERS, WIDTH, seed=seed)
    return own + normal(count, LAYERS, 1, seed=seed + 1) + normal(count, 1, 1, seed=seed + 2)


def share_below(known, value):
    return Fraction(sum(other < value for other in known), len(known))


def both_sides(known, value):
    below = share_below(known, value)
    return min(below, 1 - below)


def simes(p):
    return min(Fraction(len(p), place + 1) * value for place, value in enumerate(sorted(p)))


def slow(known, texts):
    """Text by text and number by number, in plain Python, with fractions, so that equal numbers are equal."""
    known, texts = known.double().tolist(), texts.double().tolist()

    def layers(text):
        return [
            simes([both_sides([other[layer][d] for other in known], text[layer][d]) for d in range(WIDTH)])
            for layer in range(LAYERS)
        ]

    usual = [layers(text) for text in known]

    def fisher(numbers):
        p = [both_sides([other[layer] for other in usual], numbers[layer]) for layer in range(LAYERS)]
        return math.fsum(-2 * math.log(value + 1e-8) for value in p)

    last = [fisher(numbers) for numbers in usual]
    return [float(1 - share_below(last, fisher(layers(text)))) for text in texts]


def test_it_is_the_slow_derivation():
    known, texts = features(15), torch.cat((features(6, 10), 2.5 * features(4, 20), features(15)[:3]))
    found = Reference.fit(known).p_values(texts)
    torch.testing.assert_close(found, torch.tensor(slow(known, texts)), rtol=0, atol=1e-6)


def test_the_levels_by_hand():
    """One layer of one dimension, reference 0 1 2 3: F = i / 4, p = 0 1/4 1/2 1/4; -2 log is highest for the 0."""
    reference = Reference.fit(torch.arange(4.0)[:, None, None])
    assert reference.features.flatten().tolist() == [0, 1, 2, 3]
    assert reference.simes.flatten().tolist() == [0, 0.25, 0.25, 0.5]  # then F = 0, 1/4, 1/4, 3/4
    expected = sorted(-2 * math.log(p + 1e-8) for p in (0, 0.25, 0.25, 0.25))
    torch.testing.assert_close(reference.fisher, torch.tensor(expected, dtype=torch.float64))
    assert reference.p_values(torch.tensor([-1.0, 0.5, 1.5]).view(3, 1, 1)).tolist() == [0.25, 1.0, 1.0]
    assert float(reference.smallest) == 0.25


def test_usual_texts_are_below_5_percent_5_times_in_100():
    """Of 2000 held-out texts the share is in the central 99.9 % of a binomial with the spread of 2000 known ones."""
    found = Reference.fit(features(2000)).p_values(features(2000, 100))
    deviation = math.sqrt(0.05 * 0.95 * (1 / 2000 + 1 / 2000))
    assert abs(float((found < 0.05).float().mean()) - 0.05) < 3.3 * deviation
    assert abs(float(found.mean()) - 0.5) < 3.3 * math.sqrt(1 / 12 * (1 / 2000 + 1 / 2000))
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    assert float(dataset_p(found)) > 0.05


def test_nothing_like_it_has_the_smallest_p():
    """Which is 0 unless some reference texts are outermost at every layer themselves, being too few for their width."""
    reference = Reference.fit(features(500))
    assert torch.equal(reference.p_values(features(20, 5) + 1e6), torch.zeros(20))
    assert float(dataset_p(reference.p_values(features(20, 5) + 1e6))) == 0
    assert float(reference.smallest) == 0
    few = Reference.fit(normal(6, 2, 50))
    assert float(few.smallest) > 0.05
    torch.testing.assert_close(few.p_values(normal(3, 2, 50) + 1e6), few.smallest.expand(3))


def test_the_order_of_texts_does_not_matter():
    known, texts = features(40), features(30, 3)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    found = Reference.fit(known).p_values(texts)
    assert torch.equal(Reference.fit(known[order]).p_values(texts), found)
    assert torch.equal(Reference.fit(known).p_values(texts.flip(0)), found.flip(0))
    assert torch.equal(Reference.fit(known).p_values(texts[7:8]), found[7:8])
    assert torch.equal(Reference.fit(known).p_values(texts.flatten(1)), found)


def test_many_texts_together():
    """min(4 * .01, 2 * .3, 4/3 * .5, .9) = .04; it is at most the largest p."""
    assert float(dataset_p(torch.tensor([0.5, 0.01, 0.9, 0.3]))) == pytest.approx(0.04)
    assert float(dataset_p(torch.tensor([0.7]))) == pytest.approx(0.7)


def test_save_and_load(tmp_path):
    reference = Reference.fit(features(30))
    reference.save(tmp_path / "reference.safetensors")
    again = Reference.load(tmp_path / "reference.safetensors")
    assert torch.equal(again.p_values(features(9, 4)), reference.p_values(features(9, 4)))
    assert (again.texts, again.shape) == (30, (LAYERS, WIDTH))


def test_nothing_waits_and_meta():
    reference = Reference.fit(features(30))
    with no_waiting():
        reference.p_values(features(5, 3))
        dataset_p(reference.p_values(features(5, 3)))
    found = reference.to("meta").p_values(features(5, 3).to("meta"))
    assert found.shape == (5,)
    assert found.is_meta


def test_bad_references_and_texts():
    with pytest.raises(ValueError, match=r"expected features \(n, L, D\) of at least two texts, got \(1, 3, 4\)"):
        Reference.fit(features(1))
    with pytest.raises(ValueError, match="expected finite features"):
        Reference.fit(features(3) / 0)
    with pytest.raises(ValueError, match=r"expected features \(N, 3, 4\), got \(5, 3, 5\): the reference is that of"):
        Reference.fit(features(3)).p_values(torch.zeros(5, 3, 5))


class TestTransformer:
    """A tiny one with random weights."""

    @pytest.fixture(autouse=True)
    def _needs(self):
        pytest.importorskip("transformers")

    @pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "gpt2", "llama"])
    def test_features_are_the_models_own_hidden_states(self, name):
        """Text by text without padding, by the numbers of its tokens, through a plain call of transformers."""
        from test_hf import DECODERS, MASK, PAD, SIZES, model, padded, tokens

        from xaieval.models.hf import Embedded

        made = model(name)
        texts, there = padded(name in DECODERS)
        wrapped = Embedded(made)
        classifier = Classifier(wrapped, modality=wrapped.modality(MASK, PAD), batch_size=2)
        work = classifier.explicand(wrapped.embed(texts), 0, ids(3), present=there, attended=there)
        around = classifier.around(Pooled(wrapped), "pooled")
        found = around.logits(work.inputs, work.attended)
        for row in range(len(SIZES)):
            states = made(input_ids=tokens(row), output_hidden_states=True).hidden_states
            expected = torch.cat([state[0].amax(0) for state in states])
            assert len(states) == 3
            torch.testing.assert_close(found[row], expected, rtol=1e-5, atol=1e-5)
        assert torch.equal(classifier.logits(work.inputs, work.attended), work.logits)

    def bert(self):
        from test_hf import model

        from xaieval.models.hf import Embedded

        return Embedded(model("bert"))

    def bound(self, wrapped, **options):
        from test_hf import MASK, PAD, padded

        texts, there = padded(False)
        classifier = Classifier(wrapped, modality=wrapped.modality(MASK, PAD), batch_size=4, **options)
        shown = there & (torch.arange(there.shape[1]) > 0)  # as if the first were a special token
        return classifier.explicand(wrapped.embed(texts), 0, ids(3), present=shown, attended=there)

    def usual(self, wrapped, count=200):
        """Texts of random tokens, as many as the dimensions need."""
        from test_hf import LENGTH, VOCABULARY

        texts = torch.randint(5, VOCABULARY, (count, LENGTH), generator=torch.Generator().manual_seed(2))
        there = torch.arange(LENGTH) < torch.randint(
            3, LENGTH + 1, (count, 1), generator=torch.Generator().manual_seed(3)
        )
        with torch.no_grad():
            found = Pooled(wrapped)(wrapped.embed(texts), there)
        return Reference.fit(found.view(count, 3, -1))

    def test_p_values_of_masked_texts(self):
        """Tokens of a fixed importance: at ratio k the model's own hidden states of the text with its mask tokens."""
        from test_hf import MASK, SIZES, tokens

        wrapped = self.bert()
        wrapped.reference = self.usual(wrapped)
        work = self.bound(wrapped)
        method = Ranked()
        with work.meter.ledger() as ledger:
            values = MaSF().score(work, method(work), "importance", method)
        assert ledger.standalone.forwards == 3 * 11
        assert MaSF().undefined(work, method(work), "importance")["too few reference texts"].tolist() == [False] * 3
        for row, size in enumerate(SIZES):
            for ratio in range(11):
                masked, gone = tokens(row).clone(), ratio * (size - 1) // 10
                masked[0, size - gone :] = MASK
                states = wrapped.model(input_ids=masked, output_hidden_states=True).hidden_states
                features = torch.stack([state.detach()[0].amax(0) for state in states])
                expected = wrapped.reference.p_values(features[None])[0]
                # the layers' own rounding may move a text past a neighbor or two of 200
                assert abs(float(values[row, ratio] - expected)) < 0.02
        masked = work.classifier.with_weights({"model.classifier.bias": torch.ones(3)})  # what else is bound to it
        assert torch.equal(MaSF().score(work.like(classifier=masked), method(work), "importance", method), values)

    def test_other_weights_have_other_hidden_states(self):
        wrapped = self.bert()
        wrapped.reference = self.usual(wrapped)
        work, method = self.bound(wrapped), Ranked()
        name = "model.bert.encoder.layer.0.output.dense.weight"
        other = work.with_weights({name: torch.zeros_like(work.classifier.weights[name])})
        before, after = (MaSF().score(one, method(one), "importance", method) for one in (work, other))
        assert not torch.equal(before, after)
        assert torch.equal(MaSF().score(self.bound(wrapped), method(work), "importance", method), before)

    def test_without_reference_texts(self):
        wrapped = self.bert()
        work, method = self.bound(wrapped), Ranked()
        before = work.meter.forwards
        assert bool(MaSF().score(work, method(work), "importance", method).isnan().all())
        first = next(iter(MaSF().undefined(work, method(work), "importance")))
        assert first == "no reference: `xaieval train text`"
        assert MaSF().undefined_with(work, method) == {}
        assert work.meter.forwards == before
        wrapped.reference = self.usual(wrapped, 6)
        few = MaSF().undefined(self.bound(wrapped), method(work), "importance")
        assert few["too few reference texts"].tolist() == [True] * 3


@dataclass(frozen=True)
class Ranked(Method):
    """The last token first."""

    units: ClassVar[str] = "importance"
    reference: ClassVar[str] = "none"

    def attribute(self, explicand):
        return torch.arange(1.0, explicand.shape[2] + 1).expand(explicand.count, 1, -1).clone()


def test_the_share_below_alpha():
    """Whole texts do not count, nor those that are undefined."""
    values = torch.tensor([[0.01, 0.04, 0.05, 0.2], [0.9, 0.9, 0.0, 0.9], [torch.nan] * 4])
    assert MaSF(3).aggregate(values) == pytest.approx(2 / 6)
    assert MaSF(3, alpha=0.01).aggregate(values) == pytest.approx(1 / 6)
    with pytest.raises(ValueError, match=r"MaSF: alpha must lie in \(0, 1\), got 1"):
        MaSF(alpha=1)
