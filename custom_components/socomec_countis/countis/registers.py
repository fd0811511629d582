"""The register map of a COUNTIS: what is read where, and what may be written.

Addresses are those on the wire. Each class is one block of Socomec's table for
the E34 and E44 (V 200.53), which also serves the E33; the name of a field is
the name of the quantity everywhere else. `register_ranges` is the block as the
table bounds it: a read never leaves it.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from time import monotonic
from typing import ClassVar, Self, override

from modbus_connection.model import Component, NumberField

from .fields import (
    Text,
    WideString,
    amperes,
    hertz,
    kilovar_hours,
    kilowatt_hours,
    ratio,
    volt_amperes,
    volt_amperes_reactive,
    volts,
    watts,
    word,
)
from .limits import Limits

type Values = dict[str, float | None]

SECONDARY_CURRENTS = (1, 5)

# The table leaves open whether the clock's year has two digits or four.
CENTURY = 100
CENTURY_BEGINS = 2000
NO_DATE = 0xFFFF


class Block(Component):
    """One block of the table, read at once."""

    read_apart = False

    def apart(self) -> Self:
        """Read around the block's reserved registers, for a meter that refuses them."""
        self.read_apart = True
        self.register_ranges = None
        self.max_gap = 1
        return self

    @cached_property
    def reads(self) -> Sequence[int]:
        """How many registers each read of the block asks for."""
        reads: list[int] = []
        end = 0
        for field in sorted(
            self._register_fields.values(), key=lambda field: field.address
        ):
            if reads and (field.address == end or not self.read_apart):
                reads[-1] += field.address + field.count - end
            else:
                reads.append(field.count)
            end = field.address + field.count
        return reads

    @property
    def description(self) -> str:
        """Which block of the table this is, and how it has to be read."""
        return type(self).__name__ + (", read apart" if self.read_apart else "")

    @property
    def available(self) -> bool:
        """Whether the block holds anything but "not available".

        Signed fields have no say: in a block of nothing but ones they read -1.
        """
        return any(
            getattr(self, name) not in (None, "")
            for name, field in self._register_fields.items()
            if not (isinstance(field, NumberField) and field.signed)
        )

    @property
    def values(self) -> Values:
        """The quantities as last read; None is "not available"."""
        if not self.available:
            return dict.fromkeys(self.declared_fields)
        return {name: getattr(self, name) for name in self.declared_fields}

    @property
    def problem(self) -> str | None:
        """What tells that the meter does not mean what it answers, if anything."""
        return None if self.available else "nothing is available"

    def measured(self, limits: Limits) -> Values:
        """Return the values, None for what the meter cannot have measured."""

        def is_measured(name: str, value: float | None) -> bool:
            field = self.declared_fields.get(name)
            return (
                value is None
                or not isinstance(field, NumberField)
                or limits.allow(field.unit, value)
            )

        return {
            name: value if is_measured(name, value) else None
            for name, value in self.values.items()
        }


class SerialNumber(Block):
    """The part of block 50000 that tells one meter from another."""

    register_ranges = ((50008, 50010),)

    serial_year_week = word(50008)
    serial_site_line = word(50009)
    serial_order = word(50010)


class Identity(SerialNumber):
    """Product identification, block 50000, 66 words."""

    register_ranges = ((50000, 50065),)

    signature = WideString(50000, count=4)
    product_order_id = word(50004)
    product_id = word(50005)
    table_version = word(50006)
    software_version = word(50007)
    product_version_major = word(50018)
    product_version_minor = word(50019)
    vendor_name = Text(50042, count=8)
    product_name = Text(50050, count=8)
    extended_name = Text(50058, count=8)


SERIAL_NUMBER_REGISTERS = range(50008, 50017)


class Power(Block):
    """The part of block 50512 that changes fastest, 50536 to 50549."""

    register_ranges = ((50536, 50549),)

    power = watts(50536)
    reactive_power = volt_amperes_reactive(50538)
    apparent_power = volt_amperes(50540)
    power_factor = ratio(50542)
    power_l1 = watts(50544)
    power_l2 = watts(50546)
    power_l3 = watts(50548)

    @property
    @override
    def problem(self) -> str | None:
        """Nothing but zeros is a house at rest, or a meter that is starting up."""
        return super().problem or (None if any(self.values.values()) else "all zeros")


class MainMeasurements(Power):
    """The part of block 50512 that most users want, 50520 to 50549."""

    register_ranges = ((50520, 50549),)

    voltage_l1 = volts(50520)
    voltage_l2 = volts(50522)
    voltage_l3 = volts(50524)
    frequency = hertz(50526)
    current_l1 = amperes(50528)
    current_l2 = amperes(50530)
    current_l3 = amperes(50532)
    current_neutral = amperes(50534)

    @property
    @override
    def problem(self) -> str | None:
        """A meter lives on what it measures: no mains is no measurement."""
        return None if self.frequency else "no mains frequency"


