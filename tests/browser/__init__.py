"""Tests of Home Assistant and its frontend in a real browser."""
