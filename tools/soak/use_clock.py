"""Lets Home Assistant take the time of day from a simulated clock."""

from datetime import UTC, datetime, tzinfo

from homeassistant.util import dt as dt_util

from .clock import SimulatedClock


def use_clock(clock: SimulatedClock) -> None:
    """Replace Home Assistant's `utcnow` and `now` by functions that use the clock.

    Call this before other modules import these functions.
    """

    def utcnow() -> datetime:
        return datetime.fromtimestamp(clock.time(), UTC)

    def now(time_zone: tzinfo | None = None) -> datetime:
        zone = time_zone or dt_util.get_default_time_zone()
        return datetime.fromtimestamp(clock.time(), zone)

    dt_util.utcnow = utcnow  # type: ignore[assignment]
    dt_util.now = now
