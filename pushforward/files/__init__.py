"""Files that are written whole or not at all, and read only if they are what was written."""
