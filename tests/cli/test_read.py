"""Tests of the command `read`."""

import re
import time

import pytest

from cli.exit_codes import Exit
from simulator import (
    Constant,
    Line,
    Meter,
    Phase,
    RtuGateway,
    TcpGateway,
    gateway_in_thread,
    table,
)
from tests.common import SERIAL

from .common import countis, countis_json, countis_on_terminal, line_of

NEEDS_NETWORK = pytest.mark.usefixtures("socket_enabled")


def test_all_values_are_printed_as_tables_with_units(line: Line) -> None:
    code, output, errors = countis("read", "--port", line.port, "--unit-id", "1")
    assert (code, errors) == (Exit.DONE, "")
    rows = {re.sub(r" {2,}", "|", row.rstrip()) for row in output.splitlines()}
    assert rows >= {
        f"COUNTIS E33, unit ID 1, serial number {SERIAL}, firmware 1.02",
        "|L1|L2|L3|N|total",
        "Active power|1000|500|-200|1300|W",
        "Voltage|230.00|230.00|230.00|V",
        "Power factor|1.000|1.000|1.000|1.000",
        "|total|partial|rollovers",
        "Consumed, Ea+|1234.56|45.67|0|kWh",
        "Reactive, Er+|300.01|1.23|0|kvarh",
        "Ea+ in tariff 2|234.56|0|kWh",
        "Present tariff|1",
    }
    assert "Clock is ahead by" in output


def test_partial_counters_by_tariff_of_an_e2x_are_printed(
    line: Line, meter: Meter
) -> None:
    meter.model = "Countis E24"
    meter.has_partial_tariffs = True
    meter.counters.partial_tariffs[:2] = [12_300.0, 4_500.0]  # Wh
    _, result = countis_json("read", "--port", line.port, "--unit-id", "1")
    values = result["values"]
    assert values["partial_tariff_1_energy"] == 12.3
    assert values["partial_tariff_2_energy"] == 4.5
    assert result["units"]["partial_tariff_2_energy"] == "kWh"


def test_every_value_has_a_label_in_the_tables(line: Line) -> None:
    _, output, _ = countis("read", "--port", line.port, "--unit-id", "1")
    _, result = countis_json("read", "--port", line.port, "--unit-id", "1")
    labels = {row.split("  ")[0] for row in output.splitlines()}
    # A value without a label is printed with its key.
    assert labels.isdisjoint(result["values"])
    assert "Frequency" in labels


def test_columns_of_numbers_are_aligned(line: Line) -> None:
    _, output, _ = countis("read", "--port", line.port, "--unit-id", "1")
    # The first table: its headings, and its six rows with values of each phase.
    rows = {row.split("  ")[0]: row for row in output.splitlines()[2:9]}
    # The column after the last character of each heading.
    ends = [rows[""].index(heading) + 2 for heading in ("L1", "L2", "L3")]
    for label in ("Active power", "Power factor", "Voltage", "Current"):
        for end in ends:
            assert rows[label][end - 1] != " ", (label, end)
            assert rows[label][end] == " ", (label, end)


def test_all_values_are_printed_as_json(line: Line) -> None:
    code, result = countis_json("read", "--port", line.port, "--unit-id", "1")
    assert code == Exit.DONE
    assert result.keys() == {
        *("time", "unit_id", "model", "serial_number", "software_version"),
        *("identity", "blocks", "split", "values", "units"),
    }
    assert (result["model"], result["software_version"]) == ("COUNTIS E33", "1.02")
    values, units = result["values"], result["units"]
    assert values["power_l3"] == -200
    assert values["energy_consumed"] == 1234.56
    assert values["tariff_count"] == 4
    assert values["energy_consumed_today"] == 0
    assert units["power"] == "W"
    assert units["energy_reactive"] == "kvarh"
    assert units["clock_offset"] == "s"
    assert units.keys() <= values.keys()


def test_clock_offset_is_the_time_by_which_the_meter_is_ahead() -> None:
    ahead = 90  # s
    with line_of(Meter(true_time=lambda: time.time() + ahead)) as line:
        _, result = countis_json("read", "--port", line.port, "--unit-id", "1")
    assert result["values"]["clock_offset"] == pytest.approx(ahead, abs=1)


def test_blocks_that_are_not_supported_are_omitted(line: Line, meter: Meter) -> None:
    meter.refused_blocks = {
        table.OVERFLOW,
        table.PERIODS_UNIT_100,
        table.PERIODS,
        table.CLOCK,
        table.TARIFFS_UNIT_100,
        table.TARIFFS,
    }
    code, output, _ = countis("read", "--port", line.port, "--unit-id", "1")
    assert code == Exit.DONE
    assert "Consumed, Ea+" in output
    for missing in ("tariff", "Today", "rollovers", "Clock"):
        assert missing not in output


@NEEDS_NETWORK
@pytest.mark.parametrize(
    ("option", "kind"), [("--tcp", TcpGateway), ("--rtu-over-tcp", RtuGateway)]
)
def test_meter_behind_a_gateway_is_read(
    option: str, kind: type[TcpGateway | RtuGateway], meter: Meter
) -> None:
    line = Line([meter], baudrate=921_600, response_delay=0.001)
    with gateway_in_thread(line, kind) as gateway:
        address = f"{gateway.host}:{gateway.port}"
        code, result = countis_json("read", option, address, "--unit-id", "1")
    # The phases of the simulated load have 1000 W, 500 W and -200 W.
    assert (code, result["values"]["power"]) == (Exit.DONE, 1300)


def test_negative_power_is_coloured_but_a_negative_power_factor_is_not() -> None:
    capacitive = Phase(1000, reactive=-300)
    meter = Meter(load=Constant(capacitive, Phase(500), Phase(-200)))
    with line_of(meter) as line:
        _, shown = countis_on_terminal("read", "--port", line.port, "-u", "1")
    rows = {row.partition("  ")[0]: row for row in shown.splitlines()}
    cyan = "\x1b[36m"
    assert f"{cyan}  -200" in rows["Active power"]
    assert "-0.9" in rows["Power factor"]
    assert cyan not in rows["Power factor"]
