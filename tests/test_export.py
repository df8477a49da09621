"""`xaieval export`: rows for other programs and leaderboards for papers, from real stores and hostile names."""

import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from score_rows import cells, frame, noise

from xaieval import app
from xaieval.export import exported
from xaieval.latex import escaped, latex
from xaieval.leaderboard import leaderboards
from xaieval.store import Store
from xaieval.table import Entry, Table

HOSTILE = r"a_b & 50% #1 {x} ~y^2 \input{/etc/passwd} $z$ [1cm] <script>|"
RUN = ("dataset=planted", "model=planted", "dataset.limit=3", "metric=[insertion,sparseness]")


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A folder with a store of two methods with a parameter in two values, and the folder of one run."""
    folder = tmp_path_factory.mktemp("export")
    for samples in (2, 3):
        words = ("method=[smoothgrad,occlusion,random]", f"method.smoothgrad.samples={samples}")
        call = [sys.executable, "-m", "xaieval.app", *RUN, *words, f"hydra.run.dir=runs/{samples}"]
        subprocess.run(call, cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def xaieval(template, tmp_path, monkeypatch, capsys):
    """Runs the command in a copy of the folder; what it printed, or what it said was wrong."""
    monkeypatch.chdir(shutil.copytree(template, tmp_path / "project"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", "")

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["xaieval", *words])
        try:
            app.main()
        except SystemExit as stop:
            return str(stop.code)
        return capsys.readouterr().out

    return run


def test_csv_has_a_column_for_every_parameter(xaieval):
    found = pd.read_csv(io.StringIO(xaieval("export")))
    rows = Store("runs/store").rows()
    assert found["key"].tolist() == rows["key"].tolist()
    assert found["score"].tolist() == pytest.approx(rows["score"].tolist(), rel=1e-12)
    assert set(found.loc[found["method"] == "smoothgrad", "method.samples"]) == {2, 3}
    assert found.loc[found["method"] == "random", "method.samples"].isna().all()
    assert found["sources"].iloc[0] == f'["{rows["sources"].iloc[0][0]}"]'


def test_whole_numbers_stay_whole(xaieval):
    texts = pd.read_csv(io.StringIO(xaieval("export")), dtype=str)
    assert set(texts["method.samples"].dropna()) == {"2", "3"}


def test_parquet_has_the_same_rows_and_its_lists(xaieval):
    assert xaieval("export", "output=out/rows.parquet") == "In out/rows.parquet: 24 rows\n"
    found, rows = pd.read_parquet("out/rows.parquet"), Store("runs/store").rows()
    pd.testing.assert_frame_equal(found[["key", "score", "sample"]], rows[["key", "score", "sample"]])
    assert [tuple(names) for names in found["sources"]] == rows["sources"].tolist()
    assert found["method.samples"].dropna().unique().tolist() == [2, 3]
    assert {"method.noise", "metric.steps"} <= set(found.columns)


def test_a_parameter_of_several_types_is_told_as_json():
    removals = ("zero", {"size": 5}, None)
    layers = ("blocks.5", 5, [1, "2"])
    parameters = [
        {"removal": removal, "layer": layer, "grid": [7, place], "k": place}
        for place, (removal, layer) in enumerate(zip(removals, layers, strict=True))
    ]
    rows = frame(*(cells(f"m{one['k']}", "insertion", noise(one["k"], 2), parameters=one) for one in parameters))
    found = pd.read_parquet(io.BytesIO(exported(rows, "parquet", {}))).groupby("method").first()
    assert found["method.removal"].tolist()[0] == "zero"
    assert found["method.layer"].tolist() == ["blocks.5", "5", '[1, "2"]']
    assert found["method.grid"].tolist() == ["[7, 0]", "[7, 1]", "[7, 2]"]
    assert found["method.k"].tolist() == [0, 1, 2]


def test_leaderboards_are_those_of_the_verb(xaieval):
    (board,) = leaderboards(Store("runs/store").rows())
    assert xaieval("export", "format=markdown") == board.markdown()
    assert xaieval("export", "runs/store", "output=table.tex") == "In table.tex: 24 rows as leaderboards\n"
    written = Path("table.tex").read_text()
    assert written == board.latex()
    for column in board.columns:
        mean = column.scores["occlusion"].interval.mean
        assert f"{mean:.3f}".lstrip("0") in next(line for line in written.splitlines() if line.startswith("occlusion"))


def test_runs_and_stores_are_taken_together_and_no_cell_twice(xaieval):
    assert xaieval("export", "runs/2", "output=a.csv") == "In a.csv: 18 rows\n"
    assert xaieval("export", "runs/2", "runs/3/rows.parquet", "runs/store", "output=a.csv") == "In a.csv: 24 rows\n"
    assert xaieval("export", "store.path=runs/store", "output=a.csv") == "In a.csv: 24 rows\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("format=cvs", "there is no format 'cvs'; did you mean csv?; there are csv, parquet, latex, markdown"),
        ("output=rows.xlsx", "output=rows.xlsx does not tell the format: let it end with .csv, .parquet, .tex, .md"),
        ("format=parquet", "parquet is no text that could be shown: name a file"),
        ("runs/2 fromat=latex", "fromat"),
        ("--latex", "export knows no flags, got --latex"),
        ("nowhere", "there are no rows at nowhere"),
        ("store.path=nowhere", "there is no store at nowhere"),
        ("output=runs", "runs"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(xaieval, words, sentence):
    assert sentence in xaieval("export", *words.split())


# -- LaTeX --


def test_every_special_character_is_printed_and_none_is_read():
    found = escaped(HOSTILE)
    assert found == (
        r"a\_b \& 50\% \#1 \{x\} \textasciitilde{}y\textasciicircum{}2 \textbackslash{}input\{/etc/passwd\} "
        r"\$z\$ {[}1cm] \textless{}script\textgreater{}\textbar{}"
    )


def test_sections_have_a_rule_between_them_and_the_best_is_bold():
    first, second = ((Entry("a"), Entry("-.5", True)),), ((Entry("[b"), Entry("1±2")), (Entry("c"), Entry("-")))
    table = Table("t", ("method", "x\n↑ 0 to 1"), (first, second))
    lines = latex(table).splitlines()
    start = lines.index(r"\toprule")
    assert lines[start : lines.index(r"\end{tabular}")] == [
        r"\toprule",
        r" & x \\",
        r"method & $\uparrow$ 0 to 1 \\",
        r"\midrule",
        r"a & \textbf{$-$.5} \\",
        r"\midrule",
        r"{[}b & 1$\pm$2 \\",
        r"c & - \\",
        r"\bottomrule",
    ]


def latex_is_there():
    """Whether there is LaTeX, and booktabs with it."""
    if shutil.which("pdflatex") is None or shutil.which("kpsewhich") is None:
        return False
    return subprocess.run(["kpsewhich", "booktabs.sty"], capture_output=True).returncode == 0


@pytest.mark.skipif(not latex_is_there(), reason="pdflatex and booktabs are not installed")
def test_it_compiles_with_hostile_names(tmp_path):
    rows = frame(
        *(cells(f"{name} {HOSTILE}", metric, noise(place), model=HOSTILE, dataset=HOSTILE)
          for place, name in enumerate(("a", "b", "random")) for metric in ("insertion", "max_sensitivity")),
        cells("c", "insertion", ["zero map"] * 20 + noise(5, 10), model=HOSTILE, dataset=HOSTILE),
    )  # fmt: skip
    source = exported(rows, "latex", {}).decode()
    (tmp_path / "table.tex").write_text(source)
    (tmp_path / "paper.tex").write_text(
        "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n\\input{table}\n\\end{document}\n"
    )
    call = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper"]
    done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout
    assert not re.search(r"Missing character|Unicode character", done.stdout)
    assert (tmp_path / "paper.pdf").is_file()
