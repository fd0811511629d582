"""A command line for COUNTIS meters, without Home Assistant."""
