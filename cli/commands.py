"""The commands that write to meters, and read back the result."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
import sys
from typing import Any

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

BROADCAST = 0  # unit ID of a request to all meters
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
            # that confirms the reset. Each replaces "after", so the last one remains.
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

    A broadcast sets the tariff of all meters, but only the selected ones are read back.
    """
    rows = Rows(selection.output, *METER_COLUMNS, Column("Tariff", is_number=True))

    async def set_tariff(meter: Meter, result: Result) -> None:
        highest = tariffs(meter.profile.tariff_count)[-1]
        if tariff > highest:
            raise NoSuchTariffError(
                "1 tariff" if highest == 1 else f"{highest} tariffs"
            )
        command = async_confirm_tariff if to_all else async_set_tariff
        await command(meter, lambda _: None, tariff=tariff)
        result["tariff"] = tariff
        rows.add(str(meter.unit_id), meter.profile.model, str(tariff))

    async def broadcast(opened: OpenBus) -> None:
        async with opened.client(BROADCAST) as client:
            await opened.bus.async_broadcast(client, SET_TARIFF, tariff)

    return await _async_each(
        selection,
        set_tariff,
        first=broadcast if to_all else None,
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
    first: Callable[[OpenBus], Awaitable[None]] | None = None,
    common: Mapping[str, Any] | None = None,
) -> Exit:
    """Send the command to each meter, also after a failure of another meter.

    `first` is called once, before the first meter. `common` is the part of the JSON
    output that is the same for all meters.
    """
    try:
        async with selection.connection.open(selection.settings) as opened:
            if first is not None:
                await first(opened)
            results = [
                await _async_one(selection, opened, command, unit_id)
                for unit_id in selection.unit_ids
            ]
    except ERRORS as err:
        return print_error(selection, err)
    selection.output.write_json({**(common or {}), "meters": results})
    return Exit.DONE if _all_done(results) else Exit.FAILED


def _all_done(results: Sequence[Result]) -> bool:
    return all(result["done"] for result in results)


async def _async_one(
    selection: Selection, opened: OpenBus, command: Command, unit_id: int
) -> Result:
    result: Result = {}
    try:
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
