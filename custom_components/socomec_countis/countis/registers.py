"""The register map of a COUNTIS: what is read where, and what may be written.

The source is Socomec's Modbus table for the COUNTIS E34 and E44, edition V 200.53,
which the E33 shares; docs/meter.md says how sure each fact is. Register addresses
are those on the wire. Each class is one block of the table, or the part of it that
is used: `register_ranges` bounds it, and no request crosses that bound. The name of
a field is the name of its quantity everywhere else.
"""

from typing import override

from modbus_connection import ModbusUnit
from modbus_connection.model import NumberField

from .block import Block, Counters, Values
from .fields import (
    Text,
    WideString,
    amperes,
    hertz,
    kilovar_hours,
    kilowatt_hours,
    ratio,
    unsigned,
    volt_amperes,
    volt_amperes_reactive,
    volts,
    watts,
    word,
)

SECONDARY_CURRENTS = (1, 5)  # A, of the current transformers that the table allows

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
PARTIAL_ENERGIES_RESET = 40512
PARTIAL_ENERGIES = 0x20
PARTIAL_ENERGIES_FAMILIES = (1, 2)  # E1x and E2x (editions V 103.4 and V 103.8)


class Revision(Block):
    """The part of block 50000 that tells one meter or firmware from another."""

    register_ranges = ((50006, 50010),)

    table_version = word(50006)
    software_version = word(50007)
    serial_year_week = word(50008)
    serial_site_line = word(50009)
    serial_order = word(50010)


class Identity(Revision):
    """Product identification, block 50000, 66 words."""

    register_ranges = ((50000, 50065),)

    signature = WideString(50000, count=4)
    product_order_id = word(50004)
    product_id = word(50005)
    product_version_major = word(50018)
    product_version_minor = word(50019)
    vendor_name = Text(50042, count=8)
    product_name = Text(50050, count=8)
    extended_name = Text(50058, count=8)


SERIAL_NUMBER_REGISTERS = range(50008, 50017)


PHASES = ("l1", "l2", "l3")


class Measurements(Block):
    """Metrology affected by current and voltage transformers, block 50512."""

    register_ranges = ((50512, 50573),)

    voltage_l1_l2 = volts(50514)
    voltage_l2_l3 = volts(50516)
    voltage_l3_l1 = volts(50518)
    voltage_l1 = volts(50520)
    voltage_l2 = volts(50522)
    voltage_l3 = volts(50524)
    frequency = hertz(50526)
    current_l1 = amperes(50528)
    current_l2 = amperes(50530)
    current_l3 = amperes(50532)
    current_neutral = amperes(50534)
    power = watts(50536)
    reactive_power = volt_amperes_reactive(50538)
    apparent_power = volt_amperes(50540)
    power_factor = ratio(50542)
    power_l1 = watts(50544)
    power_l2 = watts(50546)
    power_l3 = watts(50548)
    reactive_power_l1 = volt_amperes_reactive(50550)
    reactive_power_l2 = volt_amperes_reactive(50552)
    reactive_power_l3 = volt_amperes_reactive(50554)
    apparent_power_l1 = volt_amperes(50556)
    apparent_power_l2 = volt_amperes(50558)
    apparent_power_l3 = volt_amperes(50560)
    power_factor_l1 = ratio(50562)
    power_factor_l2 = ratio(50564)
    power_factor_l3 = ratio(50566)

    @property
    @override
    def values(self) -> Values:
        """Return the quantities as last read, None for those of an absent phase.

        All ones in a signed register of an absent phase would be -10 W.
        """
        values = super().values
        for phase in PHASES:
            measured = (f"voltage_{phase}", f"current_{phase}")
            if all(values.get(name, 0) is None for name in measured):
                values |= {name: None for name in values if name.endswith(phase)}
        return values

    @property
    @override
    def implausible(self) -> str | None:
        """The measured phases power the meter, so 0 Hz marks an invalid reading."""
        return None if self.frequency else "no mains frequency"


# The part that the entities show which are enabled by default, and the part that
# changes fastest. A shorter read leaves time of the bus to other blocks.
MAIN_MEASUREMENTS = (50520, 50549)
POWER = (50536, 50549)
MEASURED_DETAILS = frozenset(
    quantity
    for quantity, field in Measurements.declared_fields.items()
    if not MAIN_MEASUREMENTS[0] <= field.address <= MAIN_MEASUREMENTS[1]
)


