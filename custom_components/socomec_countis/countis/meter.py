"""A COUNTIS: who it is, what it measures, and the one command it is given."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
import logging
import re
from typing import override

from modbus_connection import (
    AcknowledgeError,
    IllegalFunctionError,
    ModbusConnectionError,
    ModbusExceptionError,
    ModbusProtocolError,
    ModbusTimeoutError,
    ModbusUnit,
)
from modbus_connection.model import Device, UpdateReport, read_optional

from .errors import NotACountisError, ResetError
from .registers import (
    PARTIAL_COUNTER_BITS,
    PARTIAL_ENERGIES,
    PARTIAL_ENERGIES_RESET,
    TOTALS,
    VALUE_RESET,
    Block,
    Energies,
    EnergiesInKwh,
    Identity,
    Measurements,
    Tariffs,
    TariffsInKwh,
    Values,
)

_LOGGER = logging.getLogger(__name__)

SIGNATURE = "SOCO"
PRODUCT_ORDER_COUNTIS = 100
UNNAMED_MODEL = "COUNTIS"

POLLED = ("measurements", "energies", "tariffs")

# One counter in whole kWh and the same in steps of 10 Wh differ by less than
# this, whether the meter rounds or cuts off.
SAME_COUNTER_KWH = 1.1

# What 80 kW, the most a meter for 100 A can see, count in one second.
RESET_TO_KWH = 0.02
RESET_CHECKS = 3
RESET_CHECK_DELAY = 0.3


class Countis(Device):
    """One meter on a line.

    Setting up, with the first poll or `async_ensure_setup`, reads the identity
    and settles which blocks the meter serves; both then stay as they are.
    """

    def __init__(self, unit: ModbusUnit) -> None:
        """Take the unit (line and address) that the meter answers at."""
        super().__init__(unit)
        self.identity: Identity | None = None
        self.measurements = Measurements(unit)
        self.energies: Energies | None = None
        self.tariffs: Tariffs | None = None
        self._believed_totals: dict[str, float] = {}
        # A poll that overlaps a reset would bring back the counters of before.
        self._busy = asyncio.Lock()

    @property
    def model(self) -> str:
        """The model as printed on the meter, "COUNTIS" where it has no name."""
        if self.identity is None:
            return UNNAMED_MODEL
        names = (self.identity.product_name, self.identity.extended_name)
        for name in names:
            if name and UNNAMED_MODEL in name.upper():
                return name.upper()
        return UNNAMED_MODEL

    @property
    def serial_number(self) -> str | None:
        """Year and week, site and line (hex digits) and order number.

        None where the meter does not say (50008 to 50010 of the table).
        """
        if self.identity is None:
            return None
        year_week = self.identity.serial_year_week
        site_line = self.identity.serial_site_line
        order = self.identity.serial_order
        if year_week is None or site_line is None or order is None:
            return None
        if not (year_week or site_line or order):
            return None
        return f"{year_week:04X}{site_line:04X}{order:05d}"

    @property
    def software_version(self) -> str | None:
        """The firmware's version, such as "1.00" (50007 of the table)."""
        if self.identity is None or self.identity.software_version is None:
            return None
        major, minor = divmod(self.identity.software_version, 100)
        return f"{major}.{minor:02d}"

    @property
    def variants(self) -> dict[str, str | None]:
        """Which blocks this meter serves, and how they have to be read."""
        blocks: dict[str, Block | None] = {
            "identity": self.identity,
            "measurements": self.measurements,
            "energies": self.energies,
            "tariffs": self.tariffs,
        }
        return {
            name: None if block is None else block.description
            for name, block in blocks.items()
        }

    @override
    async def _async_setup(self) -> None:
        """Read the identity and settle which blocks the meter serves.

        Raises `NotACountisError` for another device, `ModbusError` for a line
        that does not carry the answers.
        """
        identity = await self._async_served(Identity)
        if identity is not None and (
            identity.signature != SIGNATURE
            or identity.product_order_id != PRODUCT_ORDER_COUNTIS
        ):
            msg = (
                f"the signature is {identity.signature!r} and the product order"
                f" {identity.product_order_id}"
            )
            raise NotACountisError(msg)
        if identity is None:
            await self._async_require_plausible_measurements()
        self.identity = identity
        self.energies = await self._async_finer(Energies, EnergiesInKwh)
        self.tariffs = await self._async_finer(Tariffs, TariffsInKwh)

    async def _async_require_plausible_measurements(self) -> None:
        """Accept an unidentified device only for what it measures.

        Raises `NotACountisError` where that is not a mains voltage and frequency.
        """
        if await read_optional(self.measurements) is None:
            msg = "it serves neither the identification nor the metrology block"
            raise NotACountisError(msg)
        measured = self.measurements
        voltages = (measured.voltage_l1, measured.voltage_l2, measured.voltage_l3)
        if not (
            45 <= (measured.frequency or 0) <= 65  # noqa: PLR2004
            # The meter lives on the phases it measures, so one of them is there.
            and any(100 <= (voltage or 0) <= 300 for voltage in voltages)  # noqa: PLR2004
        ):
            msg = f"{voltages} V at {measured.frequency} Hz are no mains"
            raise NotACountisError(msg)

    async def _async_served[B: Block](self, block_type: type[B]) -> B | None:
        """Return the block as far as the meter serves it.

        Tables leave open whether a read across reserved registers is refused or
        answered with ones, so it is tried around them as well.
        """
        for block in (
            block_type(self.modbus_unit),
            block_type(self.modbus_unit).apart(),
        ):
            if await read_optional(block) is not None:
                return block if block.available else None
        return None

    async def _async_finer[B: Block](
        self, fine_type: type[B], coarse_type: type[B]
    ) -> B | None:
        """Return the counters in steps of 10 Wh, or those in kWh.

        Steps of 10 Wh are the better ones where the meter has them and they
        tell the same as those in kWh.
        """
        fine = await self._async_served(fine_type)
        coarse = await self._async_served(coarse_type)
        if fine is None or coarse is None:
            return fine or coarse
        coarse_values = coarse.values
        for name, value in fine.values.items():
            other = coarse_values[name]
            if value is None or other is None:
                continue
            if abs(value - other) > SAME_COUNTER_KWH:
                _LOGGER.debug("%s: %s in 10 Wh against %s in kWh", name, value, other)
                return coarse
        return fine

    async def async_update(self, *, retry: bool = True) -> UpdateReport:
        """Read all quantities, one read for each block the meter serves.

        With `retry`, what was lost or damaged on the line is asked for once
        more. Raises `ModbusConnectionError` for a line that cannot be opened,
        and `ModbusTimeoutError` for a meter that does not answer at all; the
        report tells which blocks could not be read otherwise, or not believed.
        """
        async with self._busy:
            report = await self._async_poll_all(retry=retry)
            if "energies" in report.updated:
                await self._async_believe_totals(report)
            return report

    async def _async_poll_all(self, *, retry: bool) -> UpdateReport:
        try:
            report = await self.async_poll(POLLED)
        except ModbusConnectionError:
            raise
        except ModbusTimeoutError:
            if not retry:
                raise
            return await self.async_poll(POLLED)
        if retry and report.failed:
            failed = tuple(report.failed)
            report.failed.clear()
            await self.async_poll(failed, report)
        return report

    async def _async_believe_totals(self, report: UpdateReport) -> None:
        """Withhold counters whose totals fell, which a total never does.

        Home Assistant would take a lower one for a new beginning, and book all
        of it again when the right one returns.
        """
        if self._fallen_totals():
            await self.async_poll(("energies",), report)
        if fallen := self._fallen_totals():
            report.updated.discard("energies")
            report.failed["energies"] = ModbusProtocolError(f"totals fell: {fallen}")
        else:
            values = self.values(report)
            self._believed_totals |= {
                name: value for name in TOTALS if (value := values[name]) is not None
            }

    def _fallen_totals(self) -> dict[str, tuple[float, float]]:
        """Return the totals that are lower than last believed, with both values."""
        assert self.energies is not None  # noqa: S101
        values = self.energies.values
        return {
            name: (believed, value)
            for name, believed in self._believed_totals.items()
            if (value := values[name]) is not None and value < believed
        }

    def values(self, report: UpdateReport) -> Values:
        """Return what a poll refreshed: quantity to value, None if not available."""
        values: Values = {}
        for name in POLLED:
            if name in report.updated:
                values |= getattr(self, name).values
        return values

    async def async_read_registers(self) -> dict[int, int]:
        """Read every block once more and return its registers as they are.

        Raises `ModbusError` if one of them cannot be read.
        """
        async with self._busy:
            raw = await self.async_read_raw(("identity", *POLLED))
        return {address: int(value) for address, value in raw["holding"].items()}

    async def async_reset_partial_counters(self) -> Values:
        """Set the partial counters to zero and return them as read back.

        Raises `ResetError` if the meter did not, and `ModbusError` if the line
        leaves that open.
        """
        async with self._busy:
            energies = self.energies
            names = [
                name
                for name, value in self._partial_counters.items()
                if value is not None
            ]
            if energies is None or not names:
                msg = "the meter has no partial counters"
                raise ResetError(msg)
            bits = sum(PARTIAL_COUNTER_BITS[name] for name in names)
            accepted = await self._async_command(VALUE_RESET, bits)
            if accepted and await self._async_are_reset(energies, names):
                return self._partial_counters
            # Reserved on an E3x or E4x: asked for only where it exists, or where
            # there is nothing else left to ask for.
            if (not accepted or re.search(r"\bE[12]\d", self.model)) and (
                await self._async_command(PARTIAL_ENERGIES_RESET, PARTIAL_ENERGIES)
                and await self._async_are_reset(energies, names)
            ):
                return self._partial_counters
            msg = "the partial counters did not fall to zero"
            raise ResetError(msg)

    async def _async_command(self, register: int, value: int) -> bool:
        """Write one command register; False if the meter refuses it.

        An answer that gets lost leaves open whether the command arrived, which
        the counters then tell.
        """
        unit = self.modbus_unit
        writes: tuple[Callable[[], Awaitable[None]], ...] = (
            lambda: unit.write_register(register, value),
            # For a meter that knows function 16 only.
            lambda: unit.write_registers(register, [value]),
        )
        for write in writes:
            try:
                await write()
            except IllegalFunctionError:
                continue
            except AcknowledgeError, ModbusTimeoutError, ModbusProtocolError:
                return True
            except ModbusExceptionError as err:
                _LOGGER.debug("Command %s = %#06x is refused: %s", register, value, err)
                return False
            return True
        return False

    @property
    def _partial_counters(self) -> Values:
        values = {} if self.energies is None else self.energies.values
        return {name: values[name] for name in PARTIAL_COUNTER_BITS if name in values}

    async def _async_are_reset(self, energies: Energies, names: Iterable[str]) -> bool:
        """Read the counters back until they stand at zero, for about a second."""
        for attempt in range(RESET_CHECKS):
            if attempt:
                await asyncio.sleep(RESET_CHECK_DELAY)
            await energies.async_update()
            values = [self._partial_counters[name] for name in names]
            # A counter that reads "not available" is not known to be reset.
            if all(value is not None and value <= RESET_TO_KWH for value in values):
                return True
        return False
