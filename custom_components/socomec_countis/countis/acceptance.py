"""Accept or reject the counters of a reading, and read evidence about them."""

from typing import TYPE_CHECKING

from modbus_connection.model import read_optional

from .block import Counters
from .plausibility import Correction, Moment
from .profile import BLOCK_TYPES
from .relations import overflow_counts, same_counters

if TYPE_CHECKING:
    from .meter import Meter


async def async_check_counters(
    meter: Meter,
    name: str,
    block: Counters,
    at: Moment,
    *,
    is_last: bool,
    is_new: bool,
) -> tuple[str | None, tuple[Correction, ...]]:
    """Accept all counters of a block that was just read, or return why they are not.

    Unless this attempt `is_last`, a rejected block is read again at once. `is_new` is
    whether the reading before was accepted. A level that lasts is accepted with its
    corrections, if the meter confirms it. Raises as `Meter.async_read`.
    """
    if block.implausible:
        return block.implausible, ()
    check, readings = meter.counters, block.counters
    if name == "tariffs" and meter.relations.broken_tariffs(
        readings, check.accepted.get("energy_consumed"), at, check.limits
    ):
        return "the tariff counters are not the sum of the total", ()
    if check.check(name, readings, block.step, at, resettable=block.resettable):
        return None, ()
    rejected = check.rejected[name]
    reason = f"implausible: {rejected}"
    if not is_last:
        return reason, ()
    if is_new:
        await _async_gather_evidence(meter)
    # Meanwhile, a command may have read the block and accepted its counters.
    if check.rejected.get(name) is rejected and check.lasts(
        name, readings, block.step, at, resettable=block.resettable
    ):
        await _async_gather_evidence(meter)
        agree = check.is_confirmed(name) or await _async_resolutions_agree(
            meter, name, block
        )
        if agree and check.rejected.get(name) is rejected:
            return None, check.accept_level(name)
    return reason, ()


async def _async_gather_evidence(meter: Meter) -> None:
    """Read what explains an implausible reading.

    That is another meter, which `Meter.async_verify_identity` raises, other current
    transformers, or a rollover.
    """
    await meter.async_verify_identity()
    if meter.transformer is not None:
        for _ in range(2):  # that agree
            await read_optional(meter.transformer)
            meter.compare_transformer(meter.transformer)
    if meter.overflows is not None:
        await read_optional(meter.overflows)
        meter.counters.overflows = overflow_counts(meter.overflows.values)


async def _async_resolutions_agree(meter: Meter, name: str, block: Counters) -> bool:
    """Return whether the meter has the same counters in its other resolution."""
    for kind in BLOCK_TYPES[name]:
        other = kind(meter.modbus_unit)
        if isinstance(other, Counters) and type(block) is not kind:
            await read_optional(other)
            if not same_counters(block, other):
                return False
    return True
