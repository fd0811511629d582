"""Runs Home Assistant in a process of its own, and uses it through its API."""

from .client import Entity, HomeAssistant
from .meters import MeterInput, async_add_meter
from .process import free_port, run_program
from .start import async_wait_until_running, run_home_assistant

__all__ = [
    "Entity",
    "HomeAssistant",
    "MeterInput",
    "async_add_meter",
    "async_wait_until_running",
    "free_port",
    "run_home_assistant",
    "run_program",
]
