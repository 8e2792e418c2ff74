"""Tiny checkpoints as Hugging Face's files have them: real model classes, random weights, trained tokenizers."""
