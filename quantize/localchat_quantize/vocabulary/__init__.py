"""Tokenizer files into the vocabulary of a GGUF file."""

from localchat_quantize.vocabulary.read import read_vocabulary
from localchat_quantize.vocabulary.vocabulary import TokenType, Vocabulary

__all__ = ["TokenType", "Vocabulary", "read_vocabulary"]
