"""The page: self-contained, the same bytes for the same results, and readable in a real browser, wide and narrow."""

import json
import re
import shutil
import subprocess

import pytest

from benchmarks.tables import TABLES
from reports import page
from reports.conftest import entry
from reports.results import read

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-logging=stderr"]
PROBE = """<script>
const rgb = text => text.match(/[\\d.]+/g).map(Number);
const light = c => c.slice(0, 3).map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
const behind = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
const texts = [...document.body.querySelectorAll('*')].filter(e => e.tagName != 'SCRIPT' &&
    [...e.childNodes].some(n => n.nodeType == 3 && n.data.trim()));
const contrast = e => { const [a, b] = [light(rgb(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    return (a + .05) / (b + .05); };
const images = [...document.images], size = e => parseFloat(getComputedStyle(e).fontSize);
addEventListener('load', () => parent.postMessage(JSON.stringify({
    width: innerWidth, overflow: document.documentElement.scrollWidth - innerWidth, images: images.length,
    broken: images.filter(i => !i.naturalWidth).length, unnamed: images.filter(i => !i.alt).length,
    contrast: Math.min(...texts.map(contrast)), font: Math.min(...texts.map(size)),
    label: Math.max(...[...document.querySelectorAll('tbody th:first-child')].map(e => e.offsetWidth)) / innerWidth,
    remote: performance.getEntriesByType('resource').filter(r => !r.name.startsWith('data:')).length }), '*'));
</script>"""
FRAME = """<title></title><script>addEventListener('message', event => document.title = event.data)</script>
<iframe src="probed.html" width="{width}" height="900" style="border: 0"></iframe>"""  # a window has at least 500 px


@pytest.fixture
def written(writer, tmp_path):
    """A page from the full smoke table, some of Table 3 and a damaged record."""
    writer.full("smoke", seeds=2, lines=20)
    for cell in TABLES["table3"].cells[:3]:
        writer.write(cell.run, [entry("fid", 30.0), entry("banana", 1.0)])
    text = page.render(read(writer.folder), tmp_path / "out")
    path = tmp_path / "index.html"
    path.write_text(text, encoding="utf-8")
    return path


def test_self_contained_and_complete(written):
    text = written.read_text(encoding="utf-8")
    assert not re.search(r'(src|href)="(?!data:|#)', text) and "<script" not in text and "http" not in text.replace(
        "http-equiv", "")
    targets = re.findall(r'href="#(\w+)"', text)
    assert {*TABLES, "claims", "status"} == set(targets) and all(f'id="{target}"' in text for target in targets)
    assert "banana" in text and "30.00 (n=1)" not in text and "30.00\u00a0(n=1)" in text
    assert "01234567" in text and "test device" in text  # provenance


def test_text_from_records_is_escaped(writer, tmp_path):
    run = TABLES["table3"].cells[0].run
    evil = {"commit": "0", "dirty": True, "versions": {"x": '"><script>'}, "device": "<b>device"}
    writer.write(run, [entry("fid", 30.0)], provenance=evil)
    text = page.render(read(writer.folder), tmp_path)
    assert "<script" not in text and "<b>" not in text and "&lt;b&gt;device" in text


def test_same_results_same_bytes(writer, tmp_path):
    writer.full("smoke", seeds=1, lines=5)
    assert page.render(read(writer.folder), tmp_path / "a") == page.render(read(writer.folder), tmp_path / "b")


def test_command_without_results(tmp_path, monkeypatch):
    """Day one: the published numbers, their claims and their figures are there."""
    monkeypatch.setattr("sys.argv", ["", "--results", str(tmp_path / "none"), "--out", str(tmp_path)])
    page.main()
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "better in 48 of 48 cells" in text and "80.6" in text and "data:image/png" in text
    assert (tmp_path / "claims.md").exists() and (tmp_path / "table1" / "table.md").exists()


@pytest.mark.skipif(BROWSER is None, reason="no chromium: the page was not looked at in a browser")
@pytest.mark.parametrize("width", [1280, 390])
def test_in_a_browser(written, tmp_path, width):
    probed = tmp_path / "probed.html"  # the page's policy allows no script, not even the test's
    text = re.sub(r"<meta http-equiv[^>]*>", "", written.read_text(encoding="utf-8"))
    probed.write_text(text.replace("</body>", PROBE + "</body>"), encoding="utf-8")
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.format(width=width))
    log, _ = browse(written, tmp_path)
    assert "CONSOLE" not in log
    found = json.loads(re.search(r"<title>(\{.*\})</title>", browse(frame, tmp_path)[1])[1])
    assert found["width"] == width and found["overflow"] <= 0
    assert found["images"] >= 6 and found["broken"] == found["unnamed"] == found["remote"] == 0
    assert found["contrast"] >= 4.5 and found["font"] >= 13  # WCAG 2.2 AA
    assert found["label"] < 0.5  # the column that stays while a table scrolls leaves room for the numbers


def browse(path, tmp_path) -> tuple[str, str]:
    """What the browser says on loading a page, and the page it has then."""
    command = [BROWSER, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1400,1000",
               "--virtual-time-budget=3000", "--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stderr, done.stdout
