"""The load curve of a meter: the mean active power of each integration period.

An E3x or E4x stores the load curve and returns it in pages of up to 29 records (61456
to 61577). A command (61440) selects the first page or the next page. This module
multiplies a stored value by the fraction in the header of the page, and usually by the
ratio of the current transformers. The Modbus table (see registers.py) does not say
whether the fraction already contains the ratio. If the fraction equals the ratio, this
module assumes that the fraction contains it, and multiplies by the fraction only.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from modbus_connection import (
    AcknowledgeError,
    ModbusExceptionError,
    ModbusProtocolError,
    ModbusTimeoutError,
)

from .errors import CountisError
from .meter import Meter

COMMAND = 61440  # the register for `FIRST_PAGE` and `NEXT_PAGE`
FIRST_PAGE = 0x0001
NEXT_PAGE = 0xFFFE

PAGE = 61456  # the first register of the selected page
HEADER_WORDS = 6
RECORD_WORDS = 4
HIGHEST_RECORD_COUNT = 29  # in one page
PAGE_WORDS = HEADER_WORDS + HIGHEST_RECORD_COUNT * RECORD_WORDS

# The date of a record is in s since this time.
EPOCH = datetime(2000, 1, 1)  # noqa: DTZ001 (the clock of the meter has no time zone)
WATTS_OF_UNIT = {0: 1, 1: 1, 20: 1000}
"""The size in W of each unit of active power, by the code of the unit (61459)."""
NO_WORD = 0xFFFF  # "not available"
NO_DATE = 0xFFFF_FFFF  # "not available"

COMMAND_ATTEMPTS = 3  # to select the next page; our choice


class NoLoadCurveError(CountisError):
    """The meter has no load curve of its active power."""


@dataclass(frozen=True)
class LoadRecord:
    """The mean active power of one integration period."""

    time: datetime
    """The date of the record, without a time zone. The table leaves open whether it is
    local time or UTC, and whether it is the beginning or the end of the period."""
    watts: float | None
    """Consumed power in W, None for "not available"."""
    is_complete: bool
    """Whether the meter measured for the whole period."""


@dataclass(frozen=True)
class LoadCurve:
    """The load curve of a meter, or only its newest records."""

    period: timedelta
    """The integration period."""
    records: Sequence[LoadRecord]
    """Sorted by time. If the clock was set back, several records may have the same
    time. These are in the order in which the meter stored them."""
    header_period: int
    """The integration period in the header (61458), either in s or in min."""
    is_newest_first: bool
    """Whether the meter returned the newest record first."""


async def async_read_load_curve(
    meter: Meter,
    on_page: Callable[[int], None] = lambda _: None,
    *,
    since: datetime | None = None,
) -> LoadCurve:
    """Return the load curve of a meter, after verifying the identity.

    After each page, `on_page` is called with the number of records read until then.
    Other tasks can use the bus between two pages. `since` is a time by the clock of the
    meter. If the meter returns the newest record first, no page is read after a page
    with a record from before `since`. Raises `NoLoadCurveError`, `ModbusError`, and the
    errors of `Meter.async_verify_identity`.
    """
    await meter.async_verify_identity()
    transformer_ratio = 1.0
    if (transformer := meter.block("transformer")) is not None:
        await transformer.async_update()
        transformer_ratio = transformer.values["ct_ratio"] or 1
    try:
        _, page = await _async_select_page(meter, FIRST_PAGE)
    except ModbusExceptionError as err:
        msg = "the meter refuses to return the load curve"
        raise NoLoadCurveError(msg) from err
    header_period = page[2]  # 61458
    records: dict[LoadRecord, None] = {}
    while True:
        new = dict.fromkeys(_records(page, transformer_ratio))
        # This page is the last one if it is not full (`page[0]` is the number of its
        # records), or if earlier pages contained all its records.
        is_last = page[0] < HIGHEST_RECORD_COUNT or new.keys() <= records.keys()
        records |= new
        on_page(len(records))
        times = [record.time for record in records]
        if since and _is_newest_first(times) and times[-1] < since:
            is_last = True
        if is_last:
            return _curve(list(records), header_period)
        page = await _async_next_page(meter, page)


async def _async_select_page(meter: Meter, command: int) -> tuple[bool, list[int]]:
    """Send a command that selects a page, and read the page.

    Returns whether the meter confirmed the command, and the registers of the page.
    """
    async with meter.bus.hold():
        unit = meter.modbus_unit
        is_confirmed = True
        try:
            await unit.write_register(COMMAND, command)
        except AcknowledgeError, ModbusTimeoutError, ModbusProtocolError:
            is_confirmed = False
        return is_confirmed, await unit.read_holding_registers(PAGE, PAGE_WORDS)


async def _async_next_page(meter: Meter, page: list[int]) -> list[int]:
    """Return the next page after `page`.

    After the last page, a meter returns an empty page or a page that was read before.

    The meter may carry out a command without a confirmation, and a repeated command
    would then skip a page. So an unconfirmed command is repeated only if the page has
    not changed. Raises `ModbusTimeoutError` after `COMMAND_ATTEMPTS` commands without a
    confirmation or a new page.
    """
    for _ in range(COMMAND_ATTEMPTS):
        is_confirmed, following = await _async_select_page(meter, NEXT_PAGE)
        if is_confirmed or following != page:
            return following
    msg = "the meter does not confirm the command for the next page"
    raise ModbusTimeoutError(msg)


def _records(page: Sequence[int], transformer_ratio: float) -> Iterator[LoadRecord]:
    """Yield the records of a page.

    Raises `ModbusProtocolError` if the header is invalid. Raises `NoLoadCurveError` if
    the meter reports no number of records, or records of another quantity than active
    power.
    """
    count, size, _, unit, numerator, denominator = page[:HEADER_WORDS]
    if count == NO_WORD or (count and unit not in WATTS_OF_UNIT):
        msg = f"the load curve has {count} records in unit {unit}"
        raise NoLoadCurveError(msg)
    if count > HIGHEST_RECORD_COUNT or (count and size != RECORD_WORDS):
        msg = f"a page of the load curve has {count} records of {size} registers"
        raise ModbusProtocolError(msg)
    factor = numerator / denominator if numerator and denominator else 1
    if factor != transformer_ratio:
        factor *= transformer_ratio
    for index in range(count):
        begin = HEADER_WORDS + index * RECORD_WORDS
        high, low, incomplete, value = page[begin : begin + RECORD_WORDS]
        seconds = high << 16 | low
        if seconds == NO_DATE:
            continue
        watts = None if value == NO_WORD else value * factor * WATTS_OF_UNIT[unit]
        yield LoadRecord(EPOCH + timedelta(seconds=seconds), watts, not incomplete)


def _is_newest_first(times: Sequence[datetime]) -> bool:
    """Return whether the first record is newer than the last record."""
    return len(times) > 1 and times[0] > times[-1]


def _curve(records: Sequence[LoadRecord], header_period: int) -> LoadCurve:
    """Return the load curve, sorted by time.

    `records` are in the order in which the meter sent them.

    The unit of the period in the header (61458) is uncertain. The table for E34/E44
    gives s, but a similar register of other meters is in min. So the returned period is
    the most frequent time between successive records. If no two records have different
    times, the value in the header is taken as s.
    """
    is_newest_first = _is_newest_first([record.time for record in records])
    stored = reversed(records) if is_newest_first else records
    ordered = sorted(stored, key=lambda record: record.time)
    distances = Counter(
        later.time - record.time
        for record, later in pairwise(ordered)
        if later.time > record.time
    )
    period = timedelta(seconds=header_period)
    if distances:
        ((period, _),) = distances.most_common(1)
    return LoadCurve(period, ordered, header_period, is_newest_first)
