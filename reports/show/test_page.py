"""The page, the figures, the comparisons and the benches, on records of known numbers."""

import io
import json
import math
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest
from PIL import Image

from benchmarks.runs import InputError, Run
from benchmarks.tables import TABLES, shortened
from reports.conftest import PROVENANCE, Writer, entry
from reports.data.records import read
from reports.data.views import view
from reports.show import render
from reports.show.bench import benches
from reports.show.compare import beside, compared, comparison
from reports.show.document import markdown
from reports.show.figures import figures, samples
from reports.show.words import change


class Links(HTMLParser):
    """The addresses and ids of a page."""

    def __init__(self, text):
        super().__init__()
        self.found, self.ids = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.found += [given[name] for name in ("href", "src") if name in given]
        self.ids |= {given["id"]} if "id" in given else set()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The reports of an open table, a data set of one's own, and a method of one's own."""
    tmp_path = tmp_path_factory.mktemp("page")
    writer = Writer(tmp_path / "results")
    writer.table("open", seeds=3)
    writer.write(Run("dcgan", "mine", 32, iterations=7), [entry("fd_effnet", 3.0)])
    method = replace(TABLES["open"].cells[0].run, regularizers={"mine": 5.0})
    writer.write(method, [entry("fd_effnet", 100.0)])
    render.everything(read(writer.folder), tmp_path / "reports")
    return tmp_path / "reports"


SMOKE = TABLES["smoke"].protocol


def test_the_page(page):
    text = (page / "index.html").read_text()
    links = Links(text)
    for address in links.found:  # every link leads somewhere, every anchor is there
        if not address.startswith("https://doi.org/10.12677/"):
            path, _, anchor = unquote(address).partition("#")
            target = page / path if path else page / "index.html"
            assert target.exists(), address
            assert not anchor or anchor in Links(target.read_text()).ids, address
    words = unescape(re.sub(r"<[^>]*>", " ", text))
    assert words.index("Do GANs trained") < words.index("Did it reproduce?") < words.index("The claims")
    assert "Tables 1-3 are not run yet" in words and 'supported: C0 "The baseline gets worse' in words
    assert "title=" not in text and "missing" not in words and "<script" not in text
    assert words.count("Not run yet") == len(TABLES) - 1
    assert "mine5 against the others" in words and "dcgan-mine-32-f1.0-baseline-i7-s*" in words
    assert len(text) < 250_000


def test_every_score_leads_to_its_records(page):
    text = (page / "index.html").read_text()
    numbers = re.findall(r"<td[^>]*>(.*?)</td>", text.split('id="open"')[1].split("<h2")[0])
    measured = [number for number in numbers if "\u00a0±" in number]
    assert len(measured) > 60 and all("records.html#" in number for number in measured)
    records = (page / "records.html").read_text()
    assert records.count("/metrics.json\"") == 3 * len(TABLES["open"].cells) + 2


def test_figures_are_svg_with_whole_captions(writer, tmp_path):
    writer.table("open", seeds=3)
    results = read(writer.folder)
    made = {figure.file: figure for figure in figures(view(results, "open"), results, tmp_path)}
    assert list(made) == ["contest.svg", "by_fraction.svg", "gradient_norms.svg", "learning_curves.svg", "samples.png"]
    for figure in list(made.values())[:-1]:
        root = ElementTree.fromstring(figure.data)
        assert root.tag.endswith("svg") and figure.caption.endswith(".")
        assert b"<dc:date>" not in figure.data and len(figure.data) < 200_000
    text = made["gradient_norms.svg"].data.decode()
    assert "baseline (×" in text and ">10%<" in text  # the answer to the paper's Figure 1, and direct labels


def test_a_weight_sweep_is_shown(writer):
    baseline = next(cell.run for cell in TABLES["smoke"].cells if cell.run.iterations)
    for weight in (0, 1.0, 10.0, 100.0):
        run = replace(baseline, regularizers={"gradgap": weight} if weight else {})
        writer.write(run, [entry("fd_effnet", 50 - weight / 10, n_generated=SMOKE.samples)])
    results = read(writer.folder)
    shown = {section.heading: section for section in beside(results, view(results, "smoke"))}
    text = markdown(shown["Beside what is not in this table"].parts[0])
    assert "| gradgap1 | 49.90 |" in text and "| gradgap10 | 49.00 |" in text


def test_the_sample_sheet_is_small(writer, tmp_path):
    writer.table("smoke", seeds=1)
    results = read(writer.folder)
    made = samples(view(results, "smoke"), results)
    assert made.data.startswith(b"\x89PNG") and len(made.data) < 300_000
    paper = view(results, "table3")
    assert [figure.file for figure in figures(paper, results, tmp_path)] == ["by_fraction.svg"]
    (tmp_path / "samples.png").touch()
    kept = figures(paper, results, tmp_path)[-1]
    assert kept.file == "samples.png" and kept.data is None, "the sheet that is there stays"
    writer.samples(TABLES["table3"].cells[0].run)
    with Image.open(io.BytesIO(samples(paper, results).data)) as image:
        assert image.height < 200, "rows and columns of runs that are not there take no room"


def test_a_comparison(writer):
    first = next(cell.run for cell in TABLES["table3"].cells if not cell.run.regularizers)
    for seed in range(3):
        for regularizers, value in (({}, 50.0), ({"gradgap": 100.0}, 40.0), ({"mine": 5.0}, 44.0)):
            writer.write(replace(first, seed=seed, regularizers=regularizers), [entry("fid", value)])
    made, pairs = compared(read(writer.folder), "table3", "mine5")
    shown = comparison(made, pairs, "mine5")
    against, lines = markdown(shown[0].parts[0]), shown[0].parts[2:]
    assert "| baseline | -12 % [-12, -12] | better | 1 of 6 | 3 |" in against
    assert "| gradgap100 | +10 % [+10, +10] | worse | 1 of 6 | 3 |" in against
    assert lines[0].startswith("1 of 6 cells have the method")
    each, scores = markdown(shown[0].parts[1]), markdown(shown[1].parts[0])
    assert "| WGAN | cifar-100 10% | 44.00 ± 0.00 | -12 % [-12, -12] | +10 % [+10, +10] | 2 of 3 |" in each
    assert "| WGAN | baseline | published | 49.61 |" in scores and "| WGAN | mine5 | ours | 44.00 ± 0.00 |" in scores


def test_a_comparison_on_smoke_says_what_it_is(writer, tmp_path, capsys):
    assert render.comparison_of(read(writer.folder), tmp_path / "reports", "lecam0.3", "smoke") == 1
    assert "shows that the whole suite works" in capsys.readouterr().out
    assert (tmp_path / "reports" / "compare" / "lecam0.3" / "smoke" / "table.md").exists()


def test_a_comparison_of_fewer_iterations_finds_its_runs(writer, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(TABLES, "smoke-i2", shortened(TABLES["smoke"], 2))
    for cell in TABLES["smoke"].cells:
        run = replace(cell.run, iterations=min(cell.run.iterations, 2))
        writer.write(run, [entry("fd_effnet", 50.0, n_generated=SMOKE.samples)])
        if run.iterations and not run.regularizers:
            method = replace(run, regularizers={"lecam": 0.3})
            writer.write(method, [entry("fd_effnet", 40.0, n_generated=SMOKE.samples)])
    reports = tmp_path / "reports"
    assert render.comparison_of(read(writer.folder), reports, "lecam0.3", "smoke-i2") == 0
    assert "40.0" in capsys.readouterr().out
    assert render.comparison_of(read(writer.folder), reports, "lecam0.3", "smoke") == 1


@pytest.mark.parametrize("name", ["", "baseline", "a b", "mine"])
def test_a_name_that_is_no_method(writer, name):
    with pytest.raises(InputError, match="METHOD="):
        compared(read(writer.folder), "smoke", name)


def test_benches(writer):
    folder = writer.folder / "bench"
    folder.mkdir()
    run = "dcgan-digits-32-f1.0-baseline-b8-width0.25-s0"
    form = {"ratio": 1.5, "ratio_low": 1.25, "ratio_high": 1.75, "operations_ratio": 2.0, "peak_bytes": 1e6}
    row = {"run": run, "forms": {"none": form, "gradgap": form}, "gradgap_extra_over_naive_extra": 0.5,
           "finite_differences_gradient_error": 0.25}  # fmt: skip
    (folder / "regularizers.json").write_text(json.dumps({"rounds": 3, "rows": [row], "provenance": PROVENANCE}))
    (folder / "eval.json").write_text("{}")
    problems = []
    made = benches(writer.folder, problems)
    assert list(made) == ["regularizers"] and "make bench-eval" in problems[0]
    assert f"| {run} | gradgap | 0.50 | 0.25 | 1.50 | 1.25 | 1.75 | 2.00 | 1,000,000.00 |" in markdown(
        made["regularizers"].parts[0])  # fmt: skip


def test_a_change_in_words():
    assert [change(x) for x in (0.0, -0.105, 0.02)] == ["+0.0 %", "-10 %", "+2.0 %"]
    assert change(math.log(0.91)) == "-9.0 %" and change(math.log(2)) == "+100 %"
