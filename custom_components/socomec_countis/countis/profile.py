"""The profile of a meter: its identity and the blocks that it supports."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
import logging
import re
from typing import Any, Self

from modbus_connection import (
    ModbusConnectionError,
    ModbusError,
    ModbusExceptionError,
    ModbusProtocolError,
    ModbusUnit,
)
from modbus_connection.model import read_optional

from .block import Block, Counters
from .errors import AnotherMeterError, NotACountisError
from .plausibility import Limits
from .registers import (
    Clock,
    CurrentTransformer,
    Energies,
    EnergiesInKwh,
    Identity,
    Measurements,
    Overflows,
    Periods,
    PeriodsInKwh,
    Revision,
    Tariffs,
    TariffsInKwh,
)

_LOGGER = logging.getLogger(__name__)

# Raised whenever a new version of the integration needs to know more of a meter.
PROFILE_VERSION = 1

SIGNATURE = "SOCO"
PRODUCT_ORDER_COUNTIS = 100
UNNAMED_MODEL = "COUNTIS"

# Each block with the types to try, the better resolution first.
BLOCK_TYPES: Mapping[str, tuple[type[Block], ...]] = {
    "identity": (Identity,),
    "measurements": (Measurements,),
    "energies": (Energies, EnergiesInKwh),
    "tariffs": (Tariffs, TariffsInKwh),
    "transformer": (CurrentTransformer,),
    "periods": (Periods, PeriodsInKwh),
    "overflows": (Overflows,),
    "clock": (Clock,),
}
TYPES_BY_NAME = {
    each.__name__: each for types in BLOCK_TYPES.values() for each in types
}
COUNTERS = ("energies", "tariffs")
# A meter is complete without them, so a lost response to one does not end the probe.
OPTIONAL = ("periods", "overflows", "clock")

# Without transformers, whose primary current is known, an E4x is assumed to measure
# up to this. Our choice: above any transformer that is built for low voltage.
UNKNOWN_TRANSFORMER_AMPERES = 10_000

# kWh; the same counter in both resolutions differs by less than this, whether the
# meter rounds or truncates, and while it counts on between the two reads.
SAME_COUNTER_KWH = 1.1

# A device without an identification is accepted as a meter if it measures a mains:
# 100 V to 300 V on one phase, 45 Hz to 65 Hz (230 V and 50/60 Hz with our margin).
MAINS_VOLTS = (100, 300)
MAINS_HERTZ = (45, 65)


@dataclass(frozen=True)
class Variant:
    """How a meter supports a block."""

    type_name: str
    """The class in `registers`: for counters, it decides about the resolution."""
    split: bool = False
    """Whether the block has to be read around its reserved registers."""


@dataclass(frozen=True)
class Profile:
    """The identity of one meter, and the blocks and quantities that it supports."""

    identity: Mapping[str, Any] = field(default_factory=dict)
    """The values of block 50000; empty if the meter does not support the block."""
    blocks: Mapping[str, Variant] = field(default_factory=dict)
    """The supported blocks by name."""
    quantities: frozenset[str] = frozenset()
    """The quantities that the meter measures and counts."""
    unused: frozenset[str] = frozenset()
    """Counters that read 0 when the profile was taken."""
    tariff_count: int | None = None
    """The number of tariffs (51200), None if the meter does not report it."""
    primary_current: float | None = None
    """Of the current transformers in A (57346), None if unknown or without them."""
    undecided: frozenset[str] = frozenset()
    """Optional blocks that could not be read: supported or not."""
    version: int = PROFILE_VERSION

    @property
    def outdated(self) -> bool:
        """Whether the profile has to be taken anew."""
        return self.version != PROFILE_VERSION or bool(self.undecided)

    def as_dict(self) -> dict[str, Any]:
        """Return the profile as JSON content, to be read by `from_dict`."""
        return {
            "version": self.version,
            "identity": dict(self.identity),
            "blocks": {
                name: {"type": variant.type_name, "split": variant.split}
                for name, variant in self.blocks.items()
            },
            "quantities": sorted(self.quantities),
            "unused": sorted(self.unused),
            "tariff_count": self.tariff_count,
            "primary_current": self.primary_current,
            "undecided": sorted(self.undecided),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Return the profile from what `as_dict` returned."""
        return cls(
            version=stored["version"],
            identity=dict(stored["identity"]),
            blocks={
                name: Variant(variant["type"], variant["split"])
                for name, variant in stored["blocks"].items()
            },
            quantities=frozenset(stored["quantities"]),
            unused=frozenset(stored["unused"]),
            tariff_count=stored["tariff_count"],
            primary_current=stored["primary_current"],
            undecided=frozenset(stored["undecided"]),
        )

    @property
    def model(self) -> str:
        """Return the model as printed on the meter, "COUNTIS" if it has no name.

        Registers 50050 and 50058; a name with a model number is preferred.
        """
        names = [
            str(self.identity.get(name) or "").upper()
            for name in ("product_name", "extended_name")
        ]
        named = [name for name in names if UNNAMED_MODEL in name]
        numbered = [name for name in named if re.search(r"\bE\d", name)]
        return next(iter(numbered or named), UNNAMED_MODEL)

    @property
    def serial_number(self) -> str | None:
        """Return year and week, site and line (hex digits) and order number.

        Registers 50008 to 50010; None if they are not available.
        """
        return serial_number(self.identity)

    @property
    def software_version(self) -> str | None:
        """Return the firmware version such as "1.00" (register 50007)."""
        version = self.identity.get("software_version")
        if version is None:
            return None
        major, minor = divmod(version, 100)
        return f"{major}.{minor:02d}"

    @property
    def is_direct(self) -> bool:
        """Whether the model is one without current transformers."""
        return re.search(r"\bE[123]\d", self.model) is not None

    @property
    def limits(self) -> Limits:
        """Return what the meter can measure, scaled by its current transformers."""
        if self.primary_current:
            return Limits.of_transformer(self.primary_current)
        if re.search(r"\bE4\d", self.model):
            return Limits(UNKNOWN_TRANSFORMER_AMPERES)
        return Limits()

    def block(self, name: str, unit: ModbusUnit) -> Block | None:
        """Return a block of the meter at this unit, None if it is not supported."""
        variant = self.blocks.get(name)
        if variant is None:
            return None
        return TYPES_BY_NAME[variant.type_name](unit, split=variant.split)


