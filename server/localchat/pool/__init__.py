"""Which workers run: models are loaded when they are asked for, and end when others need their memory."""

from localchat.pool.entry import Entry, State
from localchat.pool.launcher import Launcher
from localchat.pool.pool import ModelPool

__all__ = ["Entry", "Launcher", "ModelPool", "State"]
