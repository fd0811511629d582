"""Releases a version of the integration."""
