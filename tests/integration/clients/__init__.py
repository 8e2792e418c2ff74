"""Clients that people use, each against a real server."""
