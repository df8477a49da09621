"""Texts become batches of tokens that keep their places, whatever is padded or cut; near lengths share a batch."""

import os

import pytest
import torch
from torch import Tensor
from wordpiece import minilm, wordpiece

from xaieval.datasets.text_file import TextFile
from xaieval.tokens import batches_by_length, tokenize

DATA = os.environ.get("XAIEVAL_TEST_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="XAIEVAL_TEST_DATA is unset")
TEXTS = ["The film is good.", "unbelievably bad, and so long!", "it was"]


def pieces(tokens, row, part=0):
    """The characters of each token of a text."""
    text = tokens.texts[row] if isinstance(tokens.texts[row], str) else tokens.texts[row][part]
    return [text[start:end] for start, end in tokens.offsets[row, tokens.part[row] == part].tolist()]


@pytest.fixture(scope="module")
def small():
    return wordpiece()


# -- known answers ---------------------------------------------------------------------------------------------------


def test_tokens_of_a_batch(small):
    tokens = tokenize(TEXTS, small, 20)
    assert tokens.ids.shape == (3, 11)
    assert pieces(tokens, 0) == ["The", "film", "is", "good", "."]
    assert pieces(tokens, 1) == ["un", "believ", "ably", "bad", ",", "and", "so", "long", "!"]
    assert small.convert_ids_to_tokens(tokens.ids[2].tolist()) == ["[CLS]", "it", "was", "[SEP]"] + ["[PAD]"] * 7
    assert tokens.attended.sum(1).tolist() == [7, 11, 4]
    assert tokens.present.sum(1).tolist() == [5, 9, 2]
    assert tokens.special.int().tolist()[2] == [1, 0, 0, 1] + [0] * 7
    assert tokens.part.tolist()[2] == [-1, 0, 0, -1] + [-1] * 7
    assert tokens.words().tolist()[1] == [-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, -1]
    assert tokens.lost == (0, 0, 0)
    assert tokens.said(["a", "b", "c"]) == ()


def test_padding_left_moves_everything(small):
    right, left = (tokenize(TEXTS, small, 20, side) for side in ("right", "left"))
    for name in ("ids", "offsets", "attended", "special", "part", "types"):
        for row, width in enumerate(right.attended.sum(1).tolist()):
            there, here = (getattr(tokens, name)[row] for tokens in (right, left))
            assert torch.equal(there[:width], here[-width:])
    assert left.attended[2].int().tolist() == [0] * 7 + [1] * 4


def test_padding_changes_no_token(small):
    together = tokenize(TEXTS, small, 20)
    for row, text in enumerate(TEXTS):
        alone = tokenize([text], small, 20)
        assert torch.equal(alone.ids[0], together.ids[row, : alone.ids.shape[1]])
        assert alone.attended.all()


def test_the_rationale_of_a_batch(small):
    tokens = tokenize(TEXTS, small, 20)
    spans = [((12, 16),), ((0, 5), (13, 16)), ()]
    marked = tokens.rationale(spans)
    assert marked[0].nonzero()[:, 0].tolist() == [4]
    assert marked[1].nonzero()[:, 0].tolist() == [1, 2, 4]  # "un", "believ" straddles the end, "bad"
    assert not marked[2].any()
    assert not (marked & ~tokens.present).any()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("good 😀 film", ["good", "😀", "film"]),
        ("good\r\nfilm", ["good", "film"]),
        (
            "cafe\u0301s good",
            ["caf", "e", "s", "good"],
        ),  # the tokenizer drops the accent, and what follows keeps its place
        ("cafés good", ["caf", "é", "s", "good"]),
        ("我喜film", ["我", "喜", "film"]),
        ("סרט טוב good", ["סרט", "טוב", "good"]),
        ("don't", ["don", "'", "t"]),
        ("a [MASK] film", ["a", "[MASK]", "film"]),
    ],
)
def test_offsets_are_of_the_text_as_it_came(small, text, expected):
    tokens = tokenize([text], small, 20)
    assert pieces(tokens, 0) == expected
    assert tokens.present.sum() == len(expected)  # also what looks like a special token but stands in the text


