"""The report that the benchmark writes into docs/benchmark.md."""

from tools.benchmark.report import KEPT_FROM, REPORT


def test_page_has_the_heading_of_the_part_that_a_new_report_keeps() -> None:
    assert f"\n{KEPT_FROM}\n" in REPORT.read_text()