def serial_number(values: Mapping[str, Any]) -> str | None:
    """Return the serial number from the values of 50008 to 50010, or None."""
    year_week = values.get("serial_year_week")
    site_line = values.get("serial_site_line")
    order = values.get("serial_order")
    if year_week is None or site_line is None or order is None:
        return None
    if not (year_week or site_line or order):
        return None
    return f"{year_week:04X}{site_line:04X}{order:05d}"


async def async_read_serial_number(unit: ModbusUnit) -> str | None:
    """Return the serial number of the meter, None if it is not available.

    Raises `ModbusError`.
    """
    revision = Revision(unit)
    await revision.async_update()
    return serial_number(revision.values)


async def async_take_profile(
    unit: ModbusUnit,
    *,
    expected: str | None = None,
    previous: Profile | None = None,
) -> Profile:
    """Return the profile of the meter at this unit, in about ten requests.

    `expected` is the serial number of the only meter to accept. `previous` is an
    older profile of the same meter: while the meter starts up, a block that was
    supported is unavailable. Raises `NotACountisError` for another device,
    `AnotherMeterError` for another meter, and `ModbusError` if the bus does not
    carry the responses or the meter is still starting.
    """
    identity = await _async_identify(unit)
    found = {} if identity is None else identity.values
    _require_serial_number(expected, serial_number(found))
    names = [name for name in BLOCK_TYPES if name != "identity"]
    if Profile(identity=found).is_direct:
        names.remove("transformer")
    required = {"measurements"}
    if previous is not None:
        required |= previous.blocks.keys() & set(COUNTERS)
    supported: dict[str, Block] = {} if identity is None else {"identity": identity}
    undecided: set[str] = set()
    for name in names:
        try:
            block = await _async_find(name, unit)
        except ModbusConnectionError:
            raise
        except ModbusError:
            if name not in OPTIONAL:
                raise
            undecided.add(name)
            continue
        if identity is None and name == "measurements":
            _require_mains(block)
        if block is not None:
            supported[name] = block
        elif name in required:
            msg = f"the {name} are not available"
            raise ModbusProtocolError(msg)
    return _profile(found, supported, frozenset(undecided))


