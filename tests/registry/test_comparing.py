"""Two engineers on the phone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medperf.registry import comparing
from medperf.schemas.errors import UsageError

from .world import REGISTRY_ID

CHAIN = [f"{number:040x}" for number in range(0x1234567, 0x1234567 + 5)]


def test_the_same_history_has_the_same_words() -> None:
    here = comparing.position(REGISTRY_ID, CHAIN)
    assert here == comparing.position(REGISTRY_ID, list(CHAIN))
    assert here.number == 5
    found = comparing.compare(REGISTRY_ID, CHAIN, here.words)
    assert found.answer == "same"


def test_an_older_one_is_found_in_the_newer() -> None:
    older = comparing.position(REGISTRY_ID, CHAIN[:3])
    for theirs in (older.words, older.words.upper().replace("-", " "), older.head, older.head[:40]):
        found = comparing.compare(REGISTRY_ID, CHAIN, theirs)
        assert found.answer == "theirs is older"
        assert "2 newer commits" in found.meaning


def test_another_history_is_not_found_and_what_to_do_is_said() -> None:
    other = comparing.position(REGISTRY_ID, [CHAIN[0], "f" * 40])
    found = comparing.compare(REGISTRY_ID, CHAIN, other.words)
    assert found.answer == "unknown"
    assert "stop both sites" in found.meaning


def test_another_id_or_another_root_gives_other_words() -> None:
    words = comparing.words(REGISTRY_ID, CHAIN[0], CHAIN[4])
    assert comparing.words("0" + REGISTRY_ID[1:], CHAIN[0], CHAIN[4]) != words
    assert comparing.words(REGISTRY_ID, CHAIN[1], CHAIN[4]) != words


@pytest.mark.parametrize("theirs", ["", "hello", "12345", "abcde-abcde", "g" * 40])
def test_what_is_neither_words_nor_a_commit_is_refused(theirs: str) -> None:
    with pytest.raises(UsageError, match="neither four words"):
        comparing.compare(REGISTRY_ID, CHAIN, theirs)


def test_too_few_digits_are_refused() -> None:
    chain = ["a" * 40, "1234567" + "b" * 33, "1234567" + "c" * 33]
    with pytest.raises(UsageError, match="more than one"):
        comparing.compare(REGISTRY_ID, chain, "1234567")


@given(st.integers(0, 65535))
def test_each_word_says_sixteen_bits(value: int) -> None:
    word = comparing._word(value)
    back = 0
    for letter, letters in zip(word, (comparing._CONSONANTS, comparing._VOWELS) * 3, strict=False):
        back = back * len(letters) + letters.index(letter)
    assert back == value
