"""The registers that identify a meter and its communication board."""

from .table import COMMUNICATION_BOARD, IDENTIFICATION, text, unsigned, wide_text


def identification(model: str, serial: tuple[int, int, int]) -> dict[int, int]:
    """Return the registers of block 50000.

    `serial` contains the registers 50008 (year and week), 50009 (site and line) and
    50010 (order number). If `model` is empty, the vendor is empty too, as in early
    firmware.
    """
    year_and_week, site_and_line, order = serial
    return {
        **wide_text(IDENTIFICATION, "SOCO"),
        50004: 100,  # product order code: COUNTIS
        50005: 33,  # product
        50006: 200,  # edition of the table
        50007: 102,  # version of the software: 1.02
        50008: year_and_week,
        50009: site_and_line,
        50010: order,
        **unsigned(50011, 0),  # reserved part of the serial number
        **dict.fromkeys(range(50013, 50017), 0),  # "code" in the table
        50018: 1,  # major version of the product
        50019: 2,  # minor version of the product
        **text(50030, "880100", 4),  # "VLO" in the table
        **text(50042, "SOCOMEC" if model else "", 8),
        **text(50050, model, 8),
        **text(50058, model, 8),
    }


def communication_board() -> dict[int, int]:
    """Return the registers of block 38912: version 1.1.1.1, built on 17 August 2017."""
    version = range(COMMUNICATION_BOARD, COMMUNICATION_BOARD + 4)
    return {
        **dict.fromkeys(version, 1),
        38916: 17,
        38917: 8,
        38918: 2017,
        **text(38919, "880110", 4),
    }