class Measurements(MainMeasurements):
    """Metrology affected by current and voltage transformers, block 50512."""

    register_ranges = ((50512, 50573),)

    voltage_l1_l2 = volts(50514)
    voltage_l2_l3 = volts(50516)
    voltage_l3_l1 = volts(50518)
    reactive_power_l1 = volt_amperes_reactive(50550)
    reactive_power_l2 = volt_amperes_reactive(50552)
    reactive_power_l3 = volt_amperes_reactive(50554)
    apparent_power_l1 = volt_amperes(50556)
    apparent_power_l2 = volt_amperes(50558)
    apparent_power_l3 = volt_amperes(50560)
    power_factor_l1 = ratio(50562)
    power_factor_l2 = ratio(50564)
    power_factor_l3 = ratio(50566)


class Counters(Block):
    """A block of counters, which are believed together or not at all."""

    step: ClassVar[float] = 0.01
    """The resolution, in kWh or kvarh."""
    resettable: ClassVar[Sequence[str]] = ()
    """Counters that may fall to zero at any time."""

    @property
    def counters(self) -> Values:
        """The values that count, without the current tariff."""
        return {
            name: value
            for name, value in self.values.items()
            if isinstance(field := self.declared_fields[name], NumberField)
            and field.unit
        }


class Energies(Counters):
    """Energies in Unit/100, block 50944: Ea+, Er+ and Ea-, total and partial."""

    register_ranges = ((50944, 51008),)
    resettable = (
        "partial_energy_consumed",
        "partial_energy_reactive",
        "partial_energy_produced",
    )

    energy_consumed = kilowatt_hours(50946, 0.01)
    energy_reactive = kilovar_hours(50948, 0.01)
    energy_produced = kilowatt_hours(50952, 0.01)
    partial_energy_consumed = kilowatt_hours(50956, 0.01)
    partial_energy_reactive = kilovar_hours(50958, 0.01)
    partial_energy_produced = kilowatt_hours(50962, 0.01)


class EnergiesInKwh(Energies):
    """Energies, block 50768: the same counters in whole kWh."""

    register_ranges = ((50768, 50832),)
    step = 1

    energy_consumed = kilowatt_hours(50770, 1)
    energy_reactive = kilovar_hours(50772, 1)
    energy_produced = kilowatt_hours(50776, 1)
    partial_energy_consumed = kilowatt_hours(50780, 1)
    partial_energy_reactive = kilovar_hours(50782, 1)
    partial_energy_produced = kilowatt_hours(50786, 1)


class Tariffs(Counters):
    """Energies per tariff in Unit/100, block 51200: Ea+ in each tariff."""

    register_ranges = ((51200, 51249),)

    tariff_count = word(51200)
    tariff = word(51201)
    tariff_1_energy = kilowatt_hours(51202, 0.01)
    tariff_2_energy = kilowatt_hours(51204, 0.01)
    tariff_3_energy = kilowatt_hours(51206, 0.01)
    tariff_4_energy = kilowatt_hours(51208, 0.01)


class TariffsInKwh(Tariffs):
    """Energies per tariff, block 50848: the same counters in whole kWh."""

    register_ranges = ((50848, 50897),)
    step = 1

    tariff_count = word(50848)
    tariff = word(50849)
    tariff_1_energy = kilowatt_hours(50850, 1)
    tariff_2_energy = kilowatt_hours(50852, 1)
    tariff_3_energy = kilowatt_hours(50854, 1)
    tariff_4_energy = kilowatt_hours(50856, 1)


class Periods(Block):
    """Temporal active index in Unit/100, block 36928: by the meter's own clock."""

    register_ranges = ((36928, 36951),)

    energy_consumed_yesterday = kilowatt_hours(36928, 0.01)
    energy_produced_yesterday = kilowatt_hours(36930, 0.01)
    energy_consumed_today = kilowatt_hours(36932, 0.01)
    energy_produced_today = kilowatt_hours(36934, 0.01)
    energy_consumed_last_week = kilowatt_hours(36936, 0.01)
    energy_produced_last_week = kilowatt_hours(36938, 0.01)
    energy_consumed_this_week = kilowatt_hours(36940, 0.01)
    energy_produced_this_week = kilowatt_hours(36942, 0.01)
    energy_consumed_last_month = kilowatt_hours(36944, 0.01)
    energy_produced_last_month = kilowatt_hours(36946, 0.01)
    energy_consumed_this_month = kilowatt_hours(36948, 0.01)
    energy_produced_this_month = kilowatt_hours(36950, 0.01)


