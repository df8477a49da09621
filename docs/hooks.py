"""What the site shows beside the pages of this folder: the source files that they link to, and two pages of the root.

Links of pages lead out of this folder, as readers of the repository need them; here they become links inside the site.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = Path(__file__).parents[1]
SOURCES = ("attributions", "metrics")
PAGES = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}


def on_files(files: Files, config: Any) -> Files:
    """Add a page for each source file, which no search finds and no menu lists, and the pages of the root."""
    for name, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text(encoding="utf-8")))
    for path in (path for folder in SOURCES for path in sorted((ROOT / folder).glob("[!_]*.py"))):
        name = path.relative_to(ROOT).with_suffix(".md").as_posix()
        files.append(File.generated(config, name, content=_source(path), inclusion=InclusionLevel.NOT_IN_NAV))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Lead links out of the folder of pages to what `on_files` added, and those of pages of the root into it."""
    markdown = markdown.replace("](docs/", "](")
    for name, page in PAGES.items():
        markdown = markdown.replace(f"](../{name}", f"]({page}")
    return re.sub(rf"\]\(\.\./({'|'.join(SOURCES)})/(\w+)\.py\)", r"](\1/\2.md)", markdown)


def _source(path: Path) -> str:
    """A page that shows a file; the fence is longer than any in a docstring."""
    header = f"---\nsearch:\n  exclude: true\n---\n\n# {path.parent.name}/{path.name}\n\n"
    return f"{header}````python\n{path.read_text(encoding='utf-8')}````\n"
