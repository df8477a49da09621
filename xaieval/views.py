"""The verbs that look into a model: its layers, and a picture of the maps of its inputs."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from xaieval import plots
from xaieval.allocator import keep_freed_memory
from xaieval.benchmark import CellError
from xaieval.chunk import Work
from xaieval.classifier import Classifier
from xaieval.collate import collate
from xaieval.concept_samples import ConceptEncoder
from xaieval.config import ConfigError, components, composed, default, load, names, only
from xaieval.datasets.encode import Encoder
from xaieval.datasets.texts import TextSample
from xaieval.explicand import Explicand
from xaieval.plan import Keys, Part, Subject
from xaieval.progress import Progress
from xaieval.settings import Settings
from xaieval.store import Store
from xaieval.text_plots import TextRow, draw_texts, text_rows
from xaieval.unsupported import UnsupportedError


def layers(arguments: Sequence[str]) -> None:
    """`layers [model=NAME] [--all]`: the layers of a model whose output is spatial, in the order in which they end.

    Tokens and channels-last activations are shown as methods read them, channels and the grid of places. Layers deeper
    than two levels are shown with `--all`, or where they are the default of a method.

    Raises:
        ConfigError: An unknown flag, or several models.
    """
    flags = [argument for argument in arguments if argument.startswith("--")]
    if set(flags) - {"--all"}:
        raise ConfigError(f"layers knows the flag --all, got {' '.join(flags)}")
    classifier = only("model", composed([argument for argument in arguments if argument not in flags]))
    explicand = _example(classifier)
    found = classifier.structure.places(explicand.inputs, explicand.attended).shapes
    marks = _defaults(explicand)
    shown = {name: line for name, line in found.items() if flags or name in marks or name.count(".") < 2}
    more = "" if len(shown) == len(found) else " (--all shows those deeper inside)"
    size = " x ".join(map(str, explicand.shape[1:]))
    print_line(f"{classifier.name}, an input of {size}: {len(shown)} of {len(found)} spatial layers{more}")
    for name, (shape, kind) in shown.items():
        ending = f"  default of {', '.join(sorted(marks[name]))}" if name in marks else ""
        print_line(f"  {name:{max(map(len, shown))}}  {' x '.join(map(str, shape)):14}  {kind:14}{ending}")


def _example(classifier: Classifier) -> Explicand:
    """A black image, a short text, or scores that are all 0."""
    if isinstance(classifier.preprocess, ConceptEncoder):
        return classifier.explicand(torch.zeros(1, 1, len(classifier.preprocess.concepts)), 0, ["zero"])
    if isinstance(classifier.preprocess, Encoder):
        text = classifier.preprocess.sample(TextSample("text", "Not a bad film at all"))
        return classifier.explicand(target=0, ids=[text.id], **collate([text]))
    side = classifier.preprocess.crop if classifier.preprocess is not None else 224
    return classifier.explicand(torch.zeros(1, 3, side, side), 0, ["black"])


def _defaults(explicand: Explicand) -> dict[str, list[str]]:
    """For each layer that methods read if none is named these methods; none where the model has no such layer."""
    from xaieval.method_catalog import default_layers

    found: dict[str, list[str]] = {}
    for kind, methods in default_layers((name, default("method", name)) for name in names("method")).items():
        with contextlib.suppress(UnsupportedError):
            found.setdefault(explicand.layer(kind), []).extend(methods)
    return found


def sheet(arguments: Sequence[str]) -> None:
    """`sheet [PATH] [KEY=VALUE ...]`: the maps of a run's methods on its first samples, three unless told.

    Maps are taken from the store and kept there, as in a run.

    Raises:
        ConfigError: Several paths, models or datasets, a kind of file that cannot be drawn, or a model that takes the
            scores of concepts.
        CellError: Some maps could not be made; the others are drawn.
    """
    words = [argument for argument in arguments if "=" in argument or argument.startswith("~")]
    paths = [argument for argument in arguments if argument not in words]
    if len(paths) > 1:
        raise ConfigError(f"sheet draws one file, as in `xaieval sheet maps.png method=gradient`, got {paths}")
    path = plots.checked(Path(paths[0] if paths else "sheet.png"))
    rows, errors = _rows_of_sheet(composed(words))
    if any(row.maps for row in rows):
        texts = [row for row in rows if isinstance(row, TextRow)]
        figure = draw_texts(texts) if texts else plots.draw([row for row in rows if isinstance(row, plots.Row)])
        figure.savefig(path)
        print_line(f"{path}: {len(rows)} {'text' if texts else 'photo'}{'' if len(rows) == 1 else 's'}")
    if errors:
        count = f"{len(errors)} map{'' if len(errors) == 1 else 's'}"
        raise CellError("\n".join([f"{count} could not be made, the others are drawn:", *errors]))


def _rows_of_sheet(values: dict[str, Any]) -> tuple[list[plots.Row | TextRow], list[str]]:
    """The photos or texts and maps of a sheet, and what went wrong."""
    keep_freed_memory()
    settings = Settings.of(values)
    classifier, dataset = only("model", values), only("dataset", values)
    if isinstance(classifier.preprocess, ConceptEncoder):
        raise ConfigError(
            f"sheet draws pictures and texts, and {classifier.name} takes the scores of concepts: draw the maps of "
            f"{classifier.preprocess.bottleneck.name}, or read scores with xaieval.explain"
        )
    methods = [Part.of(name, method) for name, method in components(values, "method").items()]
    store = None if settings.store is None else Store(settings.store, settings.gigabytes)
    keys, progress, samples = Keys(classifier), Progress(), load(dataset, classifier)
    chosen = replace(settings, limit=settings.limit or 3).indices(len(samples))
    for method in methods:
        progress.expect(("explain", method.name), len(chosen))
    rows: list[plots.Row | TextRow] = []
    errors: list[str] = []
    with progress:
        for index in chosen:
            sample = samples[index]
            subject = Subject.of(index, sample, dataset.name, settings.target)
            work = Work(classifier, [subject], [sample], settings.target, keys, store, progress)
            maps = {method.name: work.explain(method) for method in methods}
            work.keep_scores()  # with them the class explained
            wrong = {name: made.refusal or made.errors[0] for name, made in maps.items()}
            errors += [f"  {subject.id}, {name}: {what}" for name, what in wrong.items() if what]
            good = {
                name: made.attribution
                for name, made in maps.items()
                if made.attribution is not None and made.errors[0] is None
            }
            if sample.reading is None:
                rows += plots.rows_of(work.explicand, good)
            else:
                rows += text_rows(work.explicand, good, [sample.reading.spelled], [sample.reading.note])
    return rows, errors


def print_line(line: str) -> None:
    """A line on standard output, if there is anything to say."""
    if line:
        sys.stdout.write(f"{line.rstrip()}\n")
