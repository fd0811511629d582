"""Mutation testing: change the code of the library, and check that a test fails."""
