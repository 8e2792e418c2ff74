"""The OpenAI-compatible HTTP API; the only package that imports fastapi and sse-starlette."""
