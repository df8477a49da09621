"""The site builds without a warning and asks no other host for anything; commands of its pages are commands."""

import os
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from xaieval.config import composed
from xaieval.verbs import VERBS

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
FETCHED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "link": "href"}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built as `make docs` does."""
    pytest.importorskip("material", reason="building the site needs the extra `docs`: pip install 'xaieval[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    )
    assert done.returncode == 0, done.stderr
    return folder


class Fetched(HTMLParser):
    """The addresses that a browser fetches with a page; links that a reader follows are none."""

    def __init__(self):
        super().__init__()
        self.addresses = []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag in FETCHED and given.get("rel") not in ("prev", "next", "canonical"):
            self.addresses.append(given.get(FETCHED[tag]) or "")


def test_pages_fetch_nothing_from_other_hosts(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > len(PAGES)  # those of this folder, and the source files
    for page in pages:
        parser = Fetched()
        parser.feed(page.read_text(encoding="utf-8"))
        assert parser.addresses
        assert not [address for address in parser.addresses if urlsplit(address).netloc], page.name
    for style in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", style.read_text(encoding="utf-8")), style.name


def test_every_method_and_metric_is_shown_with_its_source(site):
    for kind in ("attributions", "metrics"):
        shown = {path.stem for path in (site / kind).glob("*.html")}
        assert shown == {path.stem for path in (ROOT / kind).glob("[!_]*.py")}
    assert "def attribute" in re.sub(r"<[^>]*>", "", (site / "attributions" / "sobol.html").read_text(encoding="utf-8"))


def commands(page):
    """The lines of a page's shell blocks that call `xaieval`, as words; none in which a variable holds some of them."""
    for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["xaieval"] and not any(word.startswith("$") for word in words):
                yield words[1:]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_of_a_page_compose(page):
    for words in commands(page):
        if words and words[0] in VERBS:
            continue
        parsed = OverridesParser.create().parse_overrides([word for word in words if word != "-m"])
        swept = [one.is_sweep_override() for one in parsed]
        assert any(swept) == ("-m" in words), words
        first = [
            f"{one.get_key_element()}={next(one.sweep_string_iterator())}" if sweeps else one.input_line
            for one, sweeps in zip(parsed, swept, strict=True)
        ]
        composed([line for line in first if line])


def test_verbs_of_all_pages_are_verbs():
    verbs = {words[0] for page in PAGES for words in commands(page) if words and re.fullmatch("[a-z]+", words[0])}
    assert verbs >= {"list", "check", "leaderboard", "reliability", "sheet"}
    assert verbs <= set(VERBS)


@pytest.mark.slow
def test_examples_of_the_page_on_adding_parts_work(tmp_path):
    page = (ROOT / "docs" / "extend.md").read_text(encoding="utf-8")
    (tmp_path / "my_parts.py").write_text(
        "\n\n".join(re.findall(r'```python title="my_parts.py"\n(.*?)```', page, re.S))
    )
    held = typed(tmp_path, "check", "my_parts:Brightness", "my_parts:Peak")
    assert len(re.findall(r"^(\d+) of \1 laws hold", held, re.MULTILINE)) == 2
    *_, command = commands(ROOT / "docs" / "extend.md")
    shown = typed(tmp_path, *command)
    assert re.search(r"^squares, my_parts:network: 4 samples", shown, re.MULTILINE), shown
    assert re.search(r"^ +relevance_rank .*peak", shown, re.MULTILINE), shown
    assert set(re.findall(r"^(brightness|gradient|random) ", shown, re.MULTILINE)) == {
        "brightness",
        "gradient",
        "random",
    }


@pytest.mark.slow
def test_example_of_the_page_on_methods_keeps_the_laws(tmp_path):
    page = (ROOT / "docs" / "your_method.md").read_text(encoding="utf-8")
    (own,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "my_module.py").write_text(own)
    held = typed(tmp_path, "check", "my_module:BoxGrad")
    assert re.search(r"^(\d+) of \1 laws hold", held, re.MULTILINE)


def typed(folder, *words):
    """What the command prints; it has to succeed."""
    done = subprocess.run([sys.executable, "-m", "xaieval.app", *words], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
