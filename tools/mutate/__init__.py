"""Mutation testing: whether a test fails if the code of the library is changed."""
