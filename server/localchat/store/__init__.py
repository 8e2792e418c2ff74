"""What is kept between requests: responses and chat completions, each seen only by the key that made it."""

from localchat.store.objects import Found, Kind, NewObject, Page
from localchat.store.store import Store, open_store

__all__ = ["Found", "Kind", "NewObject", "Page", "Store", "open_store"]
