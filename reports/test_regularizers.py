"""The price table: each number where it belongs."""

from reports.regularizers import price

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
