"""Shared building blocks of the systems: one idea a file."""
