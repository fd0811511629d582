"""The profile of a meter: its identity and the blocks that it supports."""

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
import re
from typing import Any, Self

from modbus_connection import (
    ModbusExceptionError,
    ModbusProtocolError,
    ModbusTimeoutError,
    ModbusUnit,
)
from modbus_connection.model import read_optional

from . import registers
from .block import Block, CounterBlock, Values
from .errors import AnotherMeterError, NotACountisError
from .limits import Limits
from .registers import (
    BLOCK_OF,
    PARTIAL_CONSUMED,
    PARTIAL_TARIFF_COUNTERS,
    PHASES,
    CurrentTransformer,
    Identity,
    Tariffs,
)
from .relations import relations_of, same_counters

# Increased if a new version of the library needs a fact that stored profiles lack.
PROFILE_VERSION = 2
INCOMPLETE_VERSION = 0  # assigned to a stored profile that lacks a key

SIGNATURE = "SOCO"  # at 50000 of each COUNTIS
PRODUCT_ORDER_COUNTIS = 100  # at 50004 of each COUNTIS
PRODUCT_LINE = "COUNTIS"  # in each model name; also the model if there is no name

# The classes to try for each block name, the high resolution first.
BLOCK_TYPES: Mapping[str, tuple[type[Block], ...]] = {
    "identity": (registers.Identity,),
    "measurements": (registers.Measurements,),
    "energies": (registers.Energies, registers.EnergiesInKwh),
    "tariffs": (registers.Tariffs, registers.TariffsInKwh),
    "transformer": (registers.CurrentTransformer,),
    "periods": (registers.Periods, registers.PeriodsInKwh),
    "overflows": (registers.Overflows,),
    "clock": (registers.Clock,),
    "partial_tariffs": (registers.PartialTariffs,),
}
COUNTER_BLOCKS = ("energies", "tariffs", "partial_tariffs")
# If a response for one of these blocks is lost or damaged, the profile is taken without
# the block, unless the block is required (see `async_take_profile`).
OPTIONAL_BLOCKS = ("periods", "overflows", "clock", "partial_tariffs")

# A; the assumed highest current of an E4x that does not report the primary current of
# its transformers. Our choice: above the primary current of any transformer that is
# built for low voltage.
UNKNOWN_TRANSFORMER_AMPERES = 10_000

# A device without an identification is accepted as a meter if one phase and the
# frequency are in these ranges. Our choice: wide ranges around 230 V and 50 or 60 Hz.
MAINS_VOLTS = (100, 300)
MAINS_HERTZ = (45, 65)

DIRECT_FAMILIES = (1, 2, 3)  # E1x, E2x and E3x have no current transformers
TRANSFORMER_FAMILY = 4
E3X_E4X_FAMILIES = (3, 4)  # their table has no partial counters by tariff (32768)

# The fields that are sets in a profile, and lists in its JSON content.
SET_FIELDS = ("split", "quantities", "unused", "relations", "undecided")


