"""What meters can be told: one after the other, each confirmed by reading back."""

from argparse import Namespace
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from .exits import Exit
from .library import countis
from .link import async_find_meter
from .output import Output, number, rounded, table
from .problems import ERRORS, problem
from .read import identity_of

BROADCAST = 0

type Result = dict[str, Any]
type Order = Callable[[countis.Meter], Awaitable[Result]]
type Cells = Callable[[Result], list[str]]

COUNTERS = tuple(countis.PARTIAL_COUNTERS)
COUNTER_HEADS = ("Ea+ kWh", "Er+ kvarh", "Ea- kWh")


async def async_reset_partial(entered: Namespace, output: Output) -> Exit:
    """Set partial counters to zero; what they were is printed before the reset."""

    async def order(meter: countis.Meter) -> Result:
        readings: list[countis.Reading] = []
        before: countis.Values = {}
        if meter.energies is not None:
            readings.append(await meter.async_read("energies"))
            before = partial(readings[0])
            texts = (
                f"{head} {number(before.get(name), 2)}"
                for head, name in zip(COUNTER_HEADS, COUNTERS, strict=True)
            )
            text = f"Address {meter.unit_id} before the reset: {', '.join(texts)}"
            output.show(text, {**identity_of(meter), "before": before})
        await countis.async_reset_partial_counters(meter, readings.append)
        after = [each for each in readings if each.block == "energies"][-1]
        return {"before": before, "after": partial(after)}

    def partial(reading: countis.Reading) -> countis.Values:
        values = reading.values
        return rounded({name: values[name] for name in COUNTERS if name in values})

    def cells(result: Result) -> list[str]:
        before, after = result["before"], result["after"]
        return [
            f"{number(before.get(name), 2)} -> {number(after.get(name), 2)}"
            for name in COUNTERS
        ]

    return await _async_each(entered, output, order, COUNTER_HEADS, cells)


async def async_set_tariff(entered: Namespace, output: Output) -> Exit:
    """Change the tariff, of each meter or of all at once."""
    tariff: int = entered.tariff

    async def order(meter: countis.Meter) -> Result:
        set_tariff = countis.async_set_tariff
        if entered.all:
            set_tariff = countis.async_confirm_tariff
        await set_tariff(meter, lambda _: None, tariff=tariff)
        return {"tariff": tariff}

    async def broadcast(opened: countis.scan.OpenBus) -> None:
        async with opened.unit(BROADCAST) as client:
            await opened.bus.async_broadcast(client, countis.SET_TARIFF, tariff)

    return await _async_each(
        entered,
        output,
        order,
        ["Tariff"],
        lambda result: [str(result["tariff"])],
        first=broadcast if entered.all else None,
        common={"tariff": tariff, "broadcast": entered.all},
    )


async def async_set_clock(entered: Namespace, output: Output) -> Exit:
    """Set clocks to the time of this computer."""

    async def order(meter: countis.Meter) -> Result:
        readings: list[countis.Reading] = []
        await countis.async_set_clock(meter, readings.append)
        before, after = (readings[at].values["clock_offset"] for at in (0, -1))
        return {"before": before, "after": after}

    def cells(result: Result) -> list[str]:
        return [number(result["before"], 0), number(result["after"], 0)]

    heads = ["Was ahead by s", "Is ahead by s"]
    return await _async_each(entered, output, order, heads, cells)


async def _async_each(
    entered: Namespace,
    output: Output,
    order: Order,
    heads: Sequence[str],
    cells: Cells,
    *,
    first: Callable[[countis.scan.OpenBus], Awaitable[None]] | None = None,
    common: Mapping[str, Any] | None = None,
) -> Exit:
    """Give an order to each meter; one that fails does not keep the others from it."""
    try:
        async with entered.link.open(entered.settings) as opened:
            if first is not None:
                await first(opened)
            results = [
                await _async_one(entered, output, opened, order, address)
                for address in dict.fromkeys(entered.addresses)
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
    opened: countis.scan.OpenBus,
    order: Order,
    address: int,
) -> Result:
    try:
        meter = await async_find_meter(opened, address)
        result = await order(meter)
    except ERRORS as err:
        failure = problem(err, entered.link, address)
        output.tell(failure)
        return {"address": address, "done": False, "error": failure.as_json()}
    return {**identity_of(meter), "done": True, **result}
