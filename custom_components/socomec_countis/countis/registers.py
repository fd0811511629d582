"""The register map of a COUNTIS: what is read where, and what may be written.

The source is Socomec's Modbus table for the COUNTIS E34 and E44, edition V 200.53,
which the E33 shares; docs/meter.md says how sure each fact is. Register addresses
are those on the wire. Each class is one block of the table, or the part of it that
is used: `register_ranges` bounds it, and no request crosses that bound. The name of
a field is the name of its quantity everywhere else.
"""

from typing import override

from modbus_connection import ModbusUnit

from .block import Block, Counters, Values
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

SECONDARY_CURRENTS = (1, 5)  # A, of the current transformers that the table allows


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
    """Energies, block 50768: the same counters in steps of 1 kWh."""

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
    """Energies per tariff, block 50848: the same counters in steps of 1 kWh."""

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
    """Temporal active index, block 36896: the same energies in steps of 1 kWh."""

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


# The block that each quantity is read with.
BLOCK_OF = {
    quantity: name
    for name, block in (
        ("measurements", Measurements),
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
PARTIAL_ENERGIES_RESET = 40512  # E1x and E2x only (editions V 103.4 and V 103.8)
PARTIAL_ENERGIES = 0x20
