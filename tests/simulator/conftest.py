"""Simulated meters on a line, and a client that reads them."""

from collections.abc import AsyncGenerator

from modbus_connection import ModbusSerialParams
from modbus_connection.tmodbus import ModbusConnection, TmodbusUnit
import pytest

from simulator import Line, Meter
from tests.common import Clock

# Long, as an answer that comes late by the machine is not what is tested.
TIMEOUT = 0.6


@pytest.fixture
def _custom_integrations() -> None:
    """Do without Home Assistant."""


@pytest.fixture
def meter(clock: Clock) -> Meter:
    """Return a meter at address 1 that has counted nothing."""
    return Meter(clock=clock)


@pytest.fixture
async def line(meter: Meter, second_meter: Meter) -> AsyncGenerator[Line]:
    """Run a fast line with both meters in the test's own loop."""
    async with Line(
        [meter, second_meter], baudrate=921_600, answer_delay=0.001
    ) as running:
        yield running


@pytest.fixture
async def connection(line: Line) -> AsyncGenerator[ModbusConnection]:
    """Return a client's end of the line."""
    client = ModbusConnection(
        ModbusSerialParams(device=line.port, baudrate=38400), timeout=TIMEOUT
    )
    yield client
    await client.close()


@pytest.fixture
def unit(connection: ModbusConnection) -> TmodbusUnit:
    """Return the meter at address 1 as a client sees it."""
    return connection.for_unit(1)


@pytest.fixture
def second_unit(connection: ModbusConnection) -> TmodbusUnit:
    """Return the meter at address 2 as a client sees it."""
    return connection.for_unit(2)
