"""How fast a model runs on this machine, and which settings make it fastest."""
