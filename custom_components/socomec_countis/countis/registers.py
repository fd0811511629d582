"""The register map of a COUNTIS, without its load curve (`load_curve.py`).

The source is Socomec's "Modbus table for COUNTIS E34/E44", edition V 200.53. The E33
has the same communication board. E2x and E1x mean the meters of two other tables, for
COUNTIS E23/E24 (edition V 103.8) and E14 (edition V 103.4). docs/meter.md lists the
blocks that these meters do not have, and the uncertain facts. The comments of all
modules use the register addresses of these tables.

A request contains the register addresses of the table, without an offset. Each class is
one block of a table, or a part of the block. No request of a class reads registers
outside the `register_ranges` of the class. A field and its quantity have the same name.
"""

from typing import override

from modbus_connection.model import NumberField

from .block import Block, CounterBlock, Values
from .fields import (
    PackedText,
    WideText,
    amperes,
    hertz,
    kilovar_hours,
    kilowatt_hours,
    kilowatt_hours_and_residual,
    ratio,
    unsigned,
    volt_amperes,
    volt_amperes_reactive,
    volts,
    watts,
    word,
)

PHASES = ("l1", "l2", "l3")
SECONDARY_CURRENTS = (1, 5)  # A; the two values of 57345 in the table

# The registers of the commands, and the bits to write.
SET_TARIFF = 40481
SET_CLOCK = 57600
TARIFF_RESET = 57892
TARIFF_COUNTERS = {  # each with the bit of 57892 that resets the counter
    "tariff_1_energy": 0x0001,
    "tariff_2_energy": 0x0002,
    "tariff_3_energy": 0x0004,
    "tariff_4_energy": 0x0008,
}
# Of the bits of 57890, the client writes only those in `PARTIAL_COUNTERS`. Bit 0x0004
# resets the partial counter of the apparent energy, and bit 0x0010 that of the produced
# reactive energy (Er-). Only E3x and E4x have the bits from 0x0020, which clear other
# data, such as averages, events and load curves.
VALUE_RESET = 57890
PARTIAL_COUNTERS = {  # each with the bit of 57890 that resets the counter
    "partial_energy_consumed": 0x0001,
    "partial_energy_reactive": 0x0002,
    "partial_energy_produced": 0x0008,
}
# The name of the "partial total", which counts in all tariffs. Each partial counter by
# tariff counts in only one tariff.
PARTIAL_CONSUMED = "partial_energy_consumed"
PARTIAL_TARIFF_COUNTERS = {  # each with the tariff counter of the same tariff
    f"partial_{counter}": counter for counter in TARIFF_COUNTERS
}
PARTIAL_ENERGIES_RESET = 40512  # E1x and E2x only, reserved in the table of E34/E44
PARTIAL_ENERGIES_BIT = 0x20  # the bit of 40512 that resets all partial counters


class Identity(Block):
    """Product identification, block 50000, 66 registers."""

    register_ranges = ((50000, 50065),)

    signature = WideText(50000, count=4)
    product_order_id = word(50004)
    product_id = word(50005)
    table_version = word(50006)
    software_version = word(50007)
    serial_year_week = word(50008)
    serial_site_line = word(50009)
    serial_order = word(50010)
    product_version_major = word(50018)
    product_version_minor = word(50019)
    vendor_name = PackedText(50042, count=8)
    product_name = PackedText(50050, count=8)
    extended_name = PackedText(50058, count=8)


class Revision(Identity):
    """The part of block 50000 that changes with a new meter or a new firmware."""

    part = (50006, 50010)


SERIAL_NUMBER_REGISTERS = range(50008, 50017)
"""All registers of the serial number in the table; `Identity` decodes three of them."""


class Measurements(Block):
    """Voltages, currents, powers and power factors, block 50512.

    The table calls the block "Metrology affected by current and voltage transformers".
    """

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
        """Return the last read values, None for each value of an absent phase.

        In the registers of an absent phase, all bits may be 1. A signed power register
        would then be decoded as -1 step of 10 W or 10 var, not as "not available".
        """
        values = super().values
        for phase in PHASES:
            unsigned_fields = (f"voltage_{phase}", f"current_{phase}")
            # `Power` reads neither field. For `Power`, the default 0 is used, which is
            # not None, so the values of the phase are kept.
            if all(values.get(name, 0) is None for name in unsigned_fields):
                values |= {name: None for name in values if phase in name.split("_")}
        return values

    @property
    @override
    def implausible_reason(self) -> str | None:
        """Return why the last response is implausible, or None.

        The phases that the meter measures are also its supply, so 0 Hz cannot be a
        measured value.
        """
        return None if self.frequency else "no mains frequency"


class MainMeasurements(Measurements):
    """The part of `Measurements` for the entities that are enabled by default.

    A request for fewer registers leaves more bus time for other blocks.
    """

    part = (50520, 50549)


class Power(Measurements):
    """The measurements that change fastest."""

    part = (50536, 50549)

    @property
    @override
    def implausible_reason(self) -> str | None:
        """Return a reason if all values are 0 or not available, else None.

        The meter returns such values without a load, and while it is starting. Only
        the frequency in `Measurements` distinguishes these two cases.
        """
        return None if any(self.values.values()) else "all powers are 0 or unknown"


