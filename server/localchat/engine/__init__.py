"""Tokens in, tokens out: the loop that schedules, runs and postprocesses. No HTTP, no templates."""
