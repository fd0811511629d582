"""Simulated meters on a line, and a client of the line."""

from collections.abc import AsyncGenerator

from modbus_connection import ModbusSerialParams
from modbus_connection.tmodbus import ModbusConnection, TmodbusUnit
import pytest

from simulator import Line, Meter
from tests.common import Clock

# In s; long, because some tests run in real time, perhaps on a busy machine.
TIMEOUT = 10.0


@pytest.fixture
def meter(clock: Clock) -> Meter:
    """Return a meter at unit ID 1 whose counters are all 0."""
    return Meter(true_time=clock)


@pytest.fixture
async def connection(line: Line) -> AsyncGenerator[ModbusConnection]:
    """Return a client of the line. The client sends at 38400 baud."""
    client = ModbusConnection(
        ModbusSerialParams(device=line.port, baudrate=38400), timeout=TIMEOUT
    )
    yield client
    await client.close()


@pytest.fixture
def unit(connection: ModbusConnection) -> TmodbusUnit:
    """Return the client's access to unit ID 1."""
    return connection.for_unit(1)


@pytest.fixture
def second_unit(connection: ModbusConnection) -> TmodbusUnit:
    """Return the client's access to unit ID 2."""
    return connection.for_unit(2)
