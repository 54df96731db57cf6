"""The measurements behind `scripts/bench`: Python's standard library, wrk, and any registry by its URL."""
