"""Film reviews of one sentence whose evidence is known: composed from templates and words that people have rated."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

from xaieval.datasets.planted_words import effects, planted_score, words_in
from xaieval.datasets.preprocess import DatasetError
from xaieval.datasets.texts import TextDataset, TextSample, TextSamples
from xaieval.draws import seed_of

CATEGORIES = ("negative", "positive")
"""The classes, in the order of `target`."""

SPLITS = ("train", "seen", "held_out")
"""`train` and `seen` have the same words and no sentence in common, `held_out` has other words."""

HELD_OUT = 4
"""One of so many families of words is held out."""

MARGIN = 1.0
"""Least planted score of the label, in the lexicon's valences, which run from -4 to 4."""
Choose = Callable[[Sequence[Any]], Any]


@dataclass(frozen=True)
class Reviews(TextDataset):
    """Sentences about films, of one or two clauses with one sentiment word each.

    Sentiment words and their valences are those of the VADER lexicon (Hutto and Gilbert, ICWSM 2014), mean ratings of
    ten people from -4 to 4, in the package `vaderSentiment`; no other word of a sentence stands in it. Clauses may be
    negated ("the plot is not dull"), and the second clause may oppose the first ("..., but the ending is weak"). The
    label is the sign of the *planted* score (`planted_words.planted_score`), at least 1 in absolute value; classes take
    turns. The rationale are the words whose removal changes that score, signed by whether it falls or rises for the
    label: all sentiment words, and the negators before them, but not those that negate nothing ("I have not read the
    book, and ...").

    Words of one family (the first four letters, without `un-`) are either seen or held out. A sentence of seen words
    belongs to `train` or to `seen` by a hash of itself, whatever the seed. No sentence occurs twice. Everything depends
    on `seed` and the sample's number, so that a larger `count` keeps the first samples.

    Args:
        count: Number of sentences.
        split: `train`, `seen` or `held_out`.
        seed: Of the draws; neither the templates nor the split of the words depend on it.
        opposing: Whether some sentences have a clause that opposes the label.
        negation: Whether some clauses are negated.
        name: What to call the dataset in tables; empty: `reviews_` and the split, with what is left out.

    Raises:
        ValueError: No sentence, or another split.
    """

    count: int = 200
    split: str = "seen"
    seed: int = 0
    opposing: bool = True
    negation: bool = True
    name: str = ""

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"Reviews expected count to be at least 1, got {self.count}")
        if self.split not in SPLITS:
            raise ValueError(f"Reviews expected the split {', '.join(SPLITS)}, got {self.split!r}")
        if not self.name:
            left_out = ("_unopposed" * (not self.opposing)) + ("_unnegated" * (not self.negation))
            object.__setattr__(self, "name", f"reviews_{self.split}{left_out}")

    def texts(self) -> TextSamples:
        """The sentences.

        Raises:
            DatasetError: vaderSentiment is not installed, or lacks a word.
        """
        known = valences()
        words = _by_kind_and_sign(known, held_out=self.split == "held_out")
        drawn: set[str] = set()
        samples = []
        for number in range(self.count):
            text = next(text for text in self._drawn(number, words, known) if text not in drawn)
            drawn.add(text)
            samples.append(_sample(f"{self.name}_{self.seed}_{number}", text, known))
        return TextSamples(samples, CATEGORIES)

    def _drawn(self, number: int, words: Mapping[str, Any], known: Mapping[str, float]) -> Iterator[str]:
        """Sentences without end that could be this sample; what kind of sentence it is does not change."""
        label = (-1, 1)[number % 2]
        key = (self.split, self.seed, self.opposing, self.negation, number)
        kind = _chooser(*key)(tuple(_parts()["sentences"]) if self.opposing else ("single", "agreeing"))
        for attempt in count():
            text = _composed(_chooser(*key, attempt), label, kind, words, self.negation)
            if label * planted_score([word.text for word in words_in(text)], known) < MARGIN:
                continue  # the opposing word is the stronger one
            if self.split == "held_out" or ("train", "seen")[seed_of("reviews side", text) % 2] == self.split:
                yield text


