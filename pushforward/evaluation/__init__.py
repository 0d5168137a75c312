"""Evaluation: metrics of samples beside their floors, as plain data; `pushforward.report` shows them."""
