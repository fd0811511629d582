"""Measures polling on a simulated bus, with the library and with Home Assistant."""
