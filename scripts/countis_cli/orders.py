"""What meters can be told: one after the other, each confirmed by reading back."""

from argparse import Namespace
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from modbus_connection import GatewayTargetError, ModbusTimeoutError

from .exits import Exit
from .library import countis
from .output import Output, number, rounded, table
from .problems import ERRORS, problem

BROADCAST = 0

type Result = dict[str, Any]
type Order = Callable[[countis.Countis], Awaitable[Result]]
type Cells = Callable[[Result], list[str]]


async def async_reset_partial(entered: Namespace, output: Output) -> Exit:
    """Set partial counters to zero; what they were is shown, too."""

    async def order(meter: countis.Countis) -> Result:
        counters = await meter.async_count()
        before = {
            name: value
            for name, value in counters.items()
            if name in countis.PARTIAL_COUNTERS
        }
        after = await countis.async_reset_partial_counters(meter)
        return {"before": rounded(before), "after": rounded(after)}

    def cells(result: Result) -> list[str]:
        before, after = result["before"], result["after"]
        return [
            f"{number(before.get(name), 2)} -> {number(after.get(name), 2)}"
            for name in countis.PARTIAL_COUNTERS
        ]

    heads = ["Ea+ kWh", "Er+ kvarh", "Ea- kWh"]
    return await _async_each(entered, output, order, heads, cells)


async def async_set_tariff(entered: Namespace, output: Output) -> Exit:
    """Change the tariff, of each meter or of all at once."""
    tariff: int = entered.tariff

    async def order(meter: countis.Countis) -> Result:
        if entered.all:
            return dict(await countis.async_confirm_tariff(meter, tariff))
        return dict(await countis.async_set_tariff(meter, tariff))

    async def broadcast(line: countis.OpenLine) -> None:
        if not entered.all:
            return
        async with line.unit(BROADCAST) as unit:
            # Nobody answers a broadcast. Some clients and gateways know that, and
            # others wait for it; whether it arrived, the meters are asked.
            with suppress(ModbusTimeoutError, GatewayTargetError):
                await countis.async_broadcast_tariff(unit, line.line, tariff)

    return await _async_each(
        entered,
        output,
        order,
        ["Tariff"],
        lambda result: [str(result["tariff"])],
        first=broadcast,
        common={"tariff": tariff, "broadcast": entered.all},
    )


async def async_set_clock(entered: Namespace, output: Output) -> Exit:
    """Set clocks to the time of this computer."""

    async def order(meter: countis.Countis) -> Result:
        before = None
        async with meter.exclusively():
            if meter.clock is not None:
                await meter.async_reread(meter.clock)
                before = meter.clock.values["clock_offset"]
        after = await countis.async_set_clock(meter)
        return {"before": before, "after": after["clock_offset"]}

    def cells(result: Result) -> list[str]:
        return [number(result["before"], 0), number(result["after"], 0)]

    heads = ["Was ahead by s", "Is ahead by s"]
    return await _async_each(entered, output, order, heads, cells)


async def _nothing(line: countis.OpenLine) -> None:
    """Do nothing first."""


async def _async_each(
    entered: Namespace,
    output: Output,
    order: Order,
    heads: list[str],
    cells: Cells,
    *,
    first: Callable[[countis.OpenLine], Awaitable[None]] = _nothing,
    common: Mapping[str, Any] | None = None,
) -> Exit:
    """Give an order to each meter; one that fails does not keep the others from it."""
    try:
        async with entered.link.open(entered.settings) as line:
            await first(line)
            results = [
                await _async_one(entered, output, line, order, address)
                for address in entered.addresses
            ]
    except ERRORS as err:
        output.fail(problem(err, entered.link))
        return Exit.FAILED
    done = [result for result in results if result["done"]]
    rows = [
        [str(result["address"]), result["model"], *cells(result)] for result in done
    ]
    if output.as_json or rows:
        output.show(
            table([["Address", "Model", *heads], *rows], left=(1,)),
            {**(common or {}), "meters": results},
        )
    return Exit.OK if len(done) == len(results) else Exit.FAILED


async def _async_one(
    entered: Namespace,
    output: Output,
    line: countis.OpenLine,
    order: Order,
    address: int,
) -> Result:
    try:
        async with line.unit(address) as unit:
            meter = countis.Countis(unit, line.line, address=address)
            result = await order(meter)
    except ERRORS as err:
        failure = problem(err, entered.link, address)
        output.tell(failure)
        return {"address": address, "done": False, "error": failure.as_json()}
    return {
        "address": address,
        "done": True,
        "model": meter.model,
        "serial_number": meter.serial_number,
    } | result