class PeriodsInKwh(Periods):
    """Temporal active index, block 36896: the same energies in whole kWh."""

    register_ranges = ((36896, 36919),)

    energy_consumed_yesterday = kilowatt_hours(36896, 1)
    energy_produced_yesterday = kilowatt_hours(36898, 1)
    energy_consumed_today = kilowatt_hours(36900, 1)
    energy_produced_today = kilowatt_hours(36902, 1)
    energy_consumed_last_week = kilowatt_hours(36904, 1)
    energy_produced_last_week = kilowatt_hours(36906, 1)
    energy_consumed_this_week = kilowatt_hours(36908, 1)
    energy_produced_this_week = kilowatt_hours(36910, 1)
    energy_consumed_last_month = kilowatt_hours(36912, 1)
    energy_produced_last_month = kilowatt_hours(36914, 1)
    energy_consumed_this_month = kilowatt_hours(36916, 1)
    energy_produced_this_month = kilowatt_hours(36918, 1)


class Overflows(Block):
    """Table overflow, block 36864: how often each counter began anew."""

    register_ranges = ((36864, 36874),)

    overflows_consumed = word(36866)
    overflows_reactive = word(36867)
    overflows_produced = word(36868)
    overflows_tariff_1 = word(36871)
    overflows_tariff_2 = word(36872)
    overflows_tariff_3 = word(36873)
    overflows_tariff_4 = word(36874)


class CurrentTransformer(Block):
    """Network settings, block 57344: a direct meter has no transformer to set.

    On an E1x or E2x these are speed and stop bits, which are small numbers.
    """

    register_ranges = ((57345, 57346),)

    secondary_current = word(57345)
    primary_current = word(57346)

    @property
    @override
    def values(self) -> Values:
        """The ratio, None unless the secondary is one that transformers have."""
        primary, secondary = self.primary_current, self.secondary_current
        if not primary or secondary not in SECONDARY_CURRENTS:
            return {"ct_ratio": None}
        return {"ct_ratio": primary / secondary}


class Clock(Block):
    """Date and time, block 57600; written all six at once, with function 16."""

    register_ranges = ((57600, 57605),)

    day = word(57600)
    month = word(57601)
    year = word(57602)
    hour = word(57603)
    minute = word(57604)
    second = word(57605)

    local_time: Callable[[], datetime] = datetime.now
    """Tells the time that the meter's clock should show, without a time zone."""
    _read_at: float = 0

    @override
    async def async_update(self, *, notify: bool = True) -> None:
        """Read the clock, which goes on from then."""
        await super().async_update(notify=notify)
        self._read_at = monotonic()

    @property
    def shown(self) -> datetime | None:
        """The date and time that the clock shows, None if that is none."""
        parts = (self.year, self.month, self.day, self.hour, self.minute, self.second)
        year, month, day, hour, minute, second = (
            NO_DATE if part is None else part for part in parts
        )
        year += CENTURY_BEGINS if year < CENTURY else 0
        try:
            return datetime(year, month, day, hour, minute, second)  # noqa: DTZ001
        except ValueError:
            return None

    def showing(self, time: datetime) -> list[int]:
        """Return the registers that show this time, with a year as the meter has."""
        short = self.year is not None and self.year < CENTURY
        year = time.year - CENTURY_BEGINS if short else time.year
        return [time.day, time.month, year, time.hour, time.minute, time.second]

    @property
    @override
    def values(self) -> Values:
        """How many seconds the clock is ahead of the local time."""
        if (shown := self.shown) is None:
            return {"clock_offset": None}
        # It was in the middle of its second, on average.
        since = monotonic() - self._read_at + 0.5
        ahead = shown + timedelta(seconds=since) - self.local_time()
        return {"clock_offset": round(ahead.total_seconds())}


# The block in which each quantity is read most often.
BLOCK_OF = {
    quantity: name
    for name, block in (
        ("measurements", Measurements),
        ("power", Power),
        ("energies", Energies),
        ("tariffs", Tariffs),
        ("periods", Periods),
        ("overflows", Overflows),
    )
    for quantity in block.declared_fields
} | {"ct_ratio": "transformer", "clock_offset": "clock"}

# Commands. Nothing else is ever written: the other bits of 57890 clear averages,
# events and load curves.
SET_TARIFF = 40481
SET_CLOCK = 57600
TARIFF_RESET = 57892
TARIFF_COUNTERS = {
    "tariff_1_energy": 0x0001,
    "tariff_2_energy": 0x0002,
    "tariff_3_energy": 0x0004,
    "tariff_4_energy": 0x0008,
}
VALUE_RESET = 57890
PARTIAL_COUNTERS = {
    "partial_energy_consumed": 0x0001,
    "partial_energy_reactive": 0x0002,
    "partial_energy_produced": 0x0008,
}
PARTIAL_ENERGIES_RESET = 40512  # E1x and E2x only
PARTIAL_ENERGIES = 0x20
