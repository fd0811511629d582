"""Draws the pictures of the integration."""
