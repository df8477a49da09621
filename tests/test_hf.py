"""Transformers behind their embeddings: padding, masks and positions are the model's own, and deletion is real."""

import pytest
import torch
from known_answers import ids
from torch import nn

from xaieval.attributions.feature_ablation import FeatureAblation
from xaieval.attributions.integrated_gradients import IntegratedGradients
from xaieval.classifier import Classifier
from xaieval.laws.guards import no_waiting
from xaieval.laws.toys import seeded

transformers = pytest.importorskip("transformers")

from xaieval.models.hf import Embedded  # noqa: E402

WIDTH, VOCABULARY, LENGTH, PAD, MASK = 16, 30, 9, 1, 4
COMMON = {"vocab_size": VOCABULARY, "pad_token_id": PAD, "num_labels": 3}
SMALL = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
CONFIGS = {
    "bert": lambda: transformers.BertConfig(**COMMON, **SMALL, max_position_embeddings=LENGTH),
    "roberta": lambda: transformers.RobertaConfig(**COMMON, **SMALL, max_position_embeddings=LENGTH + 2),
    "distilbert": lambda: transformers.DistilBertConfig(
        **COMMON, dim=WIDTH, n_layers=2, n_heads=2, hidden_dim=32, max_position_embeddings=LENGTH
    ),
    "gpt2": lambda: transformers.GPT2Config(**COMMON, n_embd=WIDTH, n_layer=2, n_head=2, n_positions=LENGTH),
    "llama": lambda: transformers.LlamaConfig(**COMMON, **SMALL, num_key_value_heads=1, max_position_embeddings=LENGTH),
}
DECODERS = ("gpt2", "llama")
SIZES = (9, 6, 4)
EVERY = pytest.mark.parametrize("name", CONFIGS)
BOTH = pytest.mark.parametrize("attention", ["eager", "sdpa"])


def model(name, attention="sdpa", device="cpu"):
    """A tiny one with random weights, larger than those at the start of training so that everything has an effect."""
    config = CONFIGS[name]()
    config._attn_implementation = attention

    def make():
        with torch.device(device):
            made = transformers.AutoModelForSequenceClassification.from_config(config).eval()
        if device == "cpu":
            for parameter in made.parameters():
                nn.init.normal_(parameter, std=0.3)
        return made

    return seeded(make)


def tokens(row):
    """The numbers of a text's tokens `(1, t)`, none of which is the pad token's."""
    return torch.arange(SIZES[row])[None] * (row + 3) % (VOCABULARY - 5) + 5


def padded(left):
    """All texts `(3, 9)` and what is attended."""
    texts, there = torch.full((3, LENGTH), PAD), torch.zeros(3, LENGTH, dtype=torch.bool)
    for row, size in enumerate(SIZES):
        part = slice(LENGTH - size, None) if left else slice(size)
        texts[row, part], there[row, part] = tokens(row)[0], True
    return texts, there


@EVERY
@BOTH
@pytest.mark.parametrize("left", [False, True])
def test_padded_is_unpadded_is_the_model_itself(name, attention, left):
    """On either side; the model's own answer is that for the numbers of one text, without any padding."""
    made = model(name, attention)
    texts, there = padded(left)
    found = Embedded(made)(Embedded(made).embed(texts), there)
    own = torch.cat([made(input_ids=tokens(row)).logits for row in range(3)])
    torch.testing.assert_close(found, own, rtol=1e-5, atol=1e-5)


@EVERY
@BOTH
def test_it_is_the_model_with_its_own_mask(name, attention):
    """Padded on the right side for each: encoders right, decoders left; the model makes what it needs of `(N, T)`."""
    made = model(name, attention)
    left = name in DECODERS
    texts, there = padded(left)
    options = {"position_ids": (there.long().cumsum(1) - 1).clamp(min=0)} if left else {}
    own = made(input_ids=texts, attention_mask=there.long(), **options).logits
    torch.testing.assert_close(Embedded(made)(Embedded(made).embed(texts), there), own, rtol=1e-5, atol=1e-5)


@EVERY
def test_gradients_are_those_at_the_models_own_embedding(name):
    made = model(name)
    texts, there = padded(name in DECODERS)
    work = explicand(made, texts, there)
    kept = []

    def keep(layer, given, output):
        kept.append(output.detach().requires_grad_())
        return kept[-1]

    made.get_input_embeddings().register_forward_hook(keep)
    for row, size in enumerate(SIZES):
        logits = made(input_ids=tokens(row)).logits
        (gradient,) = torch.autograd.grad(logits[0, row], kept[-1])
        found = work.gradient[row][:, there[row]]
        torch.testing.assert_close(found, gradient[0].mT, rtol=1e-4, atol=1e-6)
        assert torch.equal(work.gradient[row][:, ~there[row]], torch.zeros(WIDTH, LENGTH - size))


