"""Spans and words become tokens by offsets alone, whatever the characters are."""

import pytest
import torch

from xaieval.offsets import tokens_of, words_of


def at(*places):
    return torch.tensor(places).reshape(-1, 2)


def found(spans, *places):
    return tokens_of(spans, at(*places)).int().tolist()


# -- spans -----------------------------------------------------------------------------------------------------------


def test_a_token_belongs_to_a_span_of_which_it_has_a_character():
    tokens = ((0, 0), (0, 3), (4, 7), (7, 10), (0, 0))
    assert found([(4, 7)], *tokens) == [0, 0, 1, 0, 0]
    assert found([(2, 5)], *tokens) == [0, 1, 1, 0, 0]  # both straddle its ends
    assert found([(5, 6)], *tokens) == [0, 0, 1, 0, 0]  # within one token
    assert found([(3, 4)], *tokens) == [0, 0, 0, 0, 0]  # the space between
    assert found([(0, 1), (9, 10)], *tokens) == [0, 1, 0, 1, 0]
    assert found([], *tokens) == [0, 0, 0, 0, 0]


def test_tokens_without_width_are_in_no_span():
    assert found([(0, 9)], (0, 0), (5, 5), (9, 9), (5, 6)) == [0, 0, 0, 1]


def test_agrees_with_sets_of_characters():
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        offsets = torch.randint(0, 12, (9, 2), generator=generator).sort(1).values
        spans = [tuple(pair) for pair in torch.randint(0, 12, (3, 2), generator=generator).sort(1).values.tolist()]
        marked = {place for start, end in spans for place in range(start, end)}
        slow = [bool(marked & set(range(start, end))) for start, end in offsets.tolist()]
        assert tokens_of(spans, offsets).tolist() == slow


def test_a_batch_of_offsets():
    offsets = torch.stack((at((0, 2), (2, 4)), at((0, 3), (3, 4))))
    assert tokens_of([(2, 3)], offsets).tolist() == [[False, True], [True, False]]


def test_bytes_of_an_emoji_share_its_fate():
    text = "I 😀 it"
    bytewise = ((0, 1), (1, 2), (2, 3), (2, 3), (2, 3), (3, 4), (4, 6))  # the emoji as three tokens
    span = (text.index("😀"), text.index("😀") + 1)
    assert found([span], *bytewise) == [0, 0, 1, 1, 1, 0, 0]


def test_combining_characters_crlf_and_right_to_left():
    """Spans are of code points in reading order, wherever they are drawn."""
    assert found([(4, 5)], (0, 3), (3, 5), (5, 6)) == [0, 1, 0]  # "cafe\u0301s": the accent alone marks "e\u0301"
    assert found([(6, 9)], (0, 3), (3, 5), (5, 8), (8, 9)) == [0, 0, 1, 1]  # "one\r\ntwo!"
    hebrew = "סרט טוב מאוד"
    start = hebrew.index("טוב")
    assert found([(start, start + 3)], (0, 3), (4, 7), (8, 12)) == [0, 1, 0]


# -- words -----------------------------------------------------------------------------------------------------------


def words(text, *places):
    return words_of(text, at(*places)).tolist()


def each(text):
    """The word of every character, taken as a token."""
    return words(text, *((place, place + 1) for place in range(len(text))))


@pytest.fixture(autouse=True)
def _needs_regex(request):
    if "words" in request.node.name:
        pytest.importorskip("regex")


def test_words_put_sub_tokens_together_and_punctuation_apart():
    text = "unbelievably good, films."
    tokens = ((0, 0), (0, 2), (2, 9), (9, 12), (13, 17), (17, 18), (19, 23), (23, 24), (24, 25), (0, 0))
    assert words(text, *tokens) == [-1, 0, 0, 0, 1, 2, 3, 3, 4, -1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("don't", "00000"),
        ("it\u2019s", "0000"),
        ("3.5,", "0001"),
        ("a-b", "012"),
        ("x!!", "012"),
        ("я люблю", "0122222"),
        ("我喜欢", "012"),
        ("한국어", "000"),
        ("カタ", "00"),
        ("نعم،", "0001"),
        ("cafe\u0301s", "000000"),
        ("e\u0301 e", "0012"),
        ("👍🏽👍", "001"),  # skin tone
        ("👩\u200d👩\u200d👧!", "000001"),  # family
        ("🇩🇪🇫🇷", "0011"),  # two flags of two letters each
        ("1\ufe0f\u20e3", "000"),  # keycap
        ("❤\ufe0f❤\ufe0f", "0011"),
        ("a\r\nb", "0112"),
        ("a \t b", "01234"),
    ],
)
def test_words_of_characters(text, expected):
    assert "".join(map(str, each(text))) == expected


def test_words_of_right_to_left_text_with_vowel_points():
    text = "סֶרֶט טוֹב"
    assert each(text) == [0] * 5 + [1] + [2] * 4


def test_words_of_tokens_that_begin_with_a_space():
    assert words("so good films", (0, 2), (2, 7), (7, 11), (11, 13)) == [0, 1, 2, 2]


def test_words_that_a_token_straddles_are_one():
    assert words("a...b", (0, 1), (1, 4), (4, 5)) == [0, 1, 2]
    assert words("我喜欢", (0, 2), (2, 3)) == [0, 1]
    assert words("of the film", (0, 6), (7, 9), (9, 11)) == [0, 1, 1]
    assert words("ab-cd ef", (0, 1), (1, 4), (4, 5), (6, 8)) == [0, 0, 0, 1]  # ab, -, cd all hang together


def test_words_of_spaces_alone():
    assert words("a  b", (0, 1), (1, 3), (3, 4)) == [0, 1, 2]
    assert words("a \n b", (0, 1), (1, 2), (2, 3), (3, 5)) == [0, 1, 2, 3]


def test_words_are_numbered_without_gaps():
    assert words("one two three", (4, 7), (8, 13)) == [0, 1]  # the first word was cut off
    assert words("one", (0, 0)) == [-1]


def test_words_without_the_package(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "regex", None)
    with pytest.raises(ModuleNotFoundError, match=r"words_of needs the package regex: pip install 'xaieval\[text\]'"):
        words("a", (0, 1))
