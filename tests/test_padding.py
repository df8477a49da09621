"""Padding a text further, for the sake of a longer one beside it, changes no number of any method or metric."""

import dataclasses
from functools import cache

import pytest
import torch

from xaieval.attributions.input_x_gradient import InputXGradient
from xaieval.classifier import Classifier
from xaieval.draws import BLOCK, Draws
from xaieval.laws import composed
from xaieval.laws.components import SMALL, has_field, limited
from xaieval.laws.toys import seeded
from xaieval.unsupported import UnsupportedError

transformers = pytest.importorskip("transformers")

from xaieval.models.hf import Embedded  # noqa: E402

METHODS = {name: method for name, method in composed("method") if "world" not in method.needs}
METRICS = dict(composed("metric"))
WIDTH, PAD, MASK, FURTHER = 16, 1, 4, (1, 7, 40)
TEXTS = (torch.arange(9) * 3 % 25 + 5, torch.arange(6) * 4 % 25 + 5)
WORDS = (torch.tensor([-1, 0, 0, 1, 2, 2, 3, 3, -1]), torch.tensor([-1, 0, 1, 1, 2, -1]))
RATIONALES = (torch.arange(9) % 4 == 1, torch.arange(6) == 1)

NO_RECTIFIERS = "Embedded calls no relu, relu6 or hardtanh"
NO_EXCITATION = (
    "(BertSelfAttention) calls scaled_dot_product_attention, for which excitation backpropagation has no rule"
)
NO_RULE = "model.bert.embeddings.LayerNorm (LayerNorm) calls layer_norm, for which"
REFUSED = {
    **dict.fromkeys(("excitation_backprop", "contrastive_excitation_backprop"), NO_EXCITATION),
    **dict.fromkeys(("guided_backprop", "deconvnet"), NO_RECTIFIERS),
    **dict.fromkeys(("deeplift", "lrp", "lrp_alpha2_beta1", "lrp_epsilon_gamma_box"), NO_RULE),
    "coam": "the model has no concepts",
    "causal_path": "has no layer that takes and gives activations",
    "blur_ig": "a blur means nothing for this kind of input (text)",
    "road": "interpolating what is gone means nothing for this kind of input (text)",
    **dict.fromkeys(("cem", "cem_1", "cem_3", "cem_5", "cgim", "cgim_scores"), "a concept means nothing for this kind"),
}
BOTH = pytest.mark.parametrize("words", [False, True])


@cache
def model(decoder=False):
    """A tiny one with random weights, larger than those at the start of training so that everything has an effect."""
    common = {"vocab_size": 30, "pad_token_id": PAD, "num_labels": 3}
    if decoder:
        config = transformers.GPT2Config(**common, n_embd=WIDTH, n_layer=1, n_head=2, n_positions=60)
    else:
        sizes = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
        config = transformers.BertConfig(**common, **sizes, max_position_embeddings=60)

    def make():
        made = transformers.AutoModelForSequenceClassification.from_config(config).eval()
        for parameter in made.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.3)
        return made

    return Embedded(seeded(make))


def bound(rows, length, words=False, left=False, decoder=False):
    """The texts with these numbers, padded to a length on the right or left side."""

    def table(values, fill):
        found = torch.full((len(rows), length), fill, dtype=values[0].dtype)
        for row, number in enumerate(rows):
            found[row, place(number, length, left)] = values[number]
        return found

    tokens = table(TEXTS, PAD)
    attended = table([torch.ones_like(text, dtype=torch.bool) for text in TEXTS], False)
    inside = [torch.arange(len(text)) % (len(text) - 1) > 0 for text in TEXTS]  # first and last are special
    module = model(decoder)
    return Classifier(module, modality=module.modality(MASK, PAD), batch_size=16).explicand(
        module.embed(tokens),
        [0, 1][rows[0] : rows[0] + len(rows)],
        [f"text {row}" for row in rows],
        mask=table(RATIONALES, False),
        present=table(inside, False),
        attended=attended,
        groups=table(WORDS, -1) if words else None,
    )


def place(number, length, left=False):
    size = len(TEXTS[number])
    return slice(length - size, None) if left else slice(size)


@cache
def alone(number, words):
    return bound([number], len(TEXTS[number]), words)


@cache
def together(further, words):
    return bound([0, 1], len(TEXTS[0]) + further, words)


def inner(maps, number, length, left=False):
    """A text's own map `(C, tokens)`, without special tokens and padding."""
    return maps[..., place(number, length, left)][..., 1:-1]


def close(found, expected):
    """Up to rounding, which adds up in another order: 1e-4 of the largest."""
    scale = max(1e-6, float(expected.nan_to_num().abs().max()))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * scale, equal_nan=True)


def variants(component):
    """The component, and with a removal that draws."""
    drawn = [dataclasses.replace(component, removal="noise")] if has_field(component, "removal") else []
    return [component, *drawn]


