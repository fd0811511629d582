"""The report that the benchmark writes into docs/benchmark.md."""

from tools.benchmark.report import KEPT_FROM, REPORT


def test_page_has_the_heading_from_which_the_page_is_kept() -> None:
    assert f"\n{KEPT_FROM}\n" in REPORT.read_text()
