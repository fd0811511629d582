"""Tests in a real browser, against Home Assistant's real frontend."""
