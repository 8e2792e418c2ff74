"""From a registry choice to a checked GGUF file on this machine."""
