"""Labeled texts of Hugging Face `datasets`, by name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from xaieval.datasets.preprocess import DatasetError
from xaieval.datasets.texts import TextDataset, TextSample, TextSamples
from xaieval.models.loading import suggest


@dataclass(frozen=True)
class Hub(TextDataset):
    """A split of a dataset on the Hugging Face hub, or of a folder that `datasets.load_dataset` reads.

    Fetched once and then read from the cache of `datasets`; the first time needs a network. Texts are named by their
    place, `sst2_validation_17`. A label of -1, as many test splits have, is none.

    Args:
        path: As `datasets.load_dataset` takes it, such as `stanfordnlp/sst2` or a folder.
        subset: Name of its configuration, such as `mnli` of `nyu-mll/glue`; empty: the only one.
        split: Such as `validation`, also `validation[:100]`.
        text: Column of the text.
        second: Column of the second text of a pair; empty: single texts.
        label: Column of the class, names or indices.
        name: What to call the dataset in tables; empty: made of its name and split.
    """

    path: str
    subset: str = ""
    split: str = "validation"
    text: str = "text"
    second: str = ""
    label: str = "label"
    name: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            last = self.path.rstrip("/").rpartition("/")[2]
            object.__setattr__(self, "name", "_".join(filter(None, (last, self.subset, self.split))))

    def texts(self) -> TextSamples:
        """The texts of the split, in its order.

        Raises:
            DatasetError: It cannot be had, or has no such column.
        """
        rows = self._rows()
        for column in filter(None, (self.text, self.second, self.label)):
            if column not in rows.column_names:
                raise DatasetError(
                    f"{self.path} has no column {column!r}{suggest(column, rows.column_names)}; it has "
                    f"{', '.join(rows.column_names)}: name them with text=, second= and label="
                )
        categories = tuple(getattr(rows.features[self.label], "names", None) or ())
        if not categories and rows.features[self.label].dtype == "string":
            categories = tuple(sorted({str(name) for name in rows[self.label]}))
        return TextSamples(list(self._samples(rows, categories)), categories)

    def _rows(self) -> Any:
        try:
            import datasets
        except ModuleNotFoundError as error:
            raise DatasetError(f"{self.path} needs the package datasets: pip install 'xaieval[hub]'") from error
        try:
            return datasets.load_dataset(self.path, self.subset or None, split=self.split)
        except Exception as error:  # datasets, huggingface_hub and the HTTP client raise errors of their own
            raise DatasetError(
                f"the dataset {self.path!r} could not be had ({next(iter(str(error).splitlines()), repr(error))}); "
                "give a name on the Hugging Face hub, for which there has to be a network, with its subset and split"
            ) from error

    def _samples(self, rows: Any, categories: tuple[str, ...]) -> Iterator[TextSample]:
        for place, row in enumerate(rows):
            label = row[self.label]
            known = label is not None and label != -1
            target = (categories.index(label) if isinstance(label, str) else int(label)) if known else None
            second = row[self.second] if self.second else None
            yield TextSample(f"{self.name}_{place}", row[self.text], target, second=second)
