"""Home Assistant with COUNTIS meters, set up and running."""
