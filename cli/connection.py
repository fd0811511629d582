"""The connection to a bus: a serial port or a gateway."""

from argparse import Namespace
import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
import errno
import os
from socket import gaierror
from typing import Literal

from modbus_connection import (
    ModbusConnectionError,
    ModbusError,
    ModbusTimeoutError,
)
from modbus_connection.cli_helper import connect_from_args

from socomec_countis import (
    Bus,
    LineSettings,
    Meter,
    OpenBus,
    Profile,
    async_take_profile,
)

type Kind = Literal["port", "tcp", "rtu_over_tcp"]

# In s; the timeout of the client, to open a port and for each response. It has to be
# longer than the timeouts of the bus, so the value of `scan --timeout` is added to it.
CONNECTION_TIMEOUT = 5.0

# A port or gateway that was just closed by another program or by the previous command
# may be busy, so opening it is retried. Our choice: 0.5 s in total.
OPEN_ATTEMPTS = 3
OPEN_RETRY_DELAY = 0.25  # s
# Texts that replace those of the operating system, by error number.
REASONS = {errno.ENOTTY: "not a serial port"}
# In s; after `close`, the client closes the port in the background within this time.
# The event loop has to run until then. Otherwise the port stays open and locked.
CLOSE_SECONDS = 0.05

# Seconds until a response begins; None selects the default of the library for a serial
# port. A network adds its delay. A Modbus TCP gateway reports a lost response after its
# own timeout, for which the client has to wait.
RESPONSE_TIMEOUTS: dict[Kind, float | None] = {
    "port": None,
    "rtu_over_tcp": 0.5,
    "tcp": 1.5,
}
# baud; a socket has no line speed, but the client derives the silence between frames
# from this value. The silence is shortest at a high speed.
SOCKET_BAUDRATE = 115_200


class CannotOpenError(ModbusConnectionError):
    """The port or the gateway cannot be opened."""

    def __init__(self, error: BaseException) -> None:
        """Find the reason of the operating system in `error` and its causes."""
        self.number: int | None = None
        """The error number, or None if there is none, as for an unknown host."""
        # The text of an error of these classes only repeats the name of the port.
        repeats_port = isinstance(error, ModbusConnectionError | ModbusTimeoutError)
        reason = "" if repeats_port else str(error)
        cause: BaseException | None = error
        while cause is not None:
            match cause.args:
                case [_, text] if isinstance(cause, gaierror):
                    # The host is unknown. The number is not an errno, although on
                    # macOS an unrelated errno has the same value.
                    self.number = None
                    reason = str(text)
                case [int(number), text, *_]:
                    self.number = number
                    is_errno = number in errno.errorcode
                    reason = os.strerror(number) if is_errno else str(text)
                    reason = REASONS.get(number, reason)
            cause = cause.__cause__ or cause.__context__
        super().__init__(reason)


@dataclass(frozen=True)
class Connection:
    """The port or gateway of a bus, as the user entered it."""

    kind: Kind
    target: str
    """The path of the port, or the host of the gateway."""
    tcp_port: int = 0
    """0 for a serial port."""

    def __str__(self) -> str:
        """Return the port, or host and port of the gateway."""
        if self.is_serial:
            return self.target
        host = f"[{self.target}]" if ":" in self.target else self.target
        return f"{host}:{self.tcp_port}"

    @property
    def is_serial(self) -> bool:
        """Return whether the bus is on a serial port.

        The client sets the speed, parity and stop bits of a port, not of a gateway.
        """
        return self.kind == "port"

    @property
    def framing(self) -> Literal["rtu", "tcp"]:
        """Return the framing of the bus."""
        return "tcp" if self.kind == "tcp" else "rtu"

    def _arguments(
        self, settings: LineSettings, response_timeout: float | None
    ) -> Namespace:
        """Return the connection as `connect_from_args` expects it."""
        is_tcp = self.kind == "tcp"
        return Namespace(
            transport="tcp" if is_tcp else "serial",
            target=self.target if is_tcp or self.is_serial else f"socket://{self}",
            port=self.tcp_port if is_tcp else None,
            framer=None,
            timeout=CONNECTION_TIMEOUT + (response_timeout or 0),
            baudrate=settings.baudrate if self.is_serial else SOCKET_BAUDRATE,
            bytesize=8,
            parity=settings.parity if self.is_serial else "N",
            stopbits=settings.stopbits if self.is_serial else 1,
        )

    @asynccontextmanager
    async def open(
        self, settings: LineSettings, response_timeout: float | None = None
    ) -> AsyncIterator[OpenBus]:
        """Open the bus. Raises `CannotOpenError`.

        `response_timeout` is in s. The default depends on the kind of connection.
        """
        for attempts_left in reversed(range(OPEN_ATTEMPTS)):
            try:
                arguments = self._arguments(settings, response_timeout)
                connection = await connect_from_args(arguments)
                break
            except Exception as err:  # a client may raise errors of any class
                error = CannotOpenError(err)
                # A retry does not help if the port is missing or rejects a setting.
                if not attempts_left or error.number in {errno.ENOENT, errno.EINVAL}:
                    raise error from err
            await asyncio.sleep(OPEN_RETRY_DELAY)
        bus = Bus(
            baudrate=settings.baudrate,
            framing=self.framing,
            response_timeout=response_timeout or RESPONSE_TIMEOUTS[self.kind],
        )
        try:
            yield OpenBus(
                bus, lambda unit_id: nullcontext(connection.for_unit(unit_id))
            )
        finally:
            await bus.async_settle()
            with suppress(ModbusError, OSError):
                await connection.close()
            await asyncio.sleep(CLOSE_SECONDS)

    async def async_usable_settings(
        self, settings: Sequence[LineSettings]
    ) -> list[LineSettings]:
        """Return the settings whose parity and stop bits the port accepts.

        For a gateway, return only the first. Raises `CannotOpenError` if the port
        accepts none of the settings, or cannot be opened for another reason.
        """
        if not self.is_serial:
            return list(settings[:1])  # the client cannot change a gateway's settings
        usable: list[LineSettings] = []
        errors: dict[tuple[str, int], CannotOpenError | None] = {}
        for each in settings:
            format_ = (each.parity, each.stopbits)
            if format_ not in errors:
                errors[format_] = await self._async_settings_error(each)
            if errors[format_] is None:
                usable.append(each)
        for error in errors.values():
            if error is not None and not usable:
                raise error
        return usable

    async def _async_settings_error(
        self, settings: LineSettings
    ) -> CannotOpenError | None:
        """Return the error if the port rejects these settings, otherwise None.

        The operating system reports an unsupported setting only if no other setting
        changes at the same time. The first opening may change other settings, too. So
        the port is opened twice. Raises `CannotOpenError` if the port cannot be opened
        for another reason.
        """
        try:
            for _ in range(2):
                async with self.open(settings):
                    pass
        except CannotOpenError as err:
            if err.number != errno.EINVAL:
                raise
            return err
        return None


async def async_find_meter(
    opened: OpenBus, unit_id: int, profile: Profile | None = None
) -> Meter:
    """Return the meter at a unit ID. Without `profile`, take it from the meter.

    Raises the errors of `async_take_profile`.
    """
    async with opened.client(unit_id) as client:
        if profile is None:
            # The meter may respond slowly.
            unit = opened.bus.unit(unit_id, client, slow=True)
            profile = await async_take_profile(unit)
        return Meter(opened.bus, unit_id, client, profile)
