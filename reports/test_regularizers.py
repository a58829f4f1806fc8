"""The price table: each number where it belongs."""

from reports.regularizers import lazy, price

FORMS = {name: {"cpu_seconds": 1.0, "ratio": ratio, "ratio_low": ratio - 0.1, "ratio_high": ratio + 0.2,
                "operations_ratio": ratio + 1, "peak_bytes": 2_000_000 * number}
         for number, (name, ratio) in enumerate((("none", 1.0), ("naive", 1.8), ("default", 1.05)), start=1)}


def test_price():
    text = price({"rounds": 7, "rows": [{
        "run": "wgan-digits-32-f1.0-baseline-b8-width0.125-s0", "forms": FORMS, "exact_extra_over_naive_extra": 0.444,
        "finite_differences_gradient_error": 39.6}]})
    assert ("| model | configuration | naive | default | exact / naive | operations, naive | operations, default | "
            "MB, none | MB, naive | MB, default | gradient error |") in text
    assert ("| WGAN | 32 px, batch 8, width 0.125 | 1.80 [1.70, 2.00] | 1.05 [0.95, 1.25] | 0.44 | 2.80 | 2.05 | "
            "2 | 4 | 6 | 4.0e+01 |") in text
    assert "of 7 rounds" in text


def test_lazy_against_exact():
    """Differences of -2, 1, 4: 1 ± 4.302653 * 3 / sqrt(3); a model that is worse; one that diverged."""
    def rows(model, default, exact):
        return [{"dataset": "digits", "model": model, "seed": seed, "fd_effnet": {"gradgap": a, "gradgap_exact": b}}
                for seed, (a, b) in enumerate(zip(default, exact, strict=True))]

    text = lazy({"metric": "fd_effnet", "samples": 300, "seeds": 3, "rows": [
        *rows("wgan", [98.0, 101.0, 104.0], [100.0] * 3), *rows("dcgan", [50.0, 51.0, 52.0], [40.0, 41.0, 42.0]),
        *rows("biggan", [None] * 3, [1.0] * 3)]})
    assert "| digits | WGAN | 101.0 ± 3.0 | 100.0 ± 0.0 | +1.0 (-6.5 to +8.5) | 2.1 | yes |" in text
    assert "| digits | DCGAN | 51.0 ± 1.0 | 41.0 ± 1.0 | +10.0 (+10.0 to +10.0) | 1.0 | NO |" in text
    assert "BigGAN" not in text and "300 samples" in text and "6 pairs" in text
    assert "0.2 of the 2 cells would say NO" in text  # 2 (1 - Phi(sqrt(3 / 2))) = 0.22