@dataclass(frozen=True)
class Profile:
    """The identity of one meter, and the blocks and quantities that it supports."""

    identity: Mapping[str, Any] = field(default_factory=dict)
    """The values of block 50000, empty if the meter does not support it."""
    blocks: Mapping[str, str] = field(default_factory=dict)
    """The class name (`registers.py`) of each supported block, by block name."""
    split: frozenset[str] = frozenset()
    """The names of blocks whose reserved registers cannot be read."""
    quantities: frozenset[str] = frozenset()
    """The quantities that the meter measures and counts."""
    unused: frozenset[str] = frozenset()
    """The counters that were 0 when the profile was taken."""
    is_producer: bool = False
    """Whether more energy was produced than consumed when the profile was taken."""
    relations: frozenset[str] = frozenset()
    """The relations between registers (`relations.py`) that the meter satisfies."""
    tariff_count: int | None = None
    """The number of tariffs (51200), None if the meter does not report it."""
    primary_current: float | None = None
    """In A (57346), None if unknown or if the meter has no current transformers."""
    undecided: frozenset[str] = frozenset()
    """Optional blocks whose support is unknown: the response was lost or damaged."""
    version: int = PROFILE_VERSION

    @property
    def outdated(self) -> bool:
        """Return whether the profile has to be taken again."""
        return self.version != PROFILE_VERSION or bool(self.undecided)

    def as_dict(self) -> dict[str, Any]:
        """Return the profile as JSON content for `from_dict`."""
        return asdict(self) | {name: sorted(getattr(self, name)) for name in SET_FIELDS}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Return the profile from the content that `as_dict` returned.

        If a key is missing, its field has the default, and the profile is outdated.
        """
        names = {each.name for each in fields(cls)}
        content = {name: stored[name] for name in names & stored.keys()}
        if len(content) < len(names):
            content["version"] = INCOMPLETE_VERSION
        sets = {name: frozenset(content.get(name, ())) for name in SET_FIELDS}
        return cls(**content | sets)

    @property
    def model(self) -> str:
        """Return the model such as "COUNTIS E33" (50050 or 50058).

        A name with a model number is preferred. A meter without a name is a "COUNTIS".
        """
        names = [
            str(self.identity.get(name) or "").upper()
            for name in ("product_name", "extended_name")
        ]
        named = [name for name in names if PRODUCT_LINE in name] or [PRODUCT_LINE]
        return next(filter(_family, named), named[0])

    @property
    def family(self) -> int | None:
        """Return the first digit of the model number, such as 3 for an E33."""
        return _family(self.model)

    @property
    def serial_number(self) -> str | None:
        """Return the serial number (50008 to 50010), None if it is not available."""
        return serial_number(self.identity)

    @property
    def software_version(self) -> str | None:
        """Return the firmware version such as "1.00" (50007), None if not available."""
        version = self.identity.get("software_version")
        if version is None:
            return None
        major, minor = divmod(version, 100)
        return f"{major}.{minor:02d}"

    @property
    def counts_in_high_resolution(self) -> bool:
        """Return whether the total of the consumed energy has steps of 10 Wh."""
        has_block = self.blocks.get("energies") == registers.Energies.__name__
        return has_block and "energy_consumed" in self.quantities

    @property
    def limits(self) -> Limits:
        """Return the limits of the meter, with its current transformers if any."""
        if self.primary_current:
            return Limits.of_transformer(self.primary_current)
        if self.family == TRANSFORMER_FAMILY:
            return Limits(UNKNOWN_TRANSFORMER_AMPERES)
        return Limits()

    @property
    def calculated_counters(self) -> Mapping[str, str]:
        """Return the tariff counter of each partial counter that is calculated.

        If the meter has a partial total, but no registers for the partial counters by
        tariff, `CalculatedCounters` calculates them from the tariff counters.
        """
        if "partial_tariffs" in self.blocks or PARTIAL_CONSUMED not in self.quantities:
            return {}
        return {
            partial: tariff
            for partial, tariff in PARTIAL_TARIFF_COUNTERS.items()
            if tariff in self.quantities
        }

    def block(self, name: str, unit: ModbusUnit) -> Block | None:
        """Return a block that uses `unit`, None if the meter does not support it."""
        for block_type in BLOCK_TYPES[name]:
            if block_type.__name__ == self.blocks.get(name):
                return block_type(unit, split=name in self.split)
        return None


def _family(model: str) -> int | None:
    number = re.search(r"\bE(\d)\d", model)
    return int(number[1]) if number else None


def serial_number(values: Mapping[str, Any]) -> str | None:
    """Return the serial number from the values of block 50000.

    The serial number consists of three registers: 50008 (year and week) and 50009 (site
    and line) in hex digits, then 50010 (order) in decimal digits. Returns None if one
    of these registers is not available, or all are 0.
    """
    year_week, site_line, order = parts = [
        values.get(f"serial_{part}") for part in ("year_week", "site_line", "order")
    ]
    if None in parts or not any(parts):
        return None
    return f"{year_week:04X}{site_line:04X}{order:05d}"


async def async_take_profile(
    unit: ModbusUnit,
    *,
    expected: str | None = None,
    previous: Profile | None = None,
) -> Profile:
    """Return the profile of the meter at this unit, in about ten requests.

    `expected` is the serial number that the meter must have, None for any. `previous`
    is an older profile of the same meter. The measurements are required, and also the
    counter blocks that `previous` contains.

    Raises `NotACountisError` if the device is not a COUNTIS, and `AnotherMeterError`
    for another meter. Raises `ModbusError` if a required block is not available,
    because the meter may be starting. A lost or damaged response also raises
    `ModbusError`, except for a block in `OPTIONAL_BLOCKS` that is not required.
    """
    identity = await _async_identify(unit)
    profile = Profile(identity={} if identity is None else identity.values)
    _require_serial_number(expected, profile.serial_number)
    required = {"measurements"}
    if previous is not None:
        required |= previous.blocks.keys() & set(COUNTER_BLOCKS)
    supported: dict[str, Block] = {} if identity is None else {"identity": identity}
    undecided: set[str] = set()
    names = [name for name in BLOCK_TYPES if name != "identity"]
    if profile.family in DIRECT_FAMILIES:
        names.remove("transformer")
    if profile.family in E3X_E4X_FAMILIES:
        names.remove("partial_tariffs")
    for name in names:
        try:
            block = await _async_find_block(name, unit)
        except ModbusTimeoutError, ModbusProtocolError:
            if name not in OPTIONAL_BLOCKS or name in required:
                raise
            undecided.add(name)
            continue
        if identity is None and name == "measurements":
            _require_mains({} if block is None else block.values)
        if block is not None:
            supported[name] = block
        elif name in required:
            msg = f"the {name} are not available"
            raise ModbusProtocolError(msg)
    return _completed(profile, supported, undecided, previous or Profile())


def _require_serial_number(expected: str | None, found: str | None) -> None:
    """Raise an error if the serial number is not the expected one.

    If `expected` is None, each serial number is accepted.
    """
    if expected is None or found == expected:
        return
    if found is None:
        msg = "the serial number is not available"
        raise ModbusProtocolError(msg)
    raise AnotherMeterError(found)


async def _async_identify(unit: ModbusUnit) -> Identity | None:
    """Return block 50000 of a COUNTIS, None if the device does not support it."""
    identity = await _async_read_if_supported(Identity, unit)
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


async def _async_find_block(name: str, unit: ModbusUnit) -> Block | None:
    """Return the block of this name, in the best class that the meter supports.

    If the meter has counters in both resolutions, their values are compared. If they
    differ, the low resolution is used. Returns None if the meter supports none of the
    classes.
    """
    types = BLOCK_TYPES[name]
    if name not in OPTIONAL_BLOCKS and name in COUNTER_BLOCKS:
        high, low = [await _async_read_if_supported(each, unit) for each in types]
        if isinstance(high, CounterBlock) and isinstance(low, CounterBlock):
            return high if same_counters(high, low) else low
        return high or low
    for each in types:
        # Here, any Modbus exception means that the meter does not support the block.
        # For "energies" and "tariffs" (above) and for the identity, only the exceptions
        # that `read_optional` handles mean this.
        with suppress(ModbusExceptionError):
            if (found := await _async_read_if_supported(each, unit)) is not None:
                return found
    return None


async def _async_read_if_supported[B: Block](
    block_type: type[B], unit: ModbusUnit
) -> B | None:
    """Read a block and return it, None if the meter does not support the block.

    The tables leave open whether a meter refuses requests with reserved registers, so a
    refused block is read again without these registers. If all fields of a block are
    "not available", the block is not supported.
    """
    for split in (False, True):
        block = block_type(unit, split=split)
        if await read_optional(block) is not None:
            return block if block.available else None
    return None


def _require_mains(values: Values) -> None:
    """Raise `NotACountisError` if the values are not those of a mains supply."""
    hertz = values.get("frequency") or 0
    volts = [values.get(f"voltage_{phase}") or 0 for phase in PHASES]
    lowest, highest = MAINS_VOLTS
    has_mains = any(lowest <= each <= highest for each in volts)
    if not has_mains or not MAINS_HERTZ[0] <= hertz <= MAINS_HERTZ[1]:
        msg = f"it has no identification, and measures no mains: {volts} V, {hertz} Hz"
        raise NotACountisError(msg)


def _completed(
    profile: Profile,
    supported: Mapping[str, Block],
    undecided: Collection[str],
    previous: Profile,
) -> Profile:
    """Return `profile`, completed from the last values of the `supported` blocks.

    Quantities of the previous profile remain if their block is still supported, because
    a phase may be absent for a while.
    """
    transformer, tariffs = supported.get("transformer"), supported.get("tariffs")
    if isinstance(transformer, CurrentTransformer):
        profile = replace(profile, primary_current=transformer.primary)
    # The clock offset is a quantity, but no register contains it. The 0 only marks the
    # clock offset as available.
    values: Values = {"clock_offset": 0} if "clock" in supported else {}
    for block in supported.values():
        values |= block.possible_values(profile.limits.allow)
    counter_blocks = [
        each for each in supported.values() if isinstance(each, CounterBlock)
    ]
    step = max((each.step for each in counter_blocks), default=0)
    counters = {name for each in counter_blocks for name in each.counters}
    available = {name: value for name, value in values.items() if value is not None}
    produced = available.get("energy_produced", 0)
    quantities = available.keys() & BLOCK_OF.keys()
    kept = {each for each in previous.quantities if BLOCK_OF.get(each) in supported}
    return replace(
        profile,
        blocks={name: type(block).__name__ for name, block in supported.items()},
        split=frozenset(name for name, block in supported.items() if block.split),
        quantities=frozenset(quantities | kept),
        unused=frozenset(
            name for name in quantities & counters if available[name] == 0
        ),
        is_producer=produced > available.get("energy_consumed", 0),
        relations=relations_of(values, step, previous.relations),
        tariff_count=tariffs.tariff_count if isinstance(tariffs, Tariffs) else None,
        undecided=frozenset(undecided),
    )
