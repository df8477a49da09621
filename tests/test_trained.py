"""Networks trained on planted patches."""

import pytest
import torch

from xaieval.datasets.planted import Planted
from xaieval.datasets.preprocess import Preprocess
from xaieval.models import trained
from xaieval.models.loading import ModelError


@pytest.mark.slow
def test_training_finds_the_patterns_and_is_kept(tmp_path, monkeypatch):
    state = torch.random.get_rng_state()
    path = tmp_path / "models" / "weights.safetensors"
    classifier = trained.load("vit", path=str(path), steps=60)
    assert torch.equal(torch.random.get_rng_state(), state)
    samples = list(Planted(count=32).load(classifier.preprocess))
    logits = classifier.explicand(torch.stack([sample.input for sample in samples])).logits
    assert logits.argmax(1).tolist() == [sample.target for sample in samples]
    assert [file.name for file in path.parent.iterdir()] == ["weights.safetensors"]
    monkeypatch.setattr(trained, "_trained", None)  # not called again
    again = trained.load("vit", path=str(path), steps=60)
    weights = again.module.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in classifier.module.state_dict().items())


def test_the_convolutional_network_learns_too(tmp_path):
    path = str(tmp_path / "weights.safetensors")
    losses = []
    samples = list(Planted(count=16, seed=5).load(Preprocess(56, 56)))
    images, target = torch.stack([one.input for one in samples]), torch.tensor([one.target for one in samples])
    for steps in (1, 8):
        classifier = trained.load("resnet18", path=f"{path}{steps}.safetensors", steps=steps)
        losses.append(float(torch.nn.functional.cross_entropy(classifier.explicand(images).logits, target)))
    assert classifier.name == "planted_resnet18"
    assert losses[1] < losses[0] / 2


def test_wrong_options_are_refused(tmp_path):
    path = str(tmp_path / "weights.safetensors")
    with pytest.raises(ModelError, match="network must be one of resnet18, vit, got 'resnet81'; did you mean resnet18"):
        trained.load("resnet81", path=path)
    with pytest.raises(ModelError, match="at least 1 step and images of at least 14 pixels a side, got 0 and 56"):
        trained.load("vit", path=path, steps=0)
    with pytest.raises(ModelError, match="got 100 and 8"):
        trained.load("vit", path=path, size=8)
    assert not (tmp_path / "weights.safetensors").exists()
