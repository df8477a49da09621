"""The verb `report`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xaieval.config import ConfigError
from xaieval.report import data, page
from xaieval.views import print_line


def report_page(arguments: Sequence[str]) -> None:
    """`report [STORE or RUN ...] [--output FILE]`: stores and runs as one HTML file, report.html unless told.

    Without a place the store runs/store. Of several the first is compared with each other one.

    Raises:
        ConfigError: An unknown flag, nothing at a place, or a library for pages is not installed.
    """
    places, output = _with_output(arguments)
    if unknown := [place for place in places if place.startswith("-") or "=" in place]:
        raise ConfigError(
            "report takes folders of stores and runs and --output FILE, as in `xaieval report runs/store --output "
            f"report.html`, got {' '.join(unknown)}"
        )
    page.require_page()
    if not output.parent.is_dir():
        raise ConfigError(f"{output}: there is no folder {output.parent}: make it, or name another file")
    page.write_page(data.page_of([Path(place) for place in places or ["runs/store"]], output), output)
    print_line(f"In {output}, {output.stat().st_size / 1e6:.1f} MB: open it in a browser")


def _with_output(arguments: Sequence[str]) -> tuple[list[str], Path]:
    """The other words, and the file to write, given as `--output FILE`, `--output=FILE` or `output=FILE`."""
    places, output, words = [], "report.html", iter(arguments)
    for word in words:
        name, _, value = word.partition("=")
        if name not in ("--output", "output"):
            places.append(word)
            continue
        output = value if value or name == "output" else next(words, "")
        if not output:
            raise ConfigError("--output needs the name of a file, as in --output report.html")
    return places, Path(output)
