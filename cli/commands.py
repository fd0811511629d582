"""The commands that write to meters, and read back the result."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
import sys
from typing import Any

from modbus_connection import ModbusTimeoutError
import typer

from socomec_countis import (
    PARTIAL_COUNTERS,
    SET_TARIFF,
    Meter,
    OpenBus,
    Reading,
    Values,
    async_confirm_tariff,
    async_reset_partial_counters,
    async_set_clock,
    async_set_tariff,
    tariffs,
)

from .connection import async_find_meter
from .exit_codes import Exit
from .failures import ERRORS, NoSuchTariffError, failure
from .meters import identity_of, print_error
from .options import Selection
from .output import Column, Rows, number, rounded

BROADCAST_ID = 0  # unit ID of a request to all meters
METER_COLUMNS = (Column("Unit ID", is_number=True), Column("Model", 12))
# In the order of `PARTIAL_COUNTERS`.
COUNTER_COLUMNS = tuple(
    Column(heading, 10, is_number=True)
    for heading in ("Ea+ (kWh)", "Er+ (kvarh)", "Ea- (kWh)")
)
COUNTER_DECIMALS = 2  # high-resolution counters have steps of 0.01 kWh or kvarh

type Result = dict[str, Any]
type Command = Callable[[Meter, Result], Awaitable[None]]
"""Sends a command to a meter, and adds entries to the result of the meter.

