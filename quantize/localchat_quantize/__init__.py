"""Makes GGUF files: for now, one quantization of a GGUF into another."""