def test_pairs(small):
    pairs = [("the film is good", "it was not bad"), ("it was", "good")]
    tokens = tokenize(pairs, small, 20)
    assert tokens.part.tolist()[0] == [-1, 0, 0, 0, 0, -1, 1, 1, 1, 1, -1]
    assert tokens.types.tolist()[0] == [0] * 6 + [1] * 5
    assert (pieces(tokens, 0), pieces(tokens, 0, 1)) == (["the", "film", "is", "good"], ["it", "was", "not", "bad"])
    assert tokens.words().tolist() == [
        [-1, 0, 1, 2, 3, -1, 4, 5, 6, 7, -1],
        [-1, 0, 1, -1, 2, -1] + [-1] * 5,
    ]
    marked = tokens.rationale([((0, 3),), ((0, 2),)])  # characters 0 to 3 of the first text, not of the second
    assert marked.nonzero().tolist() == [[0, 1], [1, 1]]


def test_a_decoder_has_neither_special_tokens_nor_a_pad_token():
    tokens = tokenize(TEXTS, wordpiece(pad=False, pairs=False), 20, "left")
    assert not tokens.special.any()
    assert torch.equal(tokens.present, tokens.attended)
    assert not tokens.ids[~tokens.attended].any()


def test_one_token_only(small):
    tokens = tokenize(["good"], small, 3)
    assert (pieces(tokens, 0), tokens.lost) == (["good"], (0,))


# -- truncation ------------------------------------------------------------------------------------------------------


def test_what_is_cut_is_said(small):
    text = " ".join(["the film is good and so long"] * 1500)
    tokens = tokenize(["it was", text], small, 16)
    assert tokens.ids.shape == (2, 16)
    assert tokens.lost == (0, 10_500 - 14)
    assert int(tokens.ids[1, -1]) == small.convert_tokens_to_ids("[SEP]")
    spans = ((0, 3), (55, 60), (56, 57), (40_000, 40_003))
    assert tokens.offsets[1].max() == 57
    assert tokens.beyond(1, spans) == ((55, 60), (40_000, 40_003))
    assert tokens.beyond(0, ((0, 2),)) == ()
    assert tokens.rationale([(), spans])[1].nonzero()[:, 0].tolist() == [1, 14]
    said = "b: 10486 of 10500 tokens were cut, characters 0 to 57 are left"
    assert tokens.said("ab") == (said,)
    assert tokens.said("ab", [(), spans]) == (f"{said}; 2 of 4 spans of its rationale reach beyond",)


def test_a_tokenizer_that_cuts_at_the_left():
    tokens = tokenize(["the film is good and so long"], wordpiece(truncation_side="left"), 4)
    assert pieces(tokens, 0) == ["so", "long"]
    assert tokens.beyond(0, ((4, 8), (21, 23))) == ((4, 8),)
    assert tokens.said("a") == ("a: 5 of 7 tokens were cut, characters 21 to 28 are left",)


def test_a_cut_pair(small):
    tokens = tokenize([("the film is good and so long", "it was")], small, 8)
    assert (pieces(tokens, 0), pieces(tokens, 0, 1)) == (["the", "film", "is"], ["it", "was"])
    assert tokens.lost == (4,)


def test_exactly_as_long_as_allowed(small):
    assert tokenize(["the film is good"], small, 6).lost == (0,)
    assert tokenize(["the film is good"], small, 5).lost == (1,)


def test_the_settings_of_the_tokenizers_own_file_do_not_matter(small):
    other = wordpiece()
    other.backend_tokenizer.enable_truncation(3)
    other.backend_tokenizer.enable_padding(length=40)
    for name in ("ids", "offsets", "attended"):
        assert torch.equal(getattr(tokenize(TEXTS, other, 20), name), getattr(tokenize(TEXTS, small, 20), name))


# -- bad input -------------------------------------------------------------------------------------------------------


class Slow:
    is_fast = False


@pytest.mark.parametrize(
    ("texts", "options", "words"),
    [
        ([], (20,), "expected at least one text, got none"),
        (["a", ("b", "c")], (20,), "expected single texts or pairs, got both in one batch"),
        (["a"], (20, "middle"), "expected padding_side left or right, got 'middle'"),
        (["a"], (2,), "expected longest to be at least 3, 2 special tokens and one of each text, got 2"),
        ([("a", "b")], (4,), "expected longest to be at least 5, 3 special tokens and one of each text, got 4"),
        (["good", "\u200b"], (20,), r"the text '\\u200b' has no token; expected at least one word"),
        (["good", ""], (20,), "the text '' has no token"),
    ],
)
def test_bad_input(small, texts, options, words):
    with pytest.raises(ValueError, match=words):
        tokenize(texts, small, *options)


