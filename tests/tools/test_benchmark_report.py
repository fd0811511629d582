"""The report that the benchmark writes into docs/benchmark.md."""

from tools.benchmark.report import KEPT_FROM, REPORT


def test_page_has_the_heading_below_which_nothing_is_overwritten() -> None:
    assert f"\n{KEPT_FROM}\n" in REPORT.read_text()