@BOTH
@pytest.mark.parametrize("name", METHODS)
def test_maps(name, words):
    for method in variants(limited(METHODS[name], SMALL)):
        if name in REFUSED:
            for work in (alone(0, words), together(7, words)):
                with pytest.raises(UnsupportedError) as refused:
                    method(work)
                assert REFUSED[name] in str(refused.value)
            return
        expected = [method(alone(number, words))[0] for number in (0, 1)]
        assert all(bool(values.isfinite().all()) for values in expected)
        for further in FURTHER:
            work = together(further, words)
            for number, maps in enumerate(method(work)):
                length = len(TEXTS[number])
                close(inner(maps, number, work.shape[2]), inner(expected[number], number, length))


@BOTH
@pytest.mark.parametrize("name", METRICS)
def test_values(name, words):
    for metric in variants(limited(METRICS[name], SMALL)):
        for units in metric.accepts:
            values, maps = [], []
            for number, text in enumerate(TEXTS):
                shape = (1, WIDTH if units == "gradient" else 1, len(text))
                maps.append(torch.randn(shape, generator=torch.Generator().manual_seed(number)))
                work = alone(number, words)
                if name in REFUSED:
                    with pytest.raises(UnsupportedError) as refused:
                        metric(work, maps[-1], InputXGradient(), units)
                    assert REFUSED[name] in str(refused.value)
                else:
                    values.append(metric(work, maps[-1], InputXGradient(), units))
            for further in FURTHER if values else ():
                work = together(further, words)
                padded = torch.full((2, maps[0].shape[1], work.shape[2]), 7.0)
                for number, one in enumerate(maps):
                    padded[number, :, place(number, work.shape[2])] = one[0]
                found = metric(work, padded, InputXGradient(), units)
                for number, value in enumerate(values):
                    close(found[number : number + 1], value)


@pytest.mark.parametrize("decoder", [False, True])
def test_rollout_is_that_of_the_models_own_weights(decoder):
    """`(A + I) / 2` of each layer of the unpadded text, from the first token, in decoders the last."""
    own = model(decoder).model
    own.set_attn_implementation("eager")
    try:
        for number, text in enumerate(TEXTS):
            row = torch.zeros(len(text))
            row[-1 if decoder else 0] = 1.0
            for weights in reversed(own(input_ids=text[None], output_attentions=True).attentions):
                row = row @ (weights[0].mean(0) + torch.eye(len(text))) / 2
            for further in (0, 7):
                work = bound([number], len(text) + further, decoder=decoder)
                found = METHODS["attention_rollout"](work)[0, 0]
                close(found[: len(text)], row.detach())
                assert torch.equal(found[len(text) :], torch.zeros(further))
    finally:
        own.set_attn_implementation("sdpa")


def test_what_is_refused_is_known():
    assert set(REFUSED) <= set(METHODS) | set(METRICS)


@pytest.mark.parametrize(
    "name", ["smoothgrad", "sobol", "rise", "kernel_shap", "occlusion", "random", "permuted", "attention_relevance"]
)
def test_the_side_is_of_no_account(name):
    """Padded on the left, as decoders are: a token's number is that among the present ones."""
    method = limited(METHODS[name], SMALL)
    for decoder in (False, True):
        for number in (0, 1):
            right = method(bound([number], 20, True, False, decoder))[0]
            left = method(bound([number], 33, True, True, decoder))[0]
            close(inner(left, number, 33, True), inner(right, number, 20))


def test_ids_by_content_do_not_know_the_padding():
    names = []
    for further in FURTHER:
        work = together(further, False)
        names.append(work.classifier.explicand(work.inputs, 0, present=work.present, attended=work.attended).ids)
    assert names[0] == names[1] == names[2]
    assert len(set(names[0])) == 2


@pytest.mark.parametrize("name", ["normal", "uniform"])
def test_first_entries_do_not_depend_on_how_many_there_are(name):
    keys = [(0, "text", "", "noise", variant) for variant in range(3)]
    draws = getattr(Draws(torch.device("cpu"), ragged=True), name)
    most = draws((4, 3 * BLOCK + 5), keys)
    for length in (1, 5, BLOCK, BLOCK + 1, 2 * BLOCK + 3):
        assert torch.equal(draws((4, length), keys), most[..., :length])
    numbers = most.flatten()
    assert numbers.unique().numel() > 0.99 * numbers.numel()  # no block is another one's
    assert torch.equal(draws((), keys), getattr(Draws(torch.device("cpu")), name)((), keys))


@pytest.mark.parametrize("sampler", ["sobol", "halton", "latin_hypercube", "monte_carlo"])
def test_first_columns_of_a_design_do_not_depend_on_how_many_there_are(sampler):
    """And columns of several blocks are still spread evenly, each by itself and with others."""
    method, work = dataclasses.replace(METHODS["sobol"], sampler=sampler, designs=1024), together(7, False)
    few, many = (work.piece_design("sobol", 0, method._points, pieces, parts=2)[0] for pieces in (5, 2 * BLOCK + 1))
    assert torch.equal(few.unflatten(1, (2, 5)), many.unflatten(1, (2, 2 * BLOCK + 1))[:, :, :5])
    correlation = torch.corrcoef(many.T).fill_diagonal_(0.0)
    assert float(correlation.abs().max()) < 0.35
    torch.testing.assert_close(many.mean(0), torch.full((many.shape[1],), 0.5), rtol=0, atol=0.08)
