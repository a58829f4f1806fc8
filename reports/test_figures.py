"""The figures: what they draw is what was written, and the same results give the same bytes."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from benchmarks.runs import Run
from benchmarks.tables import TABLES
from reports import comparisons, figures
from reports.conftest import entry
from reports.results import read
from reports.samples import GAP, LABEL, LARGE


def test_curves_are_means_over_seeds(writer):
    run = Run("wgan", "cifar-100", 64, 0.1)
    for seed in (0, 1):
        writer.log(replace(run, seed=seed), lines=400)
    path = writer.folder / replace(run, seed=1).id / "log.jsonl"
    path.write_text(path.read_text().replace('"gap": 10.0', '"gap": 30.0'))
    departure, [curve] = figures.curves("table3", read(writer.folder))
    assert departure == ""
    inside = ~np.ma.getmaskarray(curve.values["gap"])
    assert inside.sum() >= figures.POINTS - 2 and np.allclose(curve.values["gap"][inside], 20.0)
    assert curve.iteration[-1] == 100_000


def test_a_curve_ends_where_its_run_diverged(writer):
    run = Run("wgan", "cifar-100", 64, 0.1)
    writer.log(run, lines=100)
    path = writer.folder / run.id / "log.jsonl"
    last = '{"iteration": 100100, "loss_d": NaN, "loss_g": 0, "n_R": 0, "n_F": 0, "gap": 0}'
    path.write_text(f"{path.read_text()}{last}\n")
    _, [curve] = figures.curves("table3", read(writer.folder))
    assert np.ma.getmaskarray(curve.values["loss_d"])[-1] and np.isfinite(curve.values["loss_d"].compressed()).all()


def test_distance_of_kept_generators_is_read_between_them(writer):
    """Seed 0: 60, 50, 30 at 20, 60 and 100 thousand iterations; seed 1 is 10 above. At 80 thousand: 40 and 50."""
    run = Run("wgan", "cifar-100", 64, 0.1)
    for seed in (0, 1):
        kept = [entry("fid", value + 10 * seed, checkpoint=str(n)) for n, value in ((20_000, 60.0), (60_000, 50.0))]
        other = [entry("fd_effnet", 7.0, checkpoint="20000"), entry("fid", 1.0, checkpoint="best")]
        writer.write(replace(run, seed=seed), [*kept, *other, entry("fid", 30.0 + 10 * seed)])
        writer.log(replace(run, seed=seed))
    results = read(writer.folder)
    _, [curve] = figures.curves("table3", results)
    drawn = curve.values[figures.DISTANCE]
    before = curve.iteration < 20_000
    assert np.ma.getmaskarray(drawn)[before].all() and not np.ma.getmaskarray(drawn)[~before].any()
    expected = np.interp(curve.iteration, [20_000, 60_000, 100_000], [65.0, 55.0, 35.0])
    np.testing.assert_allclose(drawn[~before], expected[~before])
    metric, kept = figures.distances("table3", results)
    assert metric == "fid" and kept[run.id] == {20_000: 60.0, 60_000: 50.0, 100_000: 30.0}


def test_learning_curves_have_a_panel_for_the_distance_where_it_is_known(writer, tmp_path, monkeypatch):
    run, drawn = Run("wgan", "cifar-100", 64, 0.1), []
    monkeypatch.setattr(figures, "save", lambda figure, path: drawn.append(
        (path.name, [axis.get_title() for axis in figure.axes])))
    writer.log(run)
    for metrics in ([], [entry("fid", 60.0, checkpoint="50000"), entry("fid", 30.0)]):
        writer.write(run, metrics)
        figures.render("table3", read(writer.folder), tmp_path)
    titles = [titles for name, titles in drawn if name == "learning_curves"]
    assert titles == [list(figures.LOSSES.values()), [*figures.LOSSES.values(), "FID of kept generators"]]


def test_fewer_iterations_are_drawn_where_there_is_nothing_else(writer):
    run = replace(TABLES["table3"].cells[0].run, iterations=1000)
    writer.log(run)
    departure, [curve] = figures.curves("table3", read(writer.folder))
    assert departure == "1,000 iterations" and curve.iteration[-1] == 1000


def test_lines_carry_the_published_and_our_numbers(writer):
    writer.full("table1", lines=2)
    figure = comparisons.fid_by_fraction("table1", read(writer.folder))
    drawn = [tuple(line.get_ydata()) for line in figure.axes[0].get_lines() if len(line.get_xdata()) == 3]
    assert (80.6, 61, 59.3) in drawn and (42.3, 41.3, 39.9) in drawn  # WGAN on art paintings, without and with R
    ours = [line.get_ydata() for line in figure.axes[3].get_lines() if len(line.get_xdata()) == 3]
    assert any(np.allclose(values, (80.6, 61, 59.3)) for values in ours)


def test_figure_1_shows_baselines_and_gradgap_alone(writer):
    for cell in TABLES["open"].cells:
        writer.log(cell.run, lines=4)
    _, found = figures.curves("open", read(writer.folder))
    assert {curve.run.method for curve in found} == {"baseline", "gradgap100"} and len(found) == 2 * (2 * 3 + 3)


def test_a_line_for_each_method_that_competes(writer):
    """Scores by hand: 10 (1 + place of the method) + 100 x fraction; emoji-faces has one fraction and no panel."""
    methods = ["baseline", "gradgap100", "diggan", "lecam0.3", "baseline-diffaugment_translation_cutout"]
    for cell in TABLES["open"].cells:
        place = methods.index(cell.label or cell.run.method)
        writer.write(cell.run, [entry("fd_effnet", 10 * (1 + place) + 100 * cell.run.fraction)])
    figure = comparisons.fid_by_fraction("open", read(writer.folder))
    assert [axis.get_title() for axis in figure.axes] == ["WGAN, fashion-mnist", "BigGAN, fashion-mnist"]
    for axis in figure.axes:
        lines = [line for line in axis.get_lines() if line.get_marker() == "o"]  # the others are caps of error bars
        assert [list(line.get_ydata()) for line in lines] == [
            [10 * n + 10, 10 * n + 20, 10 * n + 100] for n in range(1, 6)]
        assert len({line.get_color() for line in lines}) == 5
        assert [line.is_dashed() for line in lines] == [True] + [False] * 4
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "baseline", "gradgap100", "diggan", "lecam0.3", "diffaugment_translation_cutout"]


def test_augmented_runs_are_no_baselines_of_the_sweep(writer):
    for cell in TABLES["open"].cells:
        if cell.run.method in ("baseline", "gradgap100", "baseline-diffaugment_translation_cutout"):
            writer.write(cell.run, [entry("fd_effnet", 50.0)])
    baseline = TABLES["open"].cells[0].run
    writer.write(replace(baseline, regularizers={"gradgap": 1.0}), [entry("fd_effnet", 40.0)])
    figure = comparisons.lambda_sweep("open", read(writer.folder))
    [line] = [line for line in figure.axes[0].get_lines() if line.get_marker() == "o"]
    assert list(line.get_xdata()) == [0, 1, 100] and list(line.get_ydata()) == [50, 40, 50]


def test_lambda_sweep(writer):
    baseline = TABLES["table3"].cells[0].run
    for weight in (0, 1, 10, 100, 1000):
        regularizers = {"gradgap": float(weight)} if weight else {}
        writer.write(replace(baseline, regularizers=regularizers), [entry("fid", 50.0 - weight / 100)])
    line = comparisons.lambda_sweep("table3", read(writer.folder)).axes[0].get_lines()[0]
    assert list(line.get_xdata()) == [0, 1, 10, 100, 1000]
    assert list(line.get_ydata()) == pytest.approx([50, 49.99, 49.9, 49, 40])
    assert comparisons.lambda_sweep("table1", read(writer.folder)) is None


def test_lambda_sweep_of_shorter_training_says_so(writer):
    """Logs and scores of 1,000 iterations; a baseline at the table's own protocol stays out."""
    baseline = TABLES["table3"].cells[0].run
    writer.write(baseline, [entry("fid", 99.0)])
    for weight in (0, 1, 10):
        run = replace(baseline, regularizers={"gradgap": float(weight)} if weight else {}, iterations=1000)
        writer.write(run, [entry("fid", 50.0 - weight)])
        writer.log(run)
    scores, gaps = comparisons.lambda_sweep("table3", read(writer.folder)).axes
    assert list(scores.get_lines()[0].get_ydata()) == [50, 49, 40] and "1,000 iterations" in scores.get_ylabel()
    assert list(gaps.get_lines()[0].get_xdata()) == [0, 1, 10]


