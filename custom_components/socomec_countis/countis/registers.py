"""The register map of a COUNTIS: what is read where, and what may be written.

Addresses are those on the wire. Each class is one block of Socomec's table for
the E34 and E44 (V 200.53), which also serves the E33; the name of a field is
the name of the quantity everywhere else. `register_ranges` is the block as the
table bounds it: a read never leaves it.
"""

from typing import Self

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

type Values = dict[str, float | None]


class Block(Component):
    """One block of the table, read at once."""

    read_apart = False

    def apart(self) -> Self:
        """Read around the block's reserved registers, for a meter that refuses them."""
        self.read_apart = True
        self.register_ranges = None
        self.max_gap = 1
        return self

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


class Identity(Block):
    """Product identification, block 50000, 66 words."""

    register_ranges = ((50000, 50065),)

    signature = WideString(50000, count=4)
    product_order_id = word(50004)
    product_id = word(50005)
    table_version = word(50006)
    software_version = word(50007)
    serial_year_week = word(50008)
    serial_site_line = word(50009)
    serial_order = word(50010)
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


class Energies(Block):
    """Energies in Unit/100, block 50944: Ea+, Er+ and Ea-, total and partial."""

    register_ranges = ((50944, 51008),)

    energy_consumed = kilowatt_hours(50946, 0.01)
    energy_reactive = kilovar_hours(50948, 0.01)
    energy_produced = kilowatt_hours(50952, 0.01)
    partial_energy_consumed = kilowatt_hours(50956, 0.01)
    partial_energy_reactive = kilovar_hours(50958, 0.01)
    partial_energy_produced = kilowatt_hours(50962, 0.01)


# The meter keeps these for ever; only partial and tariff counters can be reset.
TOTALS = ("energy_consumed", "energy_reactive", "energy_produced")


class EnergiesInKwh(Energies):
    """Energies, block 50768: the same counters in whole kWh."""

    register_ranges = ((50768, 50832),)

    energy_consumed = kilowatt_hours(50770, 1)
    energy_reactive = kilovar_hours(50772, 1)
    energy_produced = kilowatt_hours(50776, 1)
    partial_energy_consumed = kilowatt_hours(50780, 1)
    partial_energy_reactive = kilovar_hours(50782, 1)
    partial_energy_produced = kilowatt_hours(50786, 1)


class Tariffs(Block):
    """Energies per tariff in Unit/100, block 51200: Ea+ in each tariff."""

    register_ranges = ((51200, 51249),)

    tariff = word(51201)
    tariff_1_energy = kilowatt_hours(51202, 0.01)
    tariff_2_energy = kilowatt_hours(51204, 0.01)
    tariff_3_energy = kilowatt_hours(51206, 0.01)
    tariff_4_energy = kilowatt_hours(51208, 0.01)


class TariffsInKwh(Tariffs):
    """Energies per tariff, block 50848: the same counters in whole kWh."""

    register_ranges = ((50848, 50897),)

    tariff = word(50849)
    tariff_1_energy = kilowatt_hours(50850, 1)
    tariff_2_energy = kilowatt_hours(50852, 1)
    tariff_3_energy = kilowatt_hours(50854, 1)
    tariff_4_energy = kilowatt_hours(50856, 1)


# Commands. Nothing else is ever written: the other bits of 57890 clear averages,
# events and load curves.
VALUE_RESET = 57890
PARTIAL_COUNTER_BITS = {
    "partial_energy_consumed": 0x0001,
    "partial_energy_reactive": 0x0002,
    "partial_energy_produced": 0x0008,
}
PARTIAL_ENERGIES_RESET = 40512  # E1x and E2x only
PARTIAL_ENERGIES = 0x20