@cache
def valences() -> Mapping[str, float]:
    """Valence of each sentiment word that occurs in reviews, seen or held out, from the lexicon.

    Raises:
        DatasetError: vaderSentiment is not installed, or lacks a word.
    """
    ratings = lexicon()
    words = sorted({word for kind in _parts()["words"].values() for word in kind})
    missing = [word for word in words if word not in ratings]
    if missing:
        raise DatasetError(
            f"Reviews expected {missing[0]!r} and {len(missing) - 1} other words in the lexicon of vaderSentiment, "
            "which lacks them: pip install 'vaderSentiment>=3.3.2'"
        )
    return {word: ratings[word] for word in words}


@cache
def lexicon() -> Mapping[str, float]:
    """Valence of every entry of the VADER lexicon, from -4 to 4; the package is found but not imported.

    Raises:
        DatasetError: vaderSentiment is not installed.
    """
    spec = find_spec("vaderSentiment")
    path = Path(spec.origin).parent / "vader_lexicon.txt" if spec and spec.origin else None
    if path is None or not path.is_file():
        raise DatasetError(
            "Reviews takes its words from vaderSentiment, which is not installed: pip install 'xaieval[text]'"
        )
    rows = (line.split("\t") for line in path.read_text(encoding="utf-8").split("\n"))
    return {row[0]: float(row[1]) for row in rows if len(row) > 1}


def is_held_out(word: str) -> bool:
    """Whether a sentiment word occurs in the split `held_out` only."""
    return seed_of("reviews family", word.removeprefix("un")[:4]) % HELD_OUT == 0


@cache
def _parts() -> Mapping[str, Any]:
    """Topics, templates and words."""
    return json.loads(Path(__file__).with_name("reviews.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def _by_kind_and_sign(known: Mapping[str, float], held_out: bool) -> Mapping[str, Mapping[int, list[str]]]:
    """Words of each kind (adjectives, nouns, verbs), negative (-1) and positive (1)."""
    return {
        kind: {
            sign: [word for word in words if sign * known[word] > 0 and is_held_out(word) == held_out]
            for sign in (-1, 1)
        }
        for kind, words in _parts()["words"].items()
    }


def _chooser(*key: str | int) -> Choose:
    """Chooses from options, each time by the next number that follows from the key."""
    numbers = (seed_of("reviews", *key, step) for step in count())
    return lambda options: options[next(numbers) % len(options)]


def _composed(choose: Choose, label: int, kind: str, words: Mapping[str, Any], negation: bool) -> str:
    """A sentence whose first clause says the label."""
    parts = _parts()
    topic = choose(parts["topics"])
    other = choose([one for one in parts["topics"] if one != topic])
    text = choose(parts["sentences"][kind]).format(
        first=_clause(choose, label, topic, words, negation),
        second=_clause(choose, -label if kind == "opposing" else label, other, words, negation),
        opener=choose(parts["openers"]["plain"] + negation * parts["openers"]["negated"]),
    )
    return str(text[0].upper() + text[1:])


def _clause(choose: Choose, sign: int, topic: str, words: Mapping[str, Any], negation: bool) -> str:
    """A clause that says something positive (1) or negative (-1) of a topic; one in three is negated."""
    negated = negation and choose((False, False, True))
    kind = choose(tuple(words))
    template = choose(_parts()["clauses"][kind]["negated" if negated else "plain"])
    return str(template.format(topic=topic, word=choose(words[kind][-sign if negated else sign])))


def _sample(name: str, text: str, known: Mapping[str, float]) -> TextSample:
    """The sentence with its label and the words that decide it."""
    words = words_in(text)
    texts = [word.text for word in words]
    label = 1 if planted_score(texts, known) > 0 else -1
    deciding = [(word, label * effect) for word, effect in zip(words, effects(texts, known), strict=True) if effect]
    return TextSample(
        name,
        text,
        CATEGORIES.index("positive" if label > 0 else "negative"),
        tuple((word.start, word.end) for word, _ in deciding),
        tuple(1 if effect > 0 else -1 for _, effect in deciding),
    )
