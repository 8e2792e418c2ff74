"""The process boundary: messages, the worker's main, and the client that the API process holds."""
