"""Tools for the development of this project."""