def test_a_slow_tokenizer():
    with pytest.raises(ValueError, match=r"Slow gives no offsets, .*expected a fast tokenizer, use_fast=True"):
        tokenize(["a"], Slow(), 20)  # type: ignore[arg-type]


# -- batches ---------------------------------------------------------------------------------------------------------


def padding(lengths, batches):
    """Share of all places that are padding."""
    places = sum(len(batch) * max(lengths[row] for row in batch) for batch in batches)
    return 1 - sum(lengths) / places


def test_batches_hold_every_text_once():
    lengths = [5, 1, 3, 1, 9, 2, 5]
    assert batches_by_length(lengths, 3) == ((1, 3, 5), (2, 0, 6), (4,))
    assert batches_by_length([], 3) == ()
    with pytest.raises(ValueError, match="a size of at least 1, got 0"):
        batches_by_length(lengths, 0)


@needs_data
def test_padding_on_sst2_by_white_space():
    lengths = [len(sample.text.split()) for sample in TextFile(f"{DATA}/sst2/dev.tsv").texts()]
    assert padding(lengths, batches_by_length(lengths, 32)) < 0.05
    shuffled = torch.randperm(872, generator=torch.Generator().manual_seed(0)).split(32)
    assert padding(lengths, [batch.tolist() for batch in shuffled]) > 0.4


# -- MiniLM's own tokenizer ------------------------------------------------------------------------------------------


@needs_data
def test_minilm_on_sst2():
    tokenizer, texts = minilm(), [sample.text for sample in TextFile(f"{DATA}/sst2/dev.tsv").texts()]
    tokens = tokenize(texts, tokenizer, 512)
    lengths = tokens.attended.sum(1).tolist()
    batches = batches_by_length(lengths, 32)
    assert padding(lengths, batches) < 0.05
    assert tokens.lost == (0,) * 872
    by_batch = [tokenize([texts[row] for row in batch], tokenizer, 512) for batch in batches]
    attended = sum(int(batch.attended.sum()) for batch in by_batch)
    assert attended == sum(lengths)
    assert 1 - attended / sum(batch.ids.numel() for batch in by_batch) == padding(lengths, batches)
    words = tokens.words()
    for row, text in enumerate(texts):
        assert pieces(tokens, row)
        # SST-2 is lower case with spaces between words, so a word's tokens spell it
        spelled = spell(tokens.offsets[row], words[row], text)
        assert "".join(spelled) == "".join(text.split())


def spell(offsets: Tensor, words: Tensor, text: str) -> list[str]:
    """The characters from the first to the last token of each word."""
    spelled = []
    for word in range(int(words.max()) + 1):
        own = offsets[words == word]
        spelled.append(text[int(own[0, 0]) : int(own[-1, 1])])
    return spelled


@needs_data
def test_minilm_marks_the_evidence_of_movie_reviews():
    """Tokens within the evidence, put together, are the evidence: no character more, none less."""
    samples = TextFile(f"{DATA}/rationales/movie_reviews.jsonl").texts()
    tokens = tokenize([sample.text for sample in samples], minilm(), 512)
    marked = tokens.rationale([sample.rationale or () for sample in samples])
    for row, sample in enumerate(samples):
        ((start, end),) = sample.rationale or ()
        places = tokens.offsets[row, marked[row]]
        assert (int(places.min()), int(places.max())) == (start, end)
        spelled = "".join(sample.text[first:last] for first, last in places.tolist())
        assert spelled == "".join(sample.text[start:end].split())


def test_minilm_never_misaligns_a_token():
    texts = ["naïve cafe\u0301 😀👍🏽 film!", "我喜欢 電影\r\nдядя טוב", "don't [SEP] wo n't"]
    tokens = tokenize(texts, minilm(), 64)
    for row, text in enumerate(texts):
        assert "".join(pieces(tokens, row)) == "".join(text.replace("\u0301", "").split())  # dropped by the tokenizer
        assert tokens.words()[row, tokens.present[row]].diff().ge(0).all()
