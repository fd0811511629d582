"""Modbus frames that the simulated meters receive."""

import pytest

from simulator import Meter
from simulator.modbus import respond, with_crc


# Frames without unit ID and CRC. Register c354 (50004) contains 100, and register 9e21
# (40481) sets the tariff. Exception 03 is an illegal value, 01 an illegal function.
@pytest.mark.parametrize(
    ("request_frame", "response"),
    [
        ("03 c354 0001", "03 02 0064"),
        ("03 c350 0000", "83 03"),  # 0 registers
        ("03 c350 007e", "83 03"),  # 126 registers, Modbus allows 125
        ("03 c354 0001 00", "83 03"),  # too long
        ("03 c354 00", "83 03"),  # too short, as is the next
        ("03", "83 03"),
        ("06 9e21 0002", "06 9e21 0002"),
        ("06 9e21 0002 00", "86 03"),  # too long
        ("10 9e21 0001 02 0002", "10 9e21 0001"),
        ("10 9e21 0001", "90 03"),  # too short, as is the next
        ("10 9e21 0001 02 00", "90 03"),
        ("10 9e21 0001 04 0002", "90 03"),  # wrong byte count
        ("10 9e21 0000 00", "90 03"),  # 0 registers
        ("04 c354 0001", "84 01"),
        ("41 10ff ffff", "c1 01"),
    ],
)
def test_request_has_the_expected_response(request_frame: str, response: str) -> None:
    meters = {1: Meter()}
    request = with_crc(b"\x01" + bytes.fromhex(request_frame))
    assert respond(meters, request) == with_crc(b"\x01" + bytes.fromhex(response))


def test_crc_is_sent_low_byte_first() -> None:
    # The standard check value of CRC-16/MODBUS: 0x4B37 for these nine characters.
    assert with_crc(b"123456789") == b"123456789\x37\x4b"


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xff\xff",
        b"\x01\x03\x00",
        with_crc(bytes.fromhex("01 03 c354 0001"))[:-1] + b"\x00",
        with_crc(bytes.fromhex("02 03 c354 0001")),
        with_crc(bytes.fromhex("03 03 c354 0001")),
        with_crc(bytes.fromhex("00 03 c354 0001")),
        with_crc(bytes.fromhex("00 06 9e21 0002")),
    ],
    ids=[
        *("empty", "CRC of nothing", "too short", "wrong CRC"),
        *("no meter", "offline meter", "broadcast read", "broadcast write"),
    ],
)
def test_invalid_frame_and_broadcast_and_offline_meter_have_no_response(
    frame: bytes,
) -> None:
    meters = {1: Meter(), 3: Meter(unit_id=3, offline=True)}
    assert respond(meters, frame) == b""


def test_broadcast_is_executed_by_online_meters() -> None:
    meters = {1: Meter(), 3: Meter(unit_id=3, offline=True)}
    respond(meters, with_crc(bytes.fromhex("00 06 9e21 0002")))
    assert [meter.counters.tariff for meter in meters.values()] == [2, 1]