class Power(Measurements):
    """The part of block 50512 that changes fastest, 50536 to 50549."""

    def __init__(self, unit: ModbusUnit, *, split: bool = False) -> None:
        """Initialize the block without the other measurements."""
        super().__init__(unit, split=split)
        self.restrict_to(*POWER)

    @property
    @override
    def implausible(self) -> str | None:
        """Zeros alone mean that no load is connected, or that the meter starts up."""
        return None if any(self.values.values()) else "all zeros"


class Energies(Counters):
    """Energies in Unit/100, block 50944: Ea+, Er+ and Ea-, total and partial."""

    register_ranges = ((50944, 51008),)
    resettable = tuple(PARTIAL_COUNTERS)

    energy_consumed = kilowatt_hours(50946)
    energy_reactive = kilovar_hours(50948)
    energy_produced = kilowatt_hours(50952)
    partial_energy_consumed = kilowatt_hours(50956)
    partial_energy_reactive = kilovar_hours(50958)
    partial_energy_produced = kilowatt_hours(50962)


class Tariffs(Counters):
    """Energies per tariff in Unit/100, block 51200: Ea+ in each tariff."""

    register_ranges = ((51200, 51249),)

    tariff_count = word(51200)
    tariff = word(51201)
    tariff_1_energy = kilowatt_hours(51202)
    tariff_2_energy = kilowatt_hours(51204)
    tariff_3_energy = kilowatt_hours(51206)
    tariff_4_energy = kilowatt_hours(51208)


class Periods(Block):
    """Temporal active index in Unit/100, block 36928: by the meter's own clock."""

    register_ranges = ((36928, 36951),)

    energy_consumed_yesterday = kilowatt_hours(36928)
    energy_produced_yesterday = kilowatt_hours(36930)
    energy_consumed_today = kilowatt_hours(36932)
    energy_produced_today = kilowatt_hours(36934)
    energy_consumed_last_week = kilowatt_hours(36936)
    energy_produced_last_week = kilowatt_hours(36938)
    energy_consumed_this_week = kilowatt_hours(36940)
    energy_produced_this_week = kilowatt_hours(36942)
    energy_consumed_last_month = kilowatt_hours(36944)
    energy_produced_last_month = kilowatt_hours(36946)
    energy_consumed_this_month = kilowatt_hours(36948)
    energy_produced_this_month = kilowatt_hours(36950)


def _in_kwh[B: Block](block: type[B], first: int) -> type[B]:
    """Return the block in steps of 1 kWh or kvarh, which begins at `first`.

    The table has each block of counters in both resolutions, in the same order.
    """
    ((begin, end),) = block.register_ranges or ()
    fields: dict[str, object] = {
        name: unsigned(field.address + first - begin, unit=field.unit)
        if isinstance(field, NumberField) and field.unit
        else word(field.address + first - begin)
        for name, field in block.declared_fields.items()
    }
    attributes = {"step": 1, "register_ranges": ((first, end + first - begin),)}
    return type(f"{block.__name__}InKwh", (block,), fields | attributes)


EnergiesInKwh = _in_kwh(Energies, 50768)
TariffsInKwh = _in_kwh(Tariffs, 50848)
PeriodsInKwh = _in_kwh(Periods, 36896)


class Overflows(Block):
    """Table overflow, block 36864: the number of rollovers of each counter."""

    register_ranges = ((36864, 36874),)

    overflows_consumed = word(36866)
    overflows_reactive = word(36867)
    overflows_produced = word(36868)
    overflows_tariff_1 = word(36871)
    overflows_tariff_2 = word(36872)
    overflows_tariff_3 = word(36873)
    overflows_tariff_4 = word(36874)


class CurrentTransformer(Block):
    """Network settings, block 57344; a direct meter has no transformer to set.

    On an E1x or E2x these registers hold the speed and the stop bits.
    """

    register_ranges = ((57345, 57346),)

    secondary_current = word(57345)
    primary_current = word(57346)

    @property
    @override
    def values(self) -> Values:
        """Return the ratio, None for a secondary that no transformer has."""
        primary, secondary = self.primary_current, self.secondary_current
        if not primary or secondary not in SECONDARY_CURRENTS:
            return {"ct_ratio": None}
        return {"ct_ratio": primary / secondary}


class Clock(Block):
    """Date and time, block 57600; all six are written at once, with function 16."""

    register_ranges = ((57600, 57605),)

    day = word(57600)
    month = word(57601)
    year = word(57602)
    hour = word(57603)
    minute = word(57604)
    second = word(57605)


# The block that each quantity is read with; blocks are named like their classes.
BLOCK_OF = {
    quantity: block.__name__.lower()
    for block in (Measurements, Energies, Tariffs, Periods, Overflows)
    for quantity in block.declared_fields
} | {"ct_ratio": "transformer", "clock_offset": "clock"}
