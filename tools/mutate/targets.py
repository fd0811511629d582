"""The tests that are run for the mutants of each file.

The tests need neither Home Assistant nor a serial port. A run leaves out tests that do
not pass with the unchanged library. For each mutant, `Baseline.tests_of` selects and
sorts the tests that may depend on the changed lines.
"""

from pathlib import Path

ROOT = Path(__file__).parents[2]
LIBRARY = "custom_components/socomec_countis/countis"

DECODING_TESTS = ("test_tables.py", "test_decoding.py")
READING_TESTS = (
    *DECODING_TESTS,
    "test_meter.py",
    "test_acceptance.py",
    "test_profile.py",
)
COUNTER_TESTS = (
    "test_plausibility_borders.py",
    "test_plausibility.py",
    "test_plausibility_lasting.py",
    "test_acceptance.py",
    "test_meter.py",
    "test_commands.py",
)

BUS_TESTS = ("test_bus_times.py", "test_bus.py", "test_scan.py")

TESTS: dict[str, tuple[str, ...]] = {
    "fields.py": DECODING_TESTS,
    "registers.py": (*READING_TESTS, "test_commands.py"),
    "block.py": (*DECODING_TESTS, "test_meter.py", "test_profile.py"),
    "load_curve.py": ("test_load_curve.py", "test_tables.py"),
    "load_times.py": ("test_load_times.py",),
    "energy_curve.py": ("test_energy_curve.py",),
    "gap_evidence.py": ("test_gap_evidence.py",),
    "clock.py": ("test_clock.py", "test_commands.py"),
    "demand.py": ("test_demand.py",),
    "relations.py": ("test_relations.py", "test_meter.py", "test_profile.py"),
    "partial_tariffs.py": ("test_partial_tariffs.py",),
    "profile.py": (
        "test_profile.py",
        "test_profile_borders.py",
        "test_meter.py",
        "test_commands.py",
    ),
    "limits.py": ("test_plausibility_borders.py", "test_plausibility.py"),
    "plausibility.py": COUNTER_TESTS,
    "acceptance.py": ("test_acceptance.py", "test_evidence.py", "test_meter.py"),
    "commands.py": ("test_command_borders.py", "test_commands.py", "test_tables.py"),
    "meter.py": ("test_meter.py", "test_acceptance.py", "test_commands.py"),
    "bus.py": BUS_TESTS,
    "unit.py": BUS_TESTS,
    "poller.py": ("test_poller_plan.py", "test_poller.py"),
}
"""The test files by the name of the file that is changed."""
