"""The load curve of a meter: its mean power in each integration period.

Source: Socomec's table, registers 61440 and 61456 to 61577. The tables of the E14
(V 103.4), E23 and E24 (V 103.8) have no load curve.

A client writes RESET_POINTER to 61440 and reads 122 registers from 61456: a header and
at most 29 records. The client then writes NEXT_BLOCK and reads the next records. A
block of fewer than 29 records is the last one.

The table leaves some questions open. For each of them, a field of `LoadCurve` selects
the answer:

- `order`: Is the oldest or the newest record the first?
- `stamp`: Is the date of a record the start or the end of its period?
- `time_base`: Is the date local time or UTC?
- `period_unit`: Is the period in the header in seconds or in minutes? The table says
  seconds, but a similar register of other families is in minutes.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

from .load import Load
from .table import LOAD_CURVE, RESERVED, unsigned, unsigned_16

RESET_POINTER = 0x0001
NEXT_BLOCK = 0xFFFE

BLOCK_RECORDS = 29
HEADER_WORDS = 6
RECORD_WORDS = 4

YEAR_2000 = 946_684_800  # s since 1970; the table counts dates from 2000-01-01
UTC_OFFSET_STEP = 900  # s; all time zones differ from UTC by a multiple of 15 min
# The greatest value of a record, because 0xFFFF means "not available". A higher mean
# power reads as this value. The table gives no limit, so this one is our choice.
MAX_VALUE = 0xFFFE

# The table's codes of the units that the simulator supports.
WATTS = 0
KILOWATTS = 20
WATTS_OF_UNIT = {WATTS: 1, KILOWATTS: 1000}
"""The size of each of these units in W, by the code of the unit."""

# Seconds between two samples of a load in `fill`. All integration periods are multiples
# of 60 s.
SAMPLE_SECONDS = 60


@dataclass
class Record:
    """The energy of one integration period."""

    start: int
    """Seconds since 1970 by the meter's clock, which has no time zone."""
    period: int
    """Length of the integration period in s."""
    utc_offset: int
    """Seconds by which the meter's clock is ahead of UTC, in steps of 15 minutes."""
    seconds: int = 0
    """Seconds of the period during which the meter has counted."""
    watt_hours: float = 0
    """Consumed active energy."""

    @property
    def end(self) -> int:
        """The end of the period in s since 1970 by the meter's clock."""
        return self.start + self.period

    @property
    def watts(self) -> float:
        """Mean consumed active power in W while the meter has counted."""
        return self.watt_hours * 3600 / self.seconds

    @property
    def complete(self) -> bool:
        """Whether the meter has counted during all of the period."""
        return self.seconds == self.period


