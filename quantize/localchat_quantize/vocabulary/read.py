"""Which of the tokenizer files of a checkpoint tells most."""

from __future__ import annotations

from localchat.errors import WeightsError
from localchat_quantize.checkpoint import Checkpoint
from localchat_quantize.vocabulary.bpe import is_byte_level, read_bpe
from localchat_quantize.vocabulary.files import TokenizerFiles
from localchat_quantize.vocabulary.sentencepiece import read_fast_sentencepiece, read_sentencepiece
from localchat_quantize.vocabulary.vocabulary import Vocabulary
from localchat_quantize.vocabulary.wordpiece import read_wordpiece

_SENTENCEPIECE = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")


def read_vocabulary(checkpoint: Checkpoint) -> Vocabulary:
    """The vocabulary of a checkpoint, as its own tokenizer has it. Raises WeightsError, ConfigError."""
    files = TokenizerFiles(checkpoint)
    try:
        return _read(files)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise WeightsError(f"the tokenizer files in {files.folder} are broken ({error!r}); fetch them again") from error


def _read(files: TokenizerFiles) -> Vocabulary:
    trained = files.path(*_SENTENCEPIECE)
    kind = files.fast["model"].get("type", "BPE") if files.fast else None
    if is_byte_level(files.fast):
        return read_bpe(files)
    if trained is not None:
        return read_sentencepiece(files, trained)
    if kind == "Unigram" or kind == "BPE":
        return read_fast_sentencepiece(files)
    if kind == "WordPiece" or (kind is None and files.path("vocab.txt")):
        return read_wordpiece(files)
    if kind is None and files.path("vocab.json", "merges.txt"):
        return read_bpe(files)
    if kind is not None:
        raise WeightsError(f"{files.folder / 'tokenizer.json'} is of the kind {kind}, which llama.cpp does not have")
    raise WeightsError(f"{files.folder} has no tokenizer: no tokenizer.json, tokenizer.model, vocab.txt or vocab.json")
