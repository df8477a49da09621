"""How much slower texts are explained than the bare model reads them, in one process: `python -m xaieval.bench_text`.

A BERT of MiniLM's size with random weights and 16 texts of 12 to 28 tokens, four of near length together, of which 2 %
is padding. For methods that ask for scores: their time per token that the model has to read, over that of transformers'
own model on the same lengths, in its best batch size and with its own form of masks. 1.00 means that nothing but the
model takes time. The batch size of ours is found by itself, or given, where other work on the machine disturbs that.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from xaieval.allocator import keep_freed_memory
from xaieval.attributions.beam_search import BeamSearch
from xaieval.attributions.feature_ablation import FeatureAblation
from xaieval.bench import timed
from xaieval.classifier import Classifier
from xaieval.component import Method
from xaieval.explicand import Explicand
from xaieval.models.hf import Embedded
from xaieval.tokens import batches_by_length

LENGTHS = [length + more for more in (0, 1) for length in (12, 17, 22, 27) for _ in range(2)]
TOGETHER = 4
"""Texts that are explained together, of near length."""

SIZES = (16, 32, 64, 128)
CASES: dict[str, Method] = {
    "leave_one_out, mask token": FeatureAblation(),
    "leave_one_out, deletion": FeatureAblation(removal="deletion"),
    "beam_search 1": BeamSearch(1),
}


def small_bert() -> Any:
    """A classifier of MiniLM's size with random weights."""
    from transformers import BertConfig, BertForSequenceClassification

    sizes: dict[str, Any] = {
        "hidden_size": 384,
        "num_hidden_layers": 6,
        "num_attention_heads": 12,
        "intermediate_size": 1536,
    }
    return BertForSequenceClassification(BertConfig(**sizes)).eval().requires_grad_(False)


def bound(classifier: Classifier, embed: Callable[[Tensor], Tensor]) -> Iterator[Explicand]:
    """The texts as a run binds them, some of near length together."""
    for rows in batches_by_length(LENGTHS, TOGETHER):
        own = torch.tensor([LENGTHS[row] for row in rows])[:, None]
        place = torch.arange(int(own.max()))
        ids = torch.randint(1000, 30000, (len(rows), len(place)), generator=torch.Generator().manual_seed(rows[0]))
        present = (place > 0) & (place < own - 1)
        yield classifier.explicand(
            embed(ids.to(classifier.device)),
            0,
            [f"bench {row}" for row in rows],
            present=present.to(classifier.device),
            attended=(place < own).to(classifier.device),
        )


class Bare:
    """The model alone on the texts, sorted by length, each repeated as often as leaving one out reads it."""

    def __init__(self, model: Any, device: torch.device) -> None:
        self._model, self._device = model, device
        self._best = min(SIZES, key=self.seconds)

    def seconds(self, size: int | None = None) -> float:
        """Time for a token at present."""
        sizes = sorted(length for length in LENGTHS for _ in range(length))
        calls = [sizes[start : start + (size or self._best)] for start in range(0, len(sizes), size or self._best)]
        inputs = [self._inputs(call) for call in calls]
        return timed(lambda: self._run(inputs), self._device) / sum(sizes)

    def _inputs(self, sizes: list[int]) -> tuple[Tensor, Tensor]:
        ids = torch.randint(1000, 30000, (len(sizes), max(sizes)), device=self._device)
        mask = torch.arange(max(sizes)) < torch.tensor(sizes)[:, None]
        return ids, mask.long().to(self._device)

    def _run(self, inputs: list[tuple[Tensor, Tensor]]) -> None:
        with torch.inference_mode():
            for ids, mask in inputs:
                self._model(input_ids=ids, attention_mask=mask)


def measure(method: Method, classifier: Classifier, embed: Callable[[Tensor], Tensor], bare: Bare) -> float:
    """Our time for a token over the bare model's, measured in turn."""
    works = list(bound(classifier, embed))
    ours = timed(lambda: [method(work) for work in works], classifier.device)
    tokens = sum(_tokens(method, work) for work in works)
    return ours / tokens / bare.seconds()


def _tokens(method: Method, work: Explicand) -> float:
    """Tokens that the model has to read: in every text for each piece, as it is longer by none or shorter by those."""
    assert work.attended is not None and work.present is not None  # noqa: PT018
    own, pieces = ((rows > 0).sum(1).float() for rows in (work.attended, work.present))
    if isinstance(method, BeamSearch):  # with one beam
        return float(((pieces * (pieces + 1) / 2 - 1) * own).sum())
    shorter = 1.0 if getattr(method, "removal", "") == "deletion" else 0.0
    return float((own + pieces * (own - shorter)).sum())  # the text itself, and once without each piece


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m xaieval.bench_text", description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", default="auto")
    arguments = parser.parse_args()
    keep_freed_memory()
    torch.manual_seed(0)
    model, device = small_bert().to(arguments.device), torch.device(arguments.device)
    module = Embedded(model)
    size = arguments.batch_size if arguments.batch_size == "auto" else int(arguments.batch_size)
    classifier, bare = Classifier(module, modality=module.modality(103, 0), batch_size=size), Bare(model, device)
    for _ in range(2):  # the automatic batch size is found before anything is timed
        measure(FeatureAblation(), classifier, module.embed, bare)
    table = Table("", "time / bare", "smallest to largest", title="BERT of MiniLM's size, float32, medians")
    for name, method in CASES.items():
        found = sorted(measure(method, classifier, module.embed, bare) for _ in range(arguments.rounds))
        table.add_row(name, f"{statistics.median(found):.2f}", f"{found[0]:.2f} to {found[-1]:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