@dataclass(kw_only=True)
class LoadCurve:
    """The records of a meter, and the block of records that a client reads."""

    depth: int = 4320
    """Number of records that the meter keeps.

    The table does not give the number. Our choice is 30 days of 10-minute periods.
    """
    period_unit: Literal["s", "min"] = "s"
    """Unit of the integration period in the header."""
    stamp: Literal["start", "end"] = "end"
    """Whether the date of a record is the start or the end of its period."""
    time_base: Literal["local", "utc"] = "local"
    """Whether a date is the time of the meter's clock, or UTC."""
    order: Literal["oldest first", "newest first"] = "oldest first"
    unit: int = WATTS
    """Code of the physical unit: WATTS or KILOWATTS."""
    numerator: int = 1
    """This field, `denominator` and `unit` define the step of the values.

    The step in W is numerator / denominator * WATTS_OF_UNIT[unit]. The mean power in W
    is value * step * transformer ratio.
    """
    denominator: int = 1

    records: deque[Record] = field(default_factory=deque)
    """From the oldest to the newest record. `order` does not affect this deque."""

    def __post_init__(self) -> None:
        """Start without a record in progress."""
        self._record_in_progress: Record | None = None
        # The copied records of the current block and of all later blocks. None before
        # the first command.
        self._copied_records: list[Record] | None = None

    def add(
        self, at: int, seconds: int, watt_hours: float, period: int, offset: float
    ) -> None:
        """Add an energy that was counted within one integration period.

        The meter counted the energy from `at` on, for `seconds` seconds. `at` is in s
        since 1970 by the meter's clock. `period` is in seconds. `offset` is the number
        of seconds by which the meter's clock is ahead of UTC.
        """
        start = at - at % period
        record = self._record_in_progress
        if record is None or (record.start, record.period) != (start, period):
            # If the clock or the length of the periods was changed, the previous record
            # may still be in progress. End this record early.
            self._end_record()
            utc_offset = round(offset / UTC_OFFSET_STEP) * UTC_OFFSET_STEP
            record = Record(start, period, utc_offset)
            self._record_in_progress = record
        record.seconds += seconds
        record.watt_hours += watt_hours
        if at + seconds == record.end:
            self._end_record()

    def _end_record(self) -> None:
        if self._record_in_progress is not None:
            self.records.append(self._record_in_progress)
            self._record_in_progress = None
        while len(self.records) > self.depth:
            self.records.popleft()

    def fill(
        self, load: Load, until: int, period: int, count: int, offset: float
    ) -> None:
        """Record `count` complete periods of a load, as if the meter had measured it.

        Then record the period in progress up to `until`, in s since 1970 by the meter's
        clock. Later calls of `add` complete this period. `period` and `offset` have the
        same meaning as in `add`.
        """
        end = until - until % period
        for start in range(end - count * period, until, period):
            stop = min(start + period, until)
            watt_hours = sum(
                max(sum(phase.watts for phase in load.phases(second - int(offset))), 0)
                * (min(SAMPLE_SECONDS, stop - second) / 3600)
                for second in range(start, stop, SAMPLE_SECONDS)
            )
            self.add(start, stop - start, watt_hours, period, offset)

    def execute(self, command: int) -> bool:
        """Execute a command written to 61440. Return False if the command is unknown.

        RESET_POINTER copies the records. Records that the meter adds later then do not
        shift the blocks that are still to be read. The copy is our choice.
        """
        if command == RESET_POINTER:
            self._copied_records = self._ordered()
        elif command == NEXT_BLOCK:
            self._copied_records = self._records_from_current_block()[BLOCK_RECORDS:]
        else:
            return False
        return True

    def _ordered(self) -> list[Record]:
        oldest_first = list(self.records)
        return oldest_first if self.order == "oldest first" else oldest_first[::-1]

    def _records_from_current_block(self) -> list[Record]:
        """Return the records of the current block and of all later blocks."""
        return self._ordered() if self._copied_records is None else self._copied_records

    def registers(self, period: int, transformer_ratio: float) -> dict[int, int]:
        """Return the registers of block 61456.

        `period` is the current integration period in seconds. `transformer_ratio` is
        primary / secondary current. Registers without a record read "not available".
        """
        block = self._records_from_current_block()[:BLOCK_RECORDS]
        registers = dict.fromkeys(
            range(LOAD_CURVE, LOAD_CURVE + HEADER_WORDS + BLOCK_RECORDS * RECORD_WORDS),
            RESERVED,
        )
        header = (
            len(block),
            RECORD_WORDS,
            period if self.period_unit == "s" else period // 60,
            self.unit,
            self.numerator,
            self.denominator,
        )
        registers |= {LOAD_CURVE + index: word for index, word in enumerate(header)}
        for index, record in enumerate(block):
            address = LOAD_CURVE + HEADER_WORDS + RECORD_WORDS * index
            value = self._value(record, transformer_ratio)
            registers |= unsigned(address, self._date(record))
            registers |= unsigned_16(address + 2, not record.complete)  # 1: incomplete
            registers |= unsigned_16(address + 3, min(value, MAX_VALUE))
        return registers

    def _date(self, record: Record) -> int:
        """Return the date of a record in s since 2000-01-01."""
        date = record.end if self.stamp == "end" else record.start
        if self.time_base == "utc":
            date -= record.utc_offset
        return date - YEAR_2000

    def _value(self, record: Record, transformer_ratio: float) -> int:
        """Return the value of a record, as defined in the docstring of `numerator`."""
        step = self.numerator / self.denominator * WATTS_OF_UNIT[self.unit]
        return round(record.watts / transformer_ratio / step)
