"""What holds in every row of a table: found, or said; kept in every sample."""
