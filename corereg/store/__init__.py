"""What is kept: bytes, rows, the journal."""
