"""Two ways over seeds: each number where it belongs."""

from reports.ways import lazy


def test_lazy_against_exact():
    """Differences of -2, 1, 4: 1 ± 4.302653 * 3 / sqrt(3); a model that is worse; one that diverged."""
    def rows(model, default, exact):
        return [{"dataset": "digits", "model": model, "seed": seed, "fd_effnet": {"default": a, "exact": b}}
                for seed, (a, b) in enumerate(zip(default, exact, strict=True))]

    text = lazy({"metric": "fd_effnet", "samples": 300, "seeds": 3, "rows": [
        *rows("wgan", [98.0, 101.0, 104.0], [100.0] * 3), *rows("dcgan", [50.0, 51.0, 52.0], [40.0, 41.0, 42.0]),
        *rows("biggan", [None] * 3, [1.0] * 3)]})
    assert "| digits | WGAN | 101.0 ± 3.0 | 100.0 ± 0.0 | +1.0 (-6.5 to +8.5) | 2.1 | yes |" in text
    assert "| digits | DCGAN | 51.0 ± 1.0 | 41.0 ± 1.0 | +10.0 (+10.0 to +10.0) | 1.0 | NO |" in text
    assert "BigGAN" not in text and "300 samples" in text and "6 pairs" in text
    assert "0.2 of the 2 cells would say NO" in text  # 2 (1 - Phi(sqrt(3 / 2))) = 0.22
