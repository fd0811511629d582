"""What a meter and its communication board are, as the table shows it.

Blocks 50000 and 38912.
"""

from .table import text, unsigned, wide_text


def identification(model: str, serial: tuple[int, int, int]) -> dict[int, int]:
    """Return the registers of block 50000."""
    year_week, site_line, order = serial
    return {
        **wide_text(50000, "SOCO"),
        50004: 100,
        50005: 33,
        50006: 200,
        50007: 102,
        50008: year_week,
        50009: site_line,
        50010: order,
        **unsigned(50011, 0),
        **dict.fromkeys(range(50013, 50017), 0),
        50018: 1,
        50019: 2,
        **text(50030, "880100", 4),
        **text(50042, "SOCOMEC" if model else "", 8),
        **text(50050, model, 8),
        **text(50058, model, 8),
    }


def communication_board() -> dict[int, int]:
    """Return the registers of block 38912."""
    return {
        **dict.fromkeys(range(38912, 38916), 1),
        38916: 17,
        38917: 8,
        38918: 2017,
        **text(38919, "880110", 4),
    }
