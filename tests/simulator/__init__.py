"""Tests of the simulated meter and its line."""
