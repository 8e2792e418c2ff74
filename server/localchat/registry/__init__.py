"""The models localchat knows by name, and what a model name on the command line or in a request means."""

from localchat.registry.catalog import Registry, load_registry
from localchat.registry.choice import Choice
from localchat.registry.spec import ModelSpec, Quant

__all__ = ["Choice", "ModelSpec", "Quant", "Registry", "load_registry"]
