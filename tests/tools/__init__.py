"""Tests of the tools for the development of this project."""