If the command fails, the entries added so far are kept.
"""


@dataclass(frozen=True)
class Broadcast:
    """A write of one register of all meters on the bus."""

    register: int
    value: int
    check: Callable[[Meter], None]
    """Raises one of the `ERRORS` if the meter cannot carry out the command."""

    async def async_send(self, opened: OpenBus) -> None:
        """Send the broadcast. Raises `ModbusError`."""
        async with opened.client(BROADCAST_ID) as client:
            await opened.bus.async_broadcast(client, self.register, self.value)


async def async_reset_partial_command(selection: Selection) -> Exit:
    """Set the partial counters to zero, and print their readings before and after."""
    rows = Rows(selection.output, *METER_COLUMNS, Column("", 6), *COUNTER_COLUMNS)

    def show(meter: Meter, when: str, values: Values) -> None:
        shown = [
            number(values.get(each), COUNTER_DECIMALS) for each in PARTIAL_COUNTERS
        ]
        rows.add(str(meter.unit_id), meter.profile.model, when, *shown)

    async def reset(meter: Meter, result: Result) -> None:
        def publish(reading: Reading) -> None:
            # The command publishes two readings of `energies` before the reset, and one
            # that confirms the reset. Each reading replaces the previous one in
            # `result["after"]`, so the last one remains.
            if reading.block != "energies":
                return
            values = rounded(
                {each: reading.values.get(each) for each in PARTIAL_COUNTERS}
            )
            result["after"] = values
            if "before" not in result:
                result["before"] = values
                show(meter, "before", values)
                selection.output.write_json({**identity_of(meter), "before": values})

        try:
            await async_reset_partial_counters(meter, publish)
        except BaseException:
            # The command failed, so the last reading does not show a completed reset.
            result.pop("after", None)
            raise
        show(meter, "after", result["after"])

    return await _async_each(selection, reset)


def confirm_reset(selection: Selection) -> None:
    """On a terminal and without --json, ask whether to reset the counters.

    Raises `typer.Abort` if the user says no, and `KeyboardInterrupt` after Ctrl-C or at
    the end of the input.
    """
    if sys.stdin.isatty() and sys.stdout.isatty() and not selection.output.as_json:
        unit_ids = ", ".join(map(str, selection.unit_ids))
        question = f"Reset the partial counters at unit ID {unit_ids}?"
        try:
            confirmed = typer.confirm(question)
        except typer.Abort:
            raise KeyboardInterrupt from None
        if not confirmed:
            raise typer.Abort


async def async_set_tariff_command(
    selection: Selection, tariff: int, *, to_all: bool
) -> Exit:
    """Set the tariff of the selected meters, or of all on the bus if `to_all`.

    A broadcast sets the tariff of all meters, but only the selected ones are checked
    before it, and read back after it.
    """
    rows = Rows(selection.output, *METER_COLUMNS, Column("Tariff", is_number=True))

    def check(meter: Meter) -> None:
        highest = tariffs(meter.profile.tariff_count)[-1]
        if tariff > highest:
            raise NoSuchTariffError(
                "1 tariff" if highest == 1 else f"{highest} tariffs"
            )

    async def set_tariff(meter: Meter, result: Result) -> None:
        check(meter)
        command = async_confirm_tariff if to_all else async_set_tariff
        await command(meter, lambda _: None, tariff=tariff)
        result["tariff"] = tariff
        rows.add(str(meter.unit_id), meter.profile.model, str(tariff))

    return await _async_each(
        selection,
        set_tariff,
        broadcast=Broadcast(SET_TARIFF, tariff, check) if to_all else None,
        common={"tariff": tariff, "broadcast": to_all},
    )


async def async_set_clock_command(selection: Selection) -> Exit:
    """Set the clocks to the time of the computer."""
    offset_columns = (
        Column("Offset before (s)", is_number=True),
        Column("Offset after (s)", is_number=True),
    )
    rows = Rows(selection.output, *METER_COLUMNS, *offset_columns)

    async def set_clock(meter: Meter, result: Result) -> None:
        offsets: list[float | None] = []
        await async_set_clock(
            meter, lambda reading: offsets.append(reading.values["clock_offset"])
        )
        result |= {"before": offsets[0], "after": offsets[-1]}
        shown = [number(each) for each in (offsets[0], offsets[-1])]
        rows.add(str(meter.unit_id), meter.profile.model, *shown)

    return await _async_each(selection, set_clock)


async def _async_each(
    selection: Selection,
    command: Command,
    *,
    broadcast: Broadcast | None = None,
    common: Mapping[str, Any] | None = None,
) -> Exit:
    """Send the command to each meter, also after a failure of another meter.

    If there is a `broadcast`, all selected meters are checked first. If a check fails,
    nothing is sent. A meter that does not respond is not checked. The broadcast is sent
    once, before the command is sent to the first meter.

    `common` is the part of the JSON output that is the same for all meters.
    """
    meters: dict[int, Meter] = {}
    try:
        async with selection.connection.open(selection.settings) as opened:
            if broadcast is not None:
                for unit_id in selection.unit_ids:
                    try:
                        meters[unit_id] = await async_find_meter(opened, unit_id)
                        broadcast.check(meters[unit_id])
                    except ModbusTimeoutError:
                        continue  # the command reports the missing response
                    except ERRORS as err:
                        return print_error(selection, err, unit_id)
                await broadcast.async_send(opened)
            results = [
                await _async_one(
                    selection, opened, command, unit_id, meters.get(unit_id)
                )
                for unit_id in selection.unit_ids
            ]
    except ERRORS as err:
        return print_error(selection, err)
    selection.output.write_json({**(common or {}), "meters": results})
    return Exit.DONE if _all_done(results) else Exit.FAILED


def _all_done(results: Sequence[Result]) -> bool:
    return all(result["done"] for result in results)


async def _async_one(
    selection: Selection,
    opened: OpenBus,
    command: Command,
    unit_id: int,
    meter: Meter | None,
) -> Result:
    """Send the command to one meter. If `meter` is None, find the meter first."""
    result: Result = {}
    try:
        if meter is None:
            meter = await async_find_meter(opened, unit_id)
        result = identity_of(meter)
        await command(meter, result)
    except ERRORS as err:
        failed = failure(err, selection.connection, unit_id)
        selection.output.fail(failed)
        return {
            "unit_id": unit_id,
            **result,
            "done": False,
            "error": failed.as_json(),
        }
    return {**result, "done": True}
