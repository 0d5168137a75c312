"""Encoders: one column of a table to entries of a model row, and back, with nothing lost on the way."""