def explicand(made, texts, there, **options):
    wrapped = Embedded(made)
    classifier = Classifier(wrapped, modality=wrapped.modality(MASK, PAD), batch_size=4)
    return classifier.explicand(wrapped.embed(texts), [0, 1, 2], ids(3), present=there, attended=there, **options)


@EVERY
@BOTH
def test_deletion_is_deletion(name, attention):
    """Each token in turn, the last as well, which a decoder reads: the model's own answer to the shorter text.

    Rounding in float32 alone is left, 1e-5 of the largest logit.
    """
    made = model(name, attention)
    texts, there = padded(name in DECODERS)
    work = explicand(made, texts, there)
    drops = FeatureAblation(removal="deletion")(work)[:, 0]
    for row, size in enumerate(SIZES):
        full = tokens(row)
        clean = made(input_ids=full).logits[0, row]
        shorter = [made(input_ids=full[:, torch.arange(size) != place]).logits[0, row] for place in range(size)]
        expected = clean - torch.stack(shorter)
        scale = float(torch.stack([clean, *shorter]).detach().abs().max())
        torch.testing.assert_close(drops[row][there[row]], expected, rtol=0, atol=1e-5 * scale)


@EVERY
def test_removals_are_tokens(name):
    """What the mask or pad token does is what the model says to a text with its number in place."""
    made = model(name)
    texts, there = padded(name in DECODERS)
    work = explicand(made, texts, there)
    for removal, number in (("zero", MASK), ("pad_token", PAD)):
        drops = FeatureAblation(removal=removal)(work)[0, 0]
        for place in (0, 3, 8):
            other = tokens(0).clone()
            other[0, place] = number
            own = made(input_ids=other, **({} if name != "roberta" else {"position_ids": torch.arange(9)[None] + 2}))
            if name in DECODERS and (removal, place) == ("pad_token", 8):
                continue  # the model itself would read the token before it
            expected = work.clean.logit[0] - own.logits[0, 0]
            torch.testing.assert_close(drops[place], expected, rtol=1e-5, atol=1e-5)


@EVERY
@BOTH
def test_runs_on_meta_and_without_waiting(name, attention):
    texts, there = padded(name in DECODERS)
    wrapped = Embedded(model(name, attention, "meta"))
    inputs = torch.empty(3, WIDTH, LENGTH, device="meta")
    classifier = Classifier(wrapped, device="meta", modality=wrapped.modality(MASK, PAD))
    where = there.to("meta")
    work = classifier.explicand(inputs, 0, present=where, attended=where)
    for method in (IntegratedGradients(3), FeatureAblation(removal="deletion")):
        assert method(work).device.type == "meta"
        real = explicand(model(name, attention), texts, there)
        with no_waiting():
            method(real)


@EVERY
def test_contributions_are_complete(name):
    """Integrated gradients from the text of mask tokens alone."""
    work = explicand(model(name), *padded(name in DECODERS))
    total = work.features(IntegratedGradients(300)(work)).sum(1)
    torch.testing.assert_close(total, work.clean.logit - work.removed("zero").logit, rtol=2e-2, atol=2e-2)


def test_bfloat16():
    """The mask is finite there too, so that rows without any key do not become NaN."""
    for name in CONFIGS:
        wrapped = Embedded(model(name))
        texts, there = padded(True)
        classifier = Classifier(wrapped, precision="bfloat16")
        logits = classifier.explicand(wrapped.embed(texts), 0, present=there, attended=there).logits
        own = wrapped(wrapped.embed(texts), there).detach()
        assert bool(logits.isfinite().all())
        assert float((logits - own).abs().max()) < 0.1 * float(own.abs().max())


def test_bad_models_and_texts():
    made = model("gpt2")
    made.config.pad_token_id = None
    with pytest.raises(ValueError, match="GPT2ForSequenceClassification has no pad token"):
        Embedded(made)
    wrapped = Embedded(model("roberta"))
    with pytest.raises(ValueError, match="has 9 positions, got texts of 10 tokens: truncate them"):
        wrapped(torch.zeros(1, WIDTH, 10), torch.ones(1, 10, dtype=torch.bool))
    assert wrapped.modality(None, PAD).mask is None
