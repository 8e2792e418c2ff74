"""Checks of the container files, as far as they go without a container engine."""
