"""Layers of text models: their outputs as channels of the tokens, in the order of the text, without what is padded."""

from functools import cache

import pytest
import torch
from known_answers import ids, normal
from text_models import LENGTH, SIZES, TextModel, projected, text
from torch import nn

from xaieval.attributions.ablation_cam import AblationCAM
from xaieval.attributions.eigen_cam import EigenCAM
from xaieval.attributions.grad_cam import GradCAM
from xaieval.attributions.grad_cam_plus_plus import GradCAMPlusPlus
from xaieval.attributions.hires_cam import HiResCAM
from xaieval.attributions.layer_cam import LayerCAM
from xaieval.attributions.normgrad import NormGrad
from xaieval.attributions.score_cam import ScoreCAM
from xaieval.attributions.xgrad_cam import XGradCAM
from xaieval.classifier import Classifier
from xaieval.contributions import Kernel, aggregated
from xaieval.laws.guards import no_waiting, untouched
from xaieval.laws.toys import seeded
from xaieval.metrics.relative_representation_stability import RelativeRepresentationStability
from xaieval.unsupported import UnsupportedError

transformers = pytest.importorskip("transformers")

from xaieval.models.hf import Embedded  # noqa: E402

WIDTH, LONGEST, PAD, MASK = 16, 12, 1, 4
COMMON = {"vocab_size": 30, "pad_token_id": PAD, "num_labels": 3}
SMALL = {"hidden_size": WIDTH, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
CONFIGS = {
    "bert": lambda: transformers.BertConfig(**COMMON, **SMALL, max_position_embeddings=40),
    "roberta": lambda: transformers.RobertaConfig(**COMMON, **SMALL, max_position_embeddings=40),
    "distilbert": lambda: transformers.DistilBertConfig(
        **COMMON, dim=WIDTH, n_layers=3, n_heads=2, hidden_dim=32, max_position_embeddings=40
    ),
    "gpt2": lambda: transformers.GPT2Config(**COMMON, n_embd=WIDTH, n_layer=3, n_head=2, n_positions=40),
    "llama": lambda: transformers.LlamaConfig(**COMMON, **SMALL, num_key_value_heads=1, max_position_embeddings=40),
}
DEFAULTS = {
    "bert": "model.bert.encoder.layer.1",
    "roberta": "model.roberta.encoder.layer.1",
    "distilbert": "model.distilbert.transformer.layer.1",
    "gpt2": "model.transformer.h.1",
    "llama": "model.model.layers.1",
}
OTHERS = {  # one that is named: the last block, of which one token is read; a part of one; what goes into the first
    "bert": ("model.bert.encoder.layer.2", "model.bert.encoder.layer.0.intermediate", "model.bert.embeddings"),
    "gpt2": ("model.transformer.h.2", "model.transformer.h.0.mlp.act", "model.transformer.drop"),
}
TOKENS = (torch.arange(9) * 3 % 25 + 5, torch.arange(6) * 4 % 25 + 5, torch.tensor([7, 20, 11]))
EVERY = pytest.mark.parametrize("name", CONFIGS)
TWO = pytest.mark.parametrize("name", OTHERS)
SIDES = pytest.mark.parametrize("left", [False, True])


@cache
def model(name, device="cpu"):
    """A tiny one with random weights, larger than those at the start of training so that everything has an effect."""

    def make():
        with torch.device(device):
            made = transformers.AutoModelForSequenceClassification.from_config(CONFIGS[name]()).eval()
        for parameter in made.parameters():
            if parameter.dim() > 1 and device == "cpu":
                nn.init.normal_(parameter, std=0.3)
        return made

    return seeded(make)


def features(name, size):
    """Which tokens are no special ones: encoders begin and end with one."""
    place = torch.arange(size)
    return (place > 0) & (place < size - 1) if CONFIGS[name]().model_type not in ("gpt2", "llama") else place >= 0


def work(name, rows=(0, 1, 2), length=LONGEST, left=False, device="cpu", names=None, **options):
    """The texts with these numbers, padded to a length on one side; for the classes 0, 1, 2."""
    tokens = torch.full((len(rows), length), PAD)
    attended, present = torch.zeros(2, len(rows), length, dtype=torch.bool)
    for row, number in enumerate(rows):
        part = place(number, length, left)
        tokens[row, part], attended[row, part] = TOKENS[number], True
        present[row, part] = features(name, len(TOKENS[number]))
    module = Embedded(model(name, device))
    inputs = torch.empty(len(rows), WIDTH, length, device=device) if device == "meta" else module.embed(tokens)
    classifier = Classifier(module, device=device, modality=module.modality(MASK, PAD), batch_size=2, **options)
    where = {"present": present.to(device), "attended": attended.to(device)}
    return classifier.explicand(inputs, [number % 3 for number in rows], names or ids(len(rows)), **where)


def place(number, length, left=False):
    size = len(TOKENS[number])
    return slice(length - size, None) if left else slice(size)


def hooked(name, layer, number):
    """Output of a block and the logit's gradient there, `(K, t)`: the model's own call of one text, without padding."""
    made, kept = model(name), []
    handle = made.get_submodule(layer.removeprefix("model.")).register_forward_hook(
        lambda part, given, output: kept.append(output)
    )
    try:
        logit = made(input_ids=TOKENS[number][None]).logits[0, number % 3]
    finally:
        handle.remove()
    (gradient,) = torch.autograd.grad(logit, kept[0])
    return kept[0][0].detach().mT, gradient[0].mT


def slow(method, activation, gradient, there):
    """The map of one text `(t,)` by its formula, token by token: only features count."""
    found = torch.zeros(len(there))
    for u in there.nonzero()[:, 0].tolist():
        x, g = activation[:, u], gradient[:, u]
        if method == "normgrad":
            found[u] = x.norm() * g.norm()
        elif method == "hires_cam":
            found[u] = x @ g
        elif method == "layer_cam":
            found[u] = (x * g.clamp(min=0)).sum()
        else:
            shares = {
                "grad_cam": gradient[:, there].mean(1),
                "xgrad_cam": (gradient * activation)[:, there].sum(1) / activation[:, there].sum(1),
                "eigen_cam": torch.linalg.svd(activation[:, there].mT)[2][0],
            }
            found[u] = x @ shares[method]
    return found if method in ("normgrad", "hires_cam", "eigen_cam") else found.clamp(min=0)


METHODS = {
    "normgrad": lambda layer: NormGrad((layer,) if layer else ()),
    "grad_cam": lambda layer: GradCAM(layer),
    "hires_cam": lambda layer: HiResCAM(layer),
    "layer_cam": lambda layer: LayerCAM((layer,) if layer else ()),
    "xgrad_cam": lambda layer: XGradCAM(layer),
    "eigen_cam": lambda layer: EigenCAM(layer),
}


def check(name, layer, found, method, left):
    """Of float32 rounding 1e-4 of the largest summand is left; a singular vector has a sign of its own."""
    for number in range(3):
        there = features(name, len(TOKENS[number]))
        activation, gradient = hooked(name, layer, number)
        expected = slow(method, activation, gradient, there)
        full = torch.zeros(LONGEST)
        full[place(number, LONGEST, left)] = expected
        sign = torch.sign(full @ found[number, 0]) if method == "eigen_cam" else 1.0
        scale = max(float(full.abs().max()), float((activation * gradient)[:, there].abs().max()))
        torch.testing.assert_close(sign * found[number, 0], full, rtol=0, atol=1e-4 * scale)


@EVERY
@SIDES
@pytest.mark.parametrize("method", METHODS)
def test_maps_are_those_of_the_models_own_block(name, method, left):
    """At the default layer, the last but one block; padding and special tokens have 0."""
    explained = work(name, left=left)
    found = METHODS[method]("")(explained)
    assert explained.layer("grad_cam") == explained.layer("normgrad") == DEFAULTS[name]
    assert torch.equal(found[:, 0].masked_fill(explained.present, 0.0), torch.zeros(3, LONGEST))
    check(name, DEFAULTS[name], found, method, left)


@TWO
@SIDES
@pytest.mark.parametrize("method", ["normgrad", "grad_cam", "hires_cam"])
def test_a_layer_may_be_named(name, method, left):
    for layer in OTHERS[name]:
        explained = work(name, left=left)
        check(name, layer, METHODS[method](layer)(explained), method, left)
    chosen = work(name, left=left, layers={"normgrad": OTHERS[name][1]})
    assert torch.equal(NormGrad()(chosen), NormGrad((OTHERS[name][1],))(explained))


@TWO
def test_a_text_alone_has_the_same_map(name):
    """Also of methods that call the model again; drawn removals are per token. Rounding in another order is left."""
    several = NormGrad(tuple(OTHERS[name][1:]))
    around = NormGrad(extraction="conv3x3")
    for method in (NormGrad(), GradCAM(), GradCAMPlusPlus(), ScoreCAM(), AblationCAM(), several, around):
        found = [method(work(name, left=left)) for left in (False, True)]
        for number in range(3):
            alone = method(work(name, (number,), len(TOKENS[number])))[0, 0]
            for left, maps in zip((False, True), found, strict=True):
                beside = maps[number, 0, place(number, LONGEST, left)]
                scale = float(alone.abs().max())
                torch.testing.assert_close(beside, alone, rtol=0, atol=1e-4 * scale + 1e-9)


@TWO
def test_ablation_takes_channels_from_the_features_alone(name):
    """Against a hook on the block of the model's own call; special tokens keep their channels."""
    made, layer = model(name), DEFAULTS[name]
    found = AblationCAM(relu=False)(work(name, left=name == "bert"))
    for number in range(3):
        size = len(TOKENS[number])
        there = features(name, size)

        def logit(channel, number=number, there=there):
            def ablate(part, given, output):
                output = output.clone()
                if channel is not None:
                    output[:, there, channel] = 0
                return output

            handle = made.get_submodule(layer.removeprefix("model.")).register_forward_hook(ablate)
            try:
                return made(input_ids=TOKENS[number][None]).logits[0, number % 3].detach()
            finally:
                handle.remove()

        drops = torch.stack([logit(None) - logit(channel) for channel in range(WIDTH)])
        activation, _ = hooked(name, layer, number)
        expected = (drops @ activation) * there
        scale = float(expected.abs().max())
        inside = found[number, 0, place(number, LONGEST, name == "bert")]
        torch.testing.assert_close(inside, expected, rtol=0, atol=1e-4 * scale)


@TWO
def test_representation_stability_reads_the_block(name):
    values = RelativeRepresentationStability(copies=2, radius=0.01)
    explained = work(name)
    found = values(explained, NormGrad()(explained), NormGrad())
    for number in range(3):
        alone = work(name, (number,), len(TOKENS[number]), names=[ids(3)[number]])
        expected = values(alone, NormGrad()(alone), NormGrad())
        torch.testing.assert_close(found[number : number + 1], expected, rtol=1e-3, atol=0)


@EVERY
def test_one_forward_and_one_backward_and_no_traces(name):
    explained = work(name)
    with untouched(explained.classifier.module):
        for method in (NormGrad(), GradCAM(), HiResCAM()):
            method(explained)
    assert (explained.cost.forwards, explained.cost.backwards) == (1, 1)


@EVERY
def test_it_runs_on_meta_and_waits_only_once(name):
    for method in (NormGrad(), GradCAM(), AblationCAM(), ScoreCAM()):
        explained = work(name)
        method(explained)
        following = explained.classifier.explicand(
            explained.inputs, 0, ids(3), present=explained.present, attended=explained.attended
        )
        with no_waiting():
            method(following)
        assert method(work(name, device="meta")).shape == (3, 1, LONGEST)


@pytest.mark.parametrize(
    ("name", "layer", "error", "sentence"),
    [
        ("bert", "model.bert.pooler", UnsupportedError, r"gives \(1, 16\), which is not one output for each token"),
        ("gpt2", "model.transformer.h.0.attn", ValueError, "returns a tuple, expected a tensor: name a layer inside"),
        (
            "bert",
            "model.bert.pool",
            ValueError,
            "Embedded has no layer 'model.bert.pool'; close names: model.bert.pool",
        ),
    ],
)
def test_other_layers_are_refused(name, layer, error, sentence):
    for method in (GradCAM(layer), NormGrad((layer,)), EigenCAM(layer), AblationCAM(layer)):
        with pytest.raises(error, match=sentence):
            method(work(name))


# -- models that are no transformers --


def test_a_model_without_layers_is_refused():
    with pytest.raises(UnsupportedError, match=r"TextModel has no layer with one output for each token \(N, T, K\)"):
        GradCAM()(text(TextModel(lambda x, attended: (projected(x) * attended).sum(1))))


class Convolving(nn.Module):
    """A convolution along the text, tanh, and the mean over attended tokens."""

    def __init__(self, width):
        super().__init__()
        self.enter, self.bend, self.head = nn.Conv1d(4, width, 3, padding=1), nn.Tanh(), nn.Linear(width, 2)

    def forward(self, embeddings, attended):
        found = self.bend(self.enter(embeddings * attended[:, None])) * attended[:, None]
        return self.head(found.sum(2) / attended.sum(1, keepdim=True))


def test_channels_before_the_tokens():
    """HiResCAM of the mean is exact: the head's weights at what the convolution gives."""
    module = seeded(lambda: Convolving(5))
    explained = text(module, target=1)
    assert explained.layer("grad_cam") == "bend"
    found = HiResCAM(relu=False)(explained)[:, 0]
    attended = explained.attended
    with torch.no_grad():
        inside = torch.tanh(module.enter(explained.inputs * attended[:, None]))
        expected = torch.einsum("nkt,k->nt", inside, module.head.weight[1]) / attended.sum(1, keepdim=True)
    torch.testing.assert_close(found, expected * explained.present, rtol=1e-5, atol=1e-6)


def test_as_many_channels_as_tokens():
    """What kind of layer it is tells; where it does not, nobody guesses."""
    explained = text(seeded(lambda: Convolving(LENGTH)))
    places = explained.classifier.structure.places(explained.inputs, explained.attended)
    assert places.layout("enter").last is False
    with pytest.raises(UnsupportedError, match=r"'bend' gives \(1, 7, 7\), which may be either of \(N, T, K\)"):
        GradCAM("bend")(explained)
    assert explained.layer("grad_cam") == "enter"
    square = work("bert", (0,), WIDTH)  # as many as channels: a model without convolutions has the tokens first
    torch.testing.assert_close(GradCAM()(square)[:, :, :9], GradCAM()(work("bert", (0,), 9)), rtol=1e-4, atol=1e-5)


class First(nn.Module):
    """Reads the first token; how many there are is of no account."""

    def __init__(self):
        super().__init__()
        self.mixed, self.last, self.head = nn.Linear(4, 5), nn.Linear(5, 5), nn.Linear(5, 2)

    def forward(self, embeddings, attended):
        found = self.mixed(embeddings.mT) * attended[:, :, None]
        return self.head(self.last(found.cumsum(1).flip(1) - found.flip(1) / 2)[:, 0])


def test_the_default_layer_does_not_depend_on_the_length():
    """The last layer is read at one token: of a text of one token too it is the layer before."""
    for count in (1, 2, 3, 7):
        classifier = Classifier(seeded(First), modality=text(First()).modality)
        there = torch.ones(1, count, dtype=torch.bool)
        explained = classifier.explicand(normal(1, 4, count), 0, ids(1), present=there, attended=there)
        assert explained.layer("normgrad") == "mixed"
        assert NormGrad()(explained).shape == (1, 1, count)


def test_places_in_a_row():
    """A kernel of 3 places on one row against the loop over its places, at the ends zeros."""
    x, g = normal(2, 4, 6, seed=1), normal(2, 4, 6, seed=2)
    rows = torch.nn.functional.pad(x, (1, 1))
    for aggregation in ("norm", "sum", "max", "max_abs", "filter_norm"):
        found = aggregated(x, g, Kernel.centered(3), aggregation)
        for sample in range(2):
            for u in range(6):
                outer = torch.einsum("k,lp->klp", g[sample, :, u], rows[sample, :, u : u + 3]).flatten()
                expected = {
                    "norm": outer.norm(),
                    "sum": outer.sum(),
                    "max": outer.max(),
                    "max_abs": outer.abs().max(),
                    "filter_norm": outer.clamp(min=0).norm(),
                }[aggregation]
                torch.testing.assert_close(found[sample, 0, u], expected, rtol=1e-5, atol=1e-5)


def test_upsampling_to_the_same_length_is_the_identity():
    explained = text(TextModel(lambda x, attended: (projected(x) * attended).sum(1)))
    maps = normal(3, 1, max(SIZES), seed=3)
    for mode in ("bilinear", "nearest"):
        assert torch.equal(explained.upsample(maps, mode), maps)
