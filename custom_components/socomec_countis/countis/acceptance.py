"""Accept or reject the counters of a block, with evidence from other blocks."""

from typing import TYPE_CHECKING

from modbus_connection.model import read_optional

from .block import CounterBlock
from .plausibility import Correction, CounterReading, Moment
from .profile import BLOCK_TYPES
from .registers import CurrentTransformer, Overflows
from .relations import same_counters

if TYPE_CHECKING:
    from .meter import Meter


async def async_check_counters(
    meter: Meter,
    name: str,
    block: CounterBlock,
    at: Moment,
    *,
    is_last: bool,
    was_rejected_before: bool,
) -> tuple[str | None, tuple[Correction, ...]]:
    """Accept or reject the counters of a block that was just read.

    The request was sent at `at`. `is_last` is True if this was the last attempt of the
    caller to read the block. `was_rejected_before` is True if the block was already
    rejected before the current `Meter.async_read`.

    Returns a pair: the reason for a rejection (None if accepted), and the corrections
    (empty if rejected). A correction contains an accepted value and the reading that
    replaced it. Only a reading that is implausible even at full power causes a
    correction. Raises `AnotherMeterError` and `ModbusError`.

    Implausible readings that agree with each other are a level (see `plausibility`). If
    the user confirmed the level, the level is accepted with the next reading that
    agrees. An unconfirmed level is accepted once it has lasted for `ACCEPTED_AFTER`
    (after a restart `ACCEPTED_AFTER_RESTART`), unless it contradicts the counters in
    the other resolution (10 Wh or 1 kWh). The held counters of the level stay rejected
    (see `CounterCheck.extend_level`).
    """
    if block.implausible_reason:
        return block.implausible_reason, ()
    counter_check, counters = meter.counter_check, block.counters
    if name == "tariffs" and meter.relations.tariffs_contradict_total(
        counters,
        counter_check.accepted.get("energy_consumed"),
        at,
        counter_check.limits,
    ):
        return "the tariff counters do not add up to the total", ()
    reading = CounterReading(name, counters, block.step, at, block.resettable)
    if counter_check.check(reading):
        return None, ()
    rejected = counter_check.rejected[name]
    if not is_last:
        return f"implausible: {rejected}", ()
    if not was_rejected_before:
        # The checks of the next readings use the evidence that is gathered here.
        await _async_gather_evidence(meter)
    # While the evidence was read, a command may have read the block, and accepted its
    # counters. Then `rejected` is out of date.
    if counter_check.rejected.get(name) is rejected and counter_check.extend_level(
        reading
    ):
        # The evidence from the beginning of the level may be out of date.
        await _async_gather_evidence(meter)
        accept = counter_check.is_confirmed(name) or await _async_resolutions_agree(
            meter, name, block
        )
        if accept and counter_check.rejected.get(name) is rejected:
            return None, counter_check.accept_level(name)
    return f"implausible: {rejected}", ()


async def _async_gather_evidence(meter: Meter) -> None:
    """Read the blocks that may explain an implausible reading.

    The explanation may be another meter (raises `AnotherMeterError`), another current
    transformer, or a rollover.
    """
    await meter.async_verify_identity()
    transformer = meter.blocks.get("transformer")
    if isinstance(transformer, CurrentTransformer):
        for _ in range(2):  # `compare_transformer` needs two equal readings
            # After a refused read, do not compare the block, because it still contains
            # an earlier reading.
            if await read_optional(transformer) is not None:
                meter.compare_transformer(transformer)
    overflows = meter.blocks.get("overflows")
    if isinstance(overflows, Overflows):
        await read_optional(overflows)
        meter.counter_check.overflows = overflows.by_counter


async def _async_resolutions_agree(
    meter: Meter, name: str, block: CounterBlock
) -> bool:
    """Return whether `block` agrees with its counters in the other resolution.

    The counters of `block` were just read. Only the counters in the other resolution
    are read here. If `block` is split (`Block.split`), this read is split as well,
    because the same registers are reserved in both resolutions. Returns True if the
    meter does not support the other resolution.
    """
    for block_type in BLOCK_TYPES[name]:
        other = block_type(meter.modbus_unit, split=block.split)
        if isinstance(other, CounterBlock) and type(block) is not block_type:
            await read_optional(other)
            if not same_counters(block, other):
                return False
    return True