MEASURED_DETAILS = frozenset(
    quantity
    for quantity, field in Measurements.declared_fields.items()
    if not MainMeasurements.part[0] <= field.address <= MainMeasurements.part[1]
)
"""The quantities of `Measurements` that are not in `MainMeasurements`."""


class Energies(CounterBlock):
    """Total and partial Ea+, Er+ and Ea- in steps of 10 Wh, block 50944.

    Ea+ is the consumed energy, Er+ is the reactive energy, and Ea- is the produced
    energy.
    """

    register_ranges = ((50944, 51008),)
    resettable = tuple(PARTIAL_COUNTERS)

    energy_consumed = kilowatt_hours(50946)
    energy_reactive = kilovar_hours(50948)
    energy_produced = kilowatt_hours(50952)
    partial_energy_consumed = kilowatt_hours(50956)
    partial_energy_reactive = kilovar_hours(50958)
    partial_energy_produced = kilowatt_hours(50962)


class Tariffs(CounterBlock):
    """Ea+ in each tariff in steps of 10 Wh, block 51200."""

    register_ranges = ((51200, 51249),)

    tariff_count = word(51200)
    tariff = word(51201)
    tariff_1_energy = kilowatt_hours(51202)
    tariff_2_energy = kilowatt_hours(51204)
    tariff_3_energy = kilowatt_hours(51206)
    tariff_4_energy = kilowatt_hours(51208)


class PartialTariffs(CounterBlock):
    """Partial Ea+ in each tariff, block 32768 of E1x and E2x.

    These meters have two tariffs. Each counter has three registers: two contain a
    number of kWh, and the third contains the residual energy in steps of 0.1 Wh.
    """

    register_ranges = ((32768, 32815),)
    resettable = ("partial_tariff_1_energy", "partial_tariff_2_energy")

    partial_tariff_1_energy = kilowatt_hours_and_residual(32768)
    partial_tariff_2_energy = kilowatt_hours_and_residual(32771)


class Periods(Block):
    """Ea+ and Ea- of days, weeks and months in steps of 10 Wh, block 36928.

    The periods begin and end by the clock of the meter. The table calls the block
    "Temporal active index".
    """

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
    """Return the low-resolution block (1 kWh or kvarh) that begins at `first`.

    `block` is the high-resolution block. The table contains each block of energies in
    both resolutions, with the same layout.
    """
    ((begin, end),) = block.register_ranges or ()
    distance = first - begin
    attributes: dict[str, object] = {
        name: unsigned(field.address + distance, unit=field.unit)
        if isinstance(field, NumberField) and field.unit
        else word(field.address + distance)
        for name, field in block.declared_fields.items()
    }
    attributes |= {"step": 1, "register_ranges": ((first, end + distance),)}
    return type(f"{block.__name__}InKwh", (block,), attributes)


EnergiesInKwh = _in_kwh(Energies, 50768)
TariffsInKwh = _in_kwh(Tariffs, 50848)
PeriodsInKwh = _in_kwh(Periods, 36896)


class Overflows(Block):
    """Number of rollovers of each total and tariff counter, block 36864.

    The table calls the block "Table overflow". According to the table, a counter
    overflows at 999 999 999 steps of 10 Wh.
    """

    register_ranges = ((36864, 36874),)

    overflows_consumed = word(36866)
    overflows_reactive = word(36867)
    overflows_produced = word(36868)
    overflows_tariff_1 = word(36871)
    overflows_tariff_2 = word(36872)
    overflows_tariff_3 = word(36873)
    overflows_tariff_4 = word(36874)

    @property
    def by_counter(self) -> Values:
        """Return the numbers of rollovers that were last read, by counter."""
        totals = ("energy_consumed", "energy_reactive", "energy_produced")
        counters = (*totals, *TARIFF_COUNTERS)
        return dict(zip(counters, self.values.values(), strict=True))


class CurrentTransformer(Block):
    """Network settings, block 57344, of a meter with current transformers.

    In the tables of E1x and E2x, these registers are the baud rate and the stop bits.
    So if the model name shows an E1x or E2x, `profile.py` does not read this block.
    """

    register_ranges = ((57345, 57346),)

    secondary_current = word(57345)
    primary_current = word(57346)

    @property
    def primary(self) -> float | None:
        """Return the primary current in A, None if no transformer is configured."""
        has_secondary = self.secondary_current in SECONDARY_CURRENTS
        return (self.primary_current or None) if has_secondary else None

    @property
    @override
    def values(self) -> Values:
        """Return the ratio of primary to secondary current, None if not configured."""
        if self.primary is None or self.secondary_current is None:
            return {"ct_ratio": None}
        return {"ct_ratio": self.primary / self.secondary_current}


class Clock(Block):
    """Date and time, block 57600. A command writes the six registers in one request."""

    register_ranges = ((57600, 57605),)

    day = word(57600)
    month = word(57601)
    year = word(57602)
    hour = word(57603)
    minute = word(57604)
    second = word(57605)


BLOCK_OF = {
    quantity: block.__name__.lower()
    for block in (Measurements, Energies, Tariffs, Periods, Overflows)
    for quantity in block.declared_fields
} | {
    "ct_ratio": "transformer",
    "clock_offset": "clock",
    **dict.fromkeys(PARTIAL_TARIFF_COUNTERS, "partial_tariffs"),
}
"""The block name of each quantity. The name is the same in both resolutions."""
