"""Decisions as functions on values: nothing here awaits, and time and chance are handed in."""
