"""Messages in, deltas out; no HTTP."""
