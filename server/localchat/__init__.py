"""localchat: open chat models on your own hardware, behind the OpenAI API."""

__version__ = "0.1.0"
