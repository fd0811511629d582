"""Compares the statistics of Home Assistant with the meters after many mishaps."""
