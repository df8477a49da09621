"""The report as one HTML file: everything is inside, nothing is loaded, and what users wrote is only ever text.

Jinja escapes what the template writes, the script writes text as text, charts are pictures, and the page allows no
script but the two that are its own, whose digests it names.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xaieval
from xaieval.chart_frame import svg
from xaieval.config import ConfigError
from xaieval.plots import DIVERGING, SEQUENTIAL, require_matplotlib
from xaieval.report.album import Album
from xaieval.report.compare import Comparison
from xaieval.report.tables import Board, Failure, Origin

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NEEDED = ("jinja2", "itables", "matplotlib")
"""What a page is made with."""


@dataclass(frozen=True)
class Chart:
    """A chart as SVG, what it is called, and the model and dataset that it is of."""

    title: str
    model: str
    dataset: str
    svg: str

    @property
    def source(self) -> str:
        """Packed, for a picture: no script runs in one."""
        return base64.b64encode(gzip.compress(self.svg.encode(), mtime=0)).decode()


@dataclass(frozen=True)
class Named:
    """A method, whether it is a sentinel, and the color and the dashes of its lines."""

    name: str
    sentinel: bool
    color: str
    dashes: str


@dataclass(frozen=True)
class Shelf:
    """The album of a leaderboard, and what is said of its methods and metrics.

    Attributes:
        title: Dataset and model.
        methods: In the order of the leaderboard.
        metrics: Name, and whether higher is better.
        means: For each metric the mean score of each sample of the album over all methods.
        album: The samples.
    """

    title: str
    methods: tuple[Named, ...]
    metrics: tuple[tuple[str, bool], ...]
    means: dict[str, dict[str, float]]
    album: Album


@dataclass(frozen=True)
class Page:
    """All that a report tells.

    Attributes:
        command: That made it.
        boards: Leaderboards.
        charts: Charts of them.
        shelves: Samples of them.
        comparisons: Of the first run with each other one.
        failures: Cells with errors.
        origins: Where the rows are from.
        problems: What could not be shown, in sentences.
    """

    command: str
    boards: Sequence[Board]
    charts: Sequence[Chart]
    shelves: Sequence[Shelf]
    comparisons: Sequence[Comparison]
    failures: Sequence[Failure]
    origins: Sequence[Origin]
    problems: Sequence[str]


def require_page() -> None:
    """Check that pages can be made.

    Raises:
        ConfigError: Something is not installed.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ConfigError(f"a report needs {', '.join(missing)}, not installed here: pip install 'xaieval[report]'")


def write_page(page: Page, path: Path) -> None:
    """Write the report.

    Raises:
        ConfigError: Something that pages are made with is not installed.
        OSError: The file cannot be written.
    """
    path.write_text(html(page), encoding="utf-8")


def html(page: Page) -> str:
    """The report as one document.

    Raises:
        ConfigError: Something that pages are made with is not installed.
    """
    require_page()
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(_read), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    script, style = _table_library()
    script = f"{script}\n{_read('page.js')}"
    return environment.get_template("page.html").render(
        page=page,
        version=xaieval.__version__,
        families=list(dict.fromkeys(column.category for board in page.boards for column in board.columns)),
        data=_data(page),
        script=script,
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        styles=(style, _read("page.css")),
    )


def charts_of(drawn: Callable[[], Figure], title: str, model: str, dataset: str) -> Iterator[Chart]:
    """A chart, or none where there is nothing to draw."""
    try:
        yield Chart(title, model, dataset, svg(drawn()))
    except ValueError:
        return


def dashes_of(line: Any) -> str:
    """A line style of matplotlib as the lengths of dashes and gaps in pixels."""
    named = {"solid": "", "dashed": "7 3", "dashdot": "7 2 2 2", "dotted": "2 2"}
    return named[line] if isinstance(line, str) else " ".join(f"{2 * length}" for length in line[1])


def _read(name: str) -> str:
    return (files("xaieval.report") / name).read_text(encoding="utf-8")


def _data(page: Page) -> str:
    """What the script reads, as JSON that ends no script and begins no comment: `<` is written as an escape."""
    shelves = [
        {
            "methods": [asdict(method) for method in shelf.methods],
            "metrics": shelf.metrics,
            "means": shelf.means,
            "views": shelf.album.views,
            "samples": shelf.album.samples,
        }
        for shelf in page.shelves
    ]
    text = json.dumps({"palettes": _palettes(), "shelves": shelves}, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _palettes() -> dict[str, str]:
    """The 256 colors of maps with and without a sign, six hexadecimal digits each."""
    require_matplotlib()
    import matplotlib as mpl

    scales = {"signed": DIVERGING, "unsigned": SEQUENTIAL}
    colors: dict[str, Any] = {name: mpl.colormaps[scale](range(256), bytes=True) for name, scale in scales.items()}
    return {name: values[:, :3].tobytes().hex() for name, values in colors.items()}


def _table_library() -> tuple[str, str]:
    """Script and style of DataTables as itables brings them, the script as a part of a module that calls it DataTable.

    Raises:
        ConfigError: This version of itables names it differently.
    """
    from itables.options import dt_bundle

    bundle = Path(dt_bundle)
    # What begins a comment would change how a browser looks for the end of a script.
    text = bundle.read_text(encoding="utf-8").replace("<!--", r"<\!--").replace("</script", r"<\/script")
    name = re.search(r"\bexport\s*\{[^}]*?\b([\w$]+) as default\b[^}]*\};?", text)
    if name is None:
        raise ConfigError("this version of itables brings DataTables in another way: pip install 'itables>=2.9'")
    script = f"{text[: name.start()]}const DataTable={name[1]};{text[name.end() :]}"
    return script, bundle.with_suffix(".css").read_text(encoding="utf-8").replace("</style", "")
