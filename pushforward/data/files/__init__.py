"""Files: bytes on disk or behind a URL to rows in user units, and back to a file."""
