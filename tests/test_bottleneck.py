"""Post-hoc bottlenecks: heads as scikit-learn fits them, kept in the cache, and what is refused."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from concept_toys import SCHEME, SIDE, Patches, colors, samples
from sklearn.linear_model import SGDClassifier
from sklearn.svm import SVC

from xaieval import config
from xaieval.classifier import Classifier
from xaieval.concept_heads import residual_head, sparse_head
from xaieval.concept_model import Bottleneck, scorer
from xaieval.concept_vectors import seen
from xaieval.datasets.base import Dataset
from xaieval.datasets.preprocess import Preprocess
from xaieval.laws.toys import Transformer, seeded
from xaieval.models import bottleneck
from xaieval.models.bottleneck import load
from xaieval.models.loading import ModelError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@dataclass(frozen=True)
class Changed(Dataset):
    """Samples with something changed."""

    what: str
    name: str = "changed"

    def load(self, preprocess):
        if self.what == "empty":
            return []
        found = samples(20)
        if self.what == "concepts":
            return [replace(one, parts=None) for one in found]
        if self.what == "classes":
            return [replace(one, target=None) for one in found]
        return [one for one in found if one.target != 1]  # a class without samples


def margins_of(features, concepts):
    """As scikit-learn says, for each concept."""
    found = []
    for holds in concepts.T:
        scale = np.sqrt(features.var(0).mean())
        model = SVC(kernel="linear", C=10, class_weight="balanced").fit(features / scale, holds)
        found.append(model.decision_function(features / scale) / np.linalg.norm(model.coef_) * scale)
    return np.stack(found, 1)


@pytest.mark.parametrize("residual", [False, True])
def test_logits_are_those_of_scikit_learn_on_the_margins(residual):
    base, dataset = colors(), Patches(60)
    made = load(base=base, dataset=dataset, C=10, lam=1e-3, residual=residual)
    known = seen(base, samples(60), "1")
    features = known.features.double().numpy()
    margins = margins_of(features, known.concepts.numpy())
    options = {"loss": "log_loss", "penalty": "elasticnet", "alpha": 1e-3, "l1_ratio": 0.99}
    scaled = margins / np.sqrt(margins.var(0).mean())
    head = SGDClassifier(**options, max_iter=10000, random_state=42).fit(scaled, known.target.numpy())
    expected = torch.from_numpy(head.decision_function(scaled)).float()
    inputs = torch.stack([sample.input for sample in samples(60)])
    assert np.allclose(scorer(made).logits(inputs).numpy(), margins, atol=1e-4)
    if residual:
        more = made.logits(inputs) - expected
        assert bool((more.abs().amax(0) > 0.01).all())
        gaps = [functional.cross_entropy(logits, known.target) for logits in (expected + more, expected)]
        assert gaps[0] < gaps[1]
    else:
        assert torch.allclose(made.logits(inputs), expected, atol=1e-3 * float(expected.abs().max()))
    assert float((made.logits(inputs).argmax(1) == known.target).float().mean()) > 0.9
    assert made.name == "colors_bottleneck"
    assert made.preprocess == base.preprocess


def test_the_residual_head_is_at_its_optimum():
    random = torch.Generator().manual_seed(0)
    features, logits = torch.randn(50, 6, generator=random), torch.randn(50, 3, generator=random)
    target = torch.randint(0, 3, (50,), generator=random)
    head = residual_head(features, logits, target, 0.01)
    weight, bias = head.weight.detach().double().requires_grad_(), head.bias.detach().double().requires_grad_()
    value = functional.cross_entropy(logits.double() + functional.linear(features.double(), weight, bias), target)
    spread = features.double().var(0, correction=0).mean()
    (value + 0.01 * spread * weight.square().sum()).backward()
    assert weight.grad is not None
    assert float(weight.grad.abs().max()) < 1e-5
    assert bias.grad is not None
    assert float(bias.grad.abs().max()) < 1e-5


def test_the_penalty_makes_weights_zero_and_two_classes_share_the_log_odds():
    margins, target = torch.randn(200, 5, generator=torch.Generator().manual_seed(0)), torch.arange(200) % 2
    margins[:, 0] += 2 * target
    head = sparse_head(margins, target, 2, 0.03, 0.99, 42)
    assert torch.equal(head.weight[0], -head.weight[1])
    assert float(head.weight[1, 0].detach()) > 0.1
    assert bool((head.weight[:, 1:] == 0).any())
    model = SGDClassifier(loss="log_loss", penalty="elasticnet", alpha=0.03, l1_ratio=0.99, random_state=42)
    scaled = (margins / margins.var(0, correction=0).mean().sqrt()).double().numpy()
    odds = model.set_params(max_iter=10000).fit(scaled, target.numpy()).predict_proba(scaled)
    assert np.allclose(head(margins).softmax(1).detach().numpy(), odds, atol=1e-5)


def test_a_second_load_fits_nothing_and_gives_the_same(monkeypatch):
    inputs = torch.stack([sample.input for sample in samples(5)])
    first = load(base=colors(), dataset=Patches(), kind="difference")
    expected = first.logits(inputs)
    assert isinstance(first.module, Bottleneck)
    monkeypatch.setattr(bottleneck, "_fitted", None)
    second = load(base=colors(), dataset=Patches(), kind="difference")
    assert torch.equal(second.logits(inputs), expected)
    assert isinstance(second.module, Bottleneck)
    assert second.module.accuracy is not None
    assert second.module.accuracy.shape == (3,)
    assert second.module.scheme == SCHEME


@pytest.mark.parametrize(
    "changed",
    [
        {"kind": "svm"},
        {"layer": "0"},
        {"lam": 0.1},
        {"dataset": Patches(41)},
        {"dataset": Patches(seed=1)},
        {"seed": 1},
    ],
)
def test_whatever_a_fit_depends_on_is_fitted_anew(changed, monkeypatch):
    load(base=colors(), dataset=Patches(), kind="difference")
    monkeypatch.setattr(bottleneck, "_fitted", None)
    with pytest.raises(TypeError, match="not callable"):
        load(**{"base": colors(), "dataset": Patches(), "kind": "difference"} | changed)


def test_another_model_is_fitted_anew(monkeypatch):
    load(base=colors(), dataset=Patches(), kind="difference")
    monkeypatch.setattr(bottleneck, "_fitted", None)
    other = colors()
    with torch.no_grad():
        other.module.get_parameter("0.bias")[0] += 0.1
    with pytest.raises(TypeError, match="not callable"):
        load(base=other, dataset=Patches(), kind="difference")


def test_tokens_of_a_transformer_have_concepts():
    module = seeded(lambda: Transformer(width=8)).eval()
    base = Classifier(module, preprocess=Preprocess(SIDE, SIDE), batch_size=16)
    made = load(base=base, dataset=Patches(), kind="difference")
    inputs = torch.stack([sample.input for sample in samples(4)])
    assert isinstance(made.module, Bottleneck)
    assert made.module.layer == "blocks.0"  # behind it, only the class token is read
    kept = []
    handle = module.blocks[0].register_forward_hook(lambda *call: kept.append(call[2]))
    module(inputs)
    handle.remove()
    expected = made.module.margins(kept[0][:, 1:].mean(1))
    assert torch.allclose(scorer(made).logits(inputs), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("empty", "has no samples"),
        ("concepts", "does not tell which concepts hold"),
        ("classes", "have no class"),
        ("a class", r"none of \[1\]"),
    ],
)
def test_what_cannot_be_fitted_is_refused_in_a_sentence(what, sentence):
    with pytest.raises(ModelError, match=sentence):
        load(base=colors(), dataset=Changed(what), kind="difference")


def test_options_that_are_none_are_refused():
    with pytest.raises(ModelError, match="does not say how a picture becomes an input"):
        load(base=Classifier(colors().module), dataset=Patches())
    with pytest.raises(ValueError, match="l1_ratio lie in 0 to 1"):
        load(base=colors(), dataset=Patches(), kind="difference", l1_ratio=2)
    with pytest.raises(ValueError, match="strength of the residual"):
        load(base=colors(), dataset=Patches(), kind="difference", residual=True, strength=0)
    with pytest.raises(ValueError, match="has no layer 'x'"):
        load(base=colors(), dataset=Patches(), layer="x")


def test_base_and_dataset_are_nodes_of_the_configuration():
    node = {
        "_target_": "xaieval.models.bottleneck.load",
        "base": {"_target_": "concept_toys.colors"},
        "dataset": {"_target_": "concept_toys.Patches", "count": 30},
        "kind": "difference",
    }
    made = config.component("model", node, "model.bottleneck")
    assert isinstance(made.module, Bottleneck)
    with pytest.raises(config.ConfigError, match="there is no model 'nothing'"):
        load(base="nothing", dataset=Patches())
    with pytest.raises(config.ConfigError, match="there is no dataset 'nothing'"):
        load(base=colors(), dataset="nothing")
