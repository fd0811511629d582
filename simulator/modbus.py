"""Modbus RTU frames, and the execution of requests by the simulated meters."""

from collections.abc import Mapping
import struct

from pymodbus.constants import ExcCodes
from pymodbus.framer import FramerRTU
from pymodbus.pdu import DecodePDU, ExceptionResponse, ModbusPDU
from pymodbus.pdu.register_message import (
    ReadHoldingRegistersRequest,
    ReadHoldingRegistersResponse,
    WriteMultipleRegistersRequest,
    WriteMultipleRegistersResponse,
    WriteSingleRegisterRequest,
    WriteSingleRegisterResponse,
)

from .meter import Meter

BROADCAST = 0  # a request to this unit ID addresses all meters
EXCEPTION_FLAG = 0x80  # this bit of the function code marks an exception response
SHORTEST_FRAME = 4  # bytes: unit ID (1), function code (1) and CRC (2)

DECODER = DecodePDU(is_server=True)
FRAMER = FramerRTU(DECODER)


def with_crc(content: bytes) -> bytes:
    """Return a frame: `content` (unit ID, function code and data) and its CRC."""
    # In a frame, the low byte of the CRC comes first. `compute_CRC` returns the CRC
    # with its two bytes swapped, so the big-endian `to_bytes` gives this order.
    return content + FramerRTU.compute_CRC(content).to_bytes(2)


def has_valid_crc(frame: bytes) -> bool:
    """Return whether the CRC of a frame matches its content."""
    return len(frame) >= SHORTEST_FRAME and frame == with_crc(frame[:-2])


def respond(meters: Mapping[int, Meter], frame: bytes) -> bytes:
    """Execute a request on the addressed meter, and return the response frame.

    `meters` maps each unit ID to its meter. A broadcast is executed on all online
    meters. Return b"" after a broadcast, or if the CRC is not valid. Also return b"" if
    the addressed meter is offline or not in `meters`.
    """
    if not has_valid_crc(frame):
        return b""
    unit_id, request = frame[0], frame[1:-2]
    if unit_id == BROADCAST:
        for meter in meters.values():
            if not meter.offline:
                _execute(meter, request)
        return b""
    addressed = meters.get(unit_id)
    if addressed is None or addressed.offline:
        return b""
    response = _execute(addressed, request)
    response.dev_id = unit_id
    return FRAMER.buildFrame(response)


def _execute(meter: Meter, request: bytes) -> ModbusPDU:
    """Execute a request (a frame without unit ID and CRC), and return the response."""
    function = request[0]
    result = meter.refusal(function) or _response_or_exception(meter, request)
    if isinstance(result, ExcCodes):
        return ExceptionResponse(function, result)
    return result


def _response_or_exception(meter: Meter, request: bytes) -> ModbusPDU | ExcCodes:
    """Execute a request with a supported function code.

    Return an exception code if the meter refuses the request, or if the request is
    invalid.
    """
    pdu = _decoded(request)
    match pdu:
        case ReadHoldingRegistersRequest():
            words = meter.read(pdu.address, pdu.count)
            if isinstance(words, ExcCodes):
                return words
            return ReadHoldingRegistersResponse(registers=words)
        case WriteSingleRegisterRequest():
            return meter.write(pdu.address, pdu.registers) or (
                WriteSingleRegisterResponse(
                    address=pdu.address, registers=pdu.registers
                )
            )
        # A write of 0 registers does not match, so its response is exception 3.
        case WriteMultipleRegistersRequest() if pdu.registers:
            return meter.write(pdu.address, pdu.registers) or (
                WriteMultipleRegistersResponse(address=pdu.address, count=pdu.count)
            )
    return ExcCodes.ILLEGAL_VALUE


def _decoded(request: bytes) -> ModbusPDU | None:
    """Decode a request, or return None if it is invalid.

    A request is invalid if its length or byte count is wrong, or if the number of
    registers to read is not 1 to 125. A write of 0 registers is decoded.
    """
    try:
        pdu = DECODER.decode(request)
        # The decoder ignores additional bytes, and only `encode` checks the count of a
        # read. So encode the request again, and compare.
        if pdu is not None and pdu.encode() == request[1:]:
            return pdu
    except ValueError, struct.error:
        pass
    return None
