"""The models localchat knows by name, and what a model name on the command line or in a request means."""

from localchat.registry.catalog import Registry, load_registry
from localchat.registry.choice import Choice
from localchat.registry.spec import FROM_FILE, Measured, ModelSpec, Quant, TemplateFamily

__all__ = ["FROM_FILE", "Choice", "Measured", "ModelSpec", "Quant", "Registry", "TemplateFamily", "load_registry"]