def test_sample_sheet_shows_each_run_in_its_place(writer, tmp_path):
    """Each run has samples of one colour; the sheet has rows dcgan, dcgan + R, wgan, ..., columns 10 %, 100 %."""
    runs = [cell.run for cell in TABLES["smoke"].cells if cell.run.iterations]
    colours = {run.id: (12 * number + 20, 0, 200) for number, run in enumerate(runs)}
    for run in runs[:-1]:
        (writer.folder / run.id).mkdir(parents=True)
        Image.new("RGB", (256, 256), colours[run.id]).save(writer.folder / run.id / "samples.png")
    assert "samples" in figures.render("smoke", read(writer.folder), tmp_path)
    sheet = Image.open(tmp_path / "samples.png")
    models = [run.model for run in runs]
    order = sorted(runs, key=lambda run: (models.index(run.model), bool(run.regularizers), run.fraction))
    for number, run in enumerate(order):
        x = GAP + number % 2 * (LARGE + GAP) + LARGE // 2
        y = GAP + number // 2 * (LARGE + LABEL + GAP) + LABEL + LARGE // 2
        expected = colours[run.id] if run.id != runs[-1].id else (238, 238, 238)
        assert sheet.getpixel((x, y)) == expected, run.id


def test_damaged_samples_are_named(writer, tmp_path):
    run = TABLES["smoke"].cells[1].run
    writer.samples(run)
    path = writer.folder / run.id / "samples.png"
    path.write_bytes(path.read_bytes()[:500])
    results = read(writer.folder)
    assert figures.render("smoke", results, tmp_path) == []
    assert len(results.problems) == 1 and "samples.png" in results.problems[0]


def test_same_results_same_bytes(writer, tmp_path):
    writer.full("smoke", seeds=1, lines=5)
    for name in ("a", "b"):
        figures.render("smoke", read(writer.folder), tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert {"gradient_norms.png", "gradient_norms.svg", "learning_curves.png", "fid_by_fraction.svg",
            "samples.png"} <= set(files)
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_nothing_to_draw(tmp_path):
    assert figures.render("smoke", read(tmp_path), tmp_path) == []
