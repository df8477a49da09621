"""What of a text gets one color: tokens with their blanks, characters as they are read, and lines."""

import pytest

from xaieval.token_cells import Cell, cells, clusters, lines, spelled

ACCENT, WOMAN, GIRL, THUMB = "e\N{COMBINING ACUTE ACCENT}", "\N{WOMAN}", "\N{GIRL}", "\N{THUMBS UP SIGN}"
BROWN, JOINER = "\N{EMOJI MODIFIER FITZPATRICK TYPE-5}", "\N{ZERO WIDTH JOINER}"
GERMAN, FRENCH = "\U0001f1e9\U0001f1ea", "\U0001f1eb\U0001f1f7"
HEART = "\N{HEAVY BLACK HEART}\N{VARIATION SELECTOR-16}"


def shown(*arguments):
    return [(cell.text, cell.tokens, cell.blank) for cell in cells(*arguments)]


@pytest.mark.parametrize(
    "character", ["a", ACCENT, THUMB + BROWN, WOMAN + JOINER + WOMAN + JOINER + GIRL, GERMAN, HEART, "\u0e01\u0e33"[:1]]
)
def test_a_character_is_never_divided(character):
    assert clusters(f"x{character}y{character}{character}") == ("x", character, "y", character, character)


def test_two_flags_are_two():
    assert clusters(GERMAN + FRENCH) == (GERMAN, FRENCH)


def test_tokens_are_spelled_with_the_blanks_before_them():
    text = "un believable,  film\n"
    offsets = [(0, 0), (0, 2), (3, 9), (9, 13), (13, 14), (16, 20), (0, 0)]
    assert spelled(text, offsets) == ("", "un", " believ", "able", ",", "  film", "")


def test_shared_and_dropped_characters_are_there_once():
    """The bytes of an emoji; blanks that are a part of a token; an accent that no token has, in the middle and last."""
    emoji = f"a {THUMB}b"
    assert spelled(emoji, [(0, 1), (1, 3), (2, 3), (2, 3), (3, 4)]) == ("a", f" {THUMB}", "", "", "b")
    assert spelled(f"caf{ACCENT} bar {ACCENT}", [(0, 4), (6, 9), (10, 11)]) == (f"caf{ACCENT}", " bar", f" {ACCENT}")


def test_of_a_text_that_was_cut_the_rest_is_not_there():
    assert spelled("one two three four", [(4, 7), (8, 13)]) == ("two", " three")


def test_cells_have_the_blanks_of_the_text():
    assert shown(("un", "believ", " film", ",", " not")) == [
        ("un", (0,), False),
        ("believ", (1,), False),
        ("film", (2,), True),
        (",", (3,), False),
        ("not", (4,), True),
    ]


def test_without_blanks_there_is_one_before_each_word():
    names = ("[CLS]", "un", "believ", "film", "[SEP]")
    assert shown(names) == [(name, (place,), place > 0) for place, name in enumerate(names)]
    words = [("[CLS]", (0,), False), ("unbeliev", (1, 2), True), ("film", (3,), True), ("[SEP]", (4,), True)]
    assert shown(names, (-1, 0, 0, 1, -1)) == words
    exact = ("[CLS]", "un", "believ", " film", "[SEP]")
    assert shown(exact, (-1, 0, 0, 1, -1), (True, False, False, False, True)) == words


def test_tokens_of_one_character_are_one_cell():
    assert shown(("a", f" {THUMB}", "", "", BROWN, "b")) == [
        ("a", (0,), False),
        (THUMB + BROWN, (1, 2, 3, 4), True),
        ("b", (5,), False),
    ]
    assert shown((" e", "\N{COMBINING ACUTE ACCENT}")) == [(ACCENT, (0, 1), False)]


def test_lines_break_at_blanks_and_in_what_is_wider_than_a_line():
    row = [Cell((letter,), (place,), letter in "cf") for place, letter in enumerate("abcdefg")]
    found = list(lines(row, [1.0] * 7, 0.5, 3.5))
    assert found == [[(0, 0.0), (1, 1.0)], [(2, 0.0), (3, 1.0), (4, 2.0)], [(5, 0.0), (6, 1.0)]]
    assert next(lines(row, [1.0] * 7, 0.5, 100))[2] == (2, 2.5)
    narrow = list(lines(row, [1.0] * 7, 0.5, 2.0))
    assert [[place for place, _ in line] for line in narrow] == [[0, 1], [2, 3], [4], [5, 6]]
    assert list(lines([], [], 0.5, 2)) == []
