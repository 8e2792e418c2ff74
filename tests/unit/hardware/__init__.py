"""Makes `gguf_bytes` importable for the tests beside it."""
