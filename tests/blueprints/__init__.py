"""Tests of the blueprints, loaded and run by Home Assistant."""
