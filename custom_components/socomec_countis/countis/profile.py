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
from .block import Block, Counters, Values
from .errors import AnotherMeterError, NotACountisError
from .plausibility import Limits
from .registers import BLOCK_OF, CurrentTransformer, Identity, Revision, Tariffs
from .relations import relations_of, same_counters

# Raised whenever a new version of the integration needs to know more of a meter.
PROFILE_VERSION = 1
INCOMPLETE = 0  # in place of the version of a stored profile that lacks something

SIGNATURE = "SOCO"
PRODUCT_ORDER_COUNTIS = 100
UNNAMED_MODEL = "COUNTIS"

# Each block with the types to try, the better resolution first.
BLOCK_TYPES: Mapping[str, tuple[type[Block], ...]] = {
    "identity": (registers.Identity,),
    "measurements": (registers.Measurements,),
    "energies": (registers.Energies, registers.EnergiesInKwh),
    "tariffs": (registers.Tariffs, registers.TariffsInKwh),
    "transformer": (registers.CurrentTransformer,),
    "periods": (registers.Periods, registers.PeriodsInKwh),
    "overflows": (registers.Overflows,),
    "clock": (registers.Clock,),
}
COUNTERS = ("energies", "tariffs")
# A meter is complete without them, so a lost response to one does not end the probe.
OPTIONAL = ("periods", "overflows", "clock")

# A. If the primary current is unknown, an E4x is assumed to measure up to this current.
# Our choice: above any transformer that is built for low voltage.
UNKNOWN_TRANSFORMER_AMPERES = 10_000

# A device without an identification is accepted as a meter if it measures a mains:
# 100 V to 300 V on one phase, 45 Hz to 65 Hz (230 V and 50/60 Hz with our margin).
MAINS_VOLTS = (100, 300)
MAINS_HERTZ = (45, 65)

DIRECT_FAMILIES = (1, 2, 3)  # without current transformers
TRANSFORMER_FAMILY = 4

# The fields of a profile that are lists in JSON content.
SETS = ("quantities", "unused", "relations", "undecided")


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
    relations: frozenset[str] = frozenset()
    """The relations between its registers that the meter satisfies."""
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
        blocks = {
            name: {"type": variant.type_name, "split": variant.split}
            for name, variant in self.blocks.items()
        }
        return (
            asdict(self)
            | {name: sorted(getattr(self, name)) for name in SETS}
            | {"blocks": blocks}
        )

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Return the profile from what `as_dict` returned.

        If a key is missing, its default is used and the profile is outdated.
        """
        names = {each.name for each in fields(cls)}
        content = {name: stored[name] for name in names & stored.keys()}
        if len(content) < len(names):
            content["version"] = INCOMPLETE
        blocks = {
            name: Variant(each["type"], each["split"])
            for name, each in content.get("blocks", {}).items()
        }
        sets = {name: frozenset(content.get(name, ())) for name in SETS}
        return cls(**content | sets | {"blocks": blocks})

    @property
    def model(self) -> str:
        """Return the model as printed on the meter, "COUNTIS" if it has no name.

        Registers 50050 and 50058; a name with a model number is preferred.
        """
        names = [
            str(self.identity.get(name) or "").upper()
            for name in ("product_name", "extended_name")
        ]
        named = [name for name in names if UNNAMED_MODEL in name] or [UNNAMED_MODEL]
        return next(filter(_family, named), named[0])

    @property
    def family(self) -> int | None:
        """Return the first digit of the model number, such as 3 for an E33."""
        return _family(self.model)

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
    def limits(self) -> Limits:
        """Return what the meter can measure, scaled by its current transformers."""
        if self.primary_current:
            return Limits.of_transformer(self.primary_current)
        if self.family == TRANSFORMER_FAMILY:
            return Limits(UNKNOWN_TRANSFORMER_AMPERES)
        return Limits()

    def block(self, name: str, unit: ModbusUnit) -> Block | None:
        """Return a block of the meter at this unit, None if it is not supported."""
        variant = self.blocks.get(name)
        types = {each.__name__: each for each in BLOCK_TYPES[name]}
        if variant is None or variant.type_name not in types:
            return None
        return types[variant.type_name](unit, split=variant.split)


def _family(model: str) -> int | None:
    number = re.search(r"\bE(\d)\d", model)
    return int(number[1]) if number else None


def serial_number(values: Mapping[str, Any]) -> str | None:
    """Return the serial number from the values of 50008 to 50010, or None."""
    year_week, site_line, order = parts = [
        values.get(f"serial_{part}") for part in ("year_week", "site_line", "order")
    ]
    if None in parts or not any(parts):
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
    profile = Profile(identity={} if identity is None else identity.values)
    _require_serial_number(expected, profile.serial_number)
    names = [name for name in BLOCK_TYPES if name != "identity"]
    if profile.family in DIRECT_FAMILIES:
        names.remove("transformer")
    required = {"measurements"}
    if previous is not None:
        required |= previous.blocks.keys() & set(COUNTERS)
    supported: dict[str, Block] = {} if identity is None else {"identity": identity}
    undecided: set[str] = set()
    for name in names:
        try:
            block = await _async_find(name, unit)
        except ModbusTimeoutError, ModbusProtocolError:
            if name not in OPTIONAL:
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
    if (
        isinstance(fine, Counters)
        and isinstance(coarse, Counters)
        and not same_counters(fine, coarse)
    ):
        return coarse
    return fine or coarse


def _require_mains(values: Values) -> None:
    """Raise `NotACountisError` if the device does not measure a mains."""
    hertz = values.get("frequency") or 0
    volts = [values.get(f"voltage_{phase}") or 0 for phase in ("l1", "l2", "l3")]
    lowest, highest = MAINS_VOLTS
    has_mains = any(lowest <= each <= highest for each in volts)
    if not has_mains or not MAINS_HERTZ[0] <= hertz <= MAINS_HERTZ[1]:
        msg = f"no identification, and {volts} V at {hertz} Hz are no mains"
        raise NotACountisError(msg)


def _completed(
    profile: Profile,
    supported: Mapping[str, Block],
    undecided: Collection[str],
    previous: Profile,
) -> Profile:
    """Return the profile with what was found in the blocks as they were just read.

    What the meter measured before is kept: a phase may be absent for a while, and a
    meter without a load satisfies no relation.
    """
    transformer, tariffs = supported.get("transformer"), supported.get("tariffs")
    if isinstance(transformer, CurrentTransformer) and transformer.values["ct_ratio"]:
        profile = replace(profile, primary_current=transformer.primary_current)
    values: Values = {"clock_offset": 0} if "clock" in supported else {}
    for block in supported.values():
        values |= block.measured(profile.limits.allow)
    step = max(
        (each.step for each in supported.values() if isinstance(each, Counters)),
        default=0,
    )
    measured = {name: value for name, value in values.items() if value is not None}
    quantities = measured.keys() & BLOCK_OF.keys()
    kept = {each for each in previous.quantities if BLOCK_OF.get(each) in supported}
    return replace(
        profile,
        blocks={
            name: Variant(type(block).__name__, block.split)
            for name, block in supported.items()
        },
        quantities=frozenset(quantities | kept),
        unused=frozenset(
            each
            for each in quantities
            if BLOCK_OF[each] in COUNTERS and measured[each] == 0
        ),
        relations=relations_of(values, step, previous.relations),
        tariff_count=tariffs.tariff_count if isinstance(tariffs, Tariffs) else None,
        undecided=frozenset(undecided),
    )
