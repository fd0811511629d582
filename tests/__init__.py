"""Tests of the Socomec COUNTIS integration."""
