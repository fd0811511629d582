"""The command line `countis`: COUNTIS meters without Home Assistant."""
