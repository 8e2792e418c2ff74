"""The whole program with the embedded model, over real HTTP."""
