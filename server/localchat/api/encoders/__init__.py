"""Deltas into OpenAI's JSON: frames for a stream, or the fold of the same deltas for one reply."""