def _require_serial_number(expected: str | None, found: str | None) -> None:
    """Raise if the meter is not the expected one, or does not report its number."""
    if expected is None or found == expected:
        return
    if found is None:
        msg = "the serial number is not available"
        raise ModbusProtocolError(msg)
    raise AnotherMeterError(found)


async def _async_identify(unit: ModbusUnit) -> Identity | None:
    """Return block 50000 of a COUNTIS, None if the device does not support it."""
    identity = await _async_supported(Identity, unit)
    if identity is None:
        return None
    if not any(identity.values.values()):
        msg = "the identification is empty"
        raise ModbusProtocolError(msg)
    if (
        identity.signature != SIGNATURE
        or identity.product_order_id != PRODUCT_ORDER_COUNTIS
    ):
        msg = (
            f"the signature is {identity.signature!r} and the product order"
            f" {identity.product_order_id}"
        )
        raise NotACountisError(msg)
    return identity


async def _async_find(name: str, unit: ModbusUnit) -> Block | None:
    """Return the best variant of a block that the meter supports, None if none."""
    types = BLOCK_TYPES[name]
    if name in COUNTERS:
        fine, coarse = [await _async_supported(each, unit) for each in types]
        return _better(fine, coarse)
    for each in types:
        # A refusal other than "no such register" still leaves the block unsupported.
        with suppress(ModbusExceptionError):
            if (found := await _async_supported(each, unit)) is not None:
                return found
    return None


async def _async_supported[B: Block](block_type: type[B], unit: ModbusUnit) -> B | None:
    """Return a block as far as the meter supports it, None if not at all.

    The tables leave open whether a meter refuses a request that touches reserved
    registers or answers it with ones, so the block is tried around them as well.
    """
    for split in (False, True):
        block = block_type(unit, split=split)
        if await read_optional(block) is not None:
            return block if block.available else None
    return None


def _better(fine: Block | None, coarse: Block | None) -> Block | None:
    """Return the counters in steps of 10 Wh if they agree with those in kWh."""
    if not isinstance(fine, Counters) or not isinstance(coarse, Counters):
        return fine or coarse
    in_kwh = coarse.counters
    for name, value in fine.counters.items():
        other = in_kwh[name]
        if value is None or other is None:
            continue
        if abs(value - other) > SAME_COUNTER_KWH:
            _LOGGER.debug("%s: %s in 10 Wh against %s in kWh", name, value, other)
            return coarse
    return fine


def _require_mains(measured: Block | None) -> None:
    """Raise `NotACountisError` if the device does not measure a mains."""
    if measured is None:
        msg = "neither the identification nor the measurements are available"
        raise NotACountisError(msg)
    values = measured.values
    voltages = [values[f"voltage_{phase}"] or 0 for phase in ("l1", "l2", "l3")]
    hertz = values["frequency"] or 0
    if not MAINS_HERTZ[0] <= hertz <= MAINS_HERTZ[1] or not any(
        MAINS_VOLTS[0] <= each <= MAINS_VOLTS[1] for each in voltages
    ):
        msg = f"{voltages} V at {hertz} Hz are no mains"
        raise NotACountisError(msg)


def _profile(
    identity: Mapping[str, Any],
    supported: Mapping[str, Block],
    undecided: frozenset[str],
) -> Profile:
    """Return the profile of a meter from the blocks as they were just read."""
    transformer = supported.get("transformer")
    primary = (
        transformer.primary_current
        if isinstance(transformer, CurrentTransformer)
        and transformer.values["ct_ratio"] is not None
        else None
    )
    profile = Profile(identity=identity, primary_current=primary)
    quantities: set[str] = set()
    unused: set[str] = set()
    for name, block in supported.items():
        if name in ("identity", "clock"):
            continue
        values = block.measured(profile.limits.allow)
        quantities |= {each for each, value in values.items() if value is not None}
        if name in COUNTERS:
            unused |= {each for each, value in values.items() if value == 0}
    if "clock" in supported:
        quantities.add("clock_offset")
    tariffs = supported.get("tariffs")
    return Profile(
        identity=identity,
        blocks={
            name: Variant(type(block).__name__, block.split)
            for name, block in supported.items()
        },
        quantities=frozenset(quantities),
        unused=frozenset(unused),
        tariff_count=tariffs.tariff_count if isinstance(tariffs, Tariffs) else None,
        primary_current=primary,
        undecided=undecided,
    )
