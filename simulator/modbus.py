"""Modbus RTU frames, and the execution of requests on the meters."""

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
SHORTEST_FRAME = 4  # bytes: unit ID, function code and CRC

DECODER = DecodePDU(is_server=True)
FRAMER = FramerRTU(DECODER)


def with_crc(content: bytes) -> bytes:
    """Return a frame: its content and the CRC."""
    return content + FramerRTU.compute_CRC(content).to_bytes(2)


def has_valid_crc(frame: bytes) -> bool:
    """Return whether the CRC of a frame matches its content."""
    return len(frame) >= SHORTEST_FRAME and frame == with_crc(frame[:-2])


def respond(meters: Mapping[int, Meter], frame: bytes) -> bytes:
    """Execute a request on the meters and return the response frame.

    `meters` maps each unit ID to its meter. No meter responds to a damaged frame, to a
    broadcast, or to the unit ID of an offline or missing meter. In these cases, return
    b"".
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
    result = meter.refusal(function) or _result(meter, request)
    if isinstance(result, ExcCodes):
        return ExceptionResponse(function, result)
    return result


def _result(meter: Meter, request: bytes) -> ModbusPDU | ExcCodes:
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
        case WriteMultipleRegistersRequest() if pdu.registers:
            return meter.write(pdu.address, pdu.registers) or (
                WriteMultipleRegistersResponse(address=pdu.address, count=pdu.count)
            )
    return ExcCodes.ILLEGAL_VALUE


def _decoded(request: bytes) -> ModbusPDU | None:
    """Decode a request. Return None if its length or number of registers is wrong."""
    try:
        pdu = DECODER.decode(request)
        if pdu is not None and pdu.encode() == request[1:]:
            return pdu
    except ValueError, struct.error:
        pass
    return None
