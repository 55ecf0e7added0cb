"""The catalogue of mistakes."""

import re

import pytest

from batchproof import SettingError
from batchproof.mistakes import CATALOGUE, GROUPS, mistake

MISTAKES = list(CATALOGUE.values())


def test_names_and_codes_are_unique() -> None:
    assert len(CATALOGUE) == 45
    assert len({m.code for m in MISTAKES}) == len(MISTAKES)


def test_each_group_has_its_hundred() -> None:
    hundreds = {group: str(number) for number, group in enumerate(GROUPS, start=1)}
    for m in MISTAKES:
        assert re.fullmatch(rf"BP{hundreds[m.group]}\d\d", m.code), m


@pytest.mark.parametrize("m", MISTAKES, ids=lambda m: m.name)
def test_sentences_and_remedies_are_sentences(m) -> None:
    for text in (m.sentence, m.remedy.sentence, m.remedy_for(evaluation=True).sentence):
        assert text[0].isupper()
        assert text.endswith(".")
        assert "\n" not in text
    assert m.page.endswith(f"/docs/mistakes/{m.name}.md")


def test_a_name_that_is_none_is_refused_with_those_nearest() -> None:
    with pytest.raises(SettingError, match=r"no mistake is called 'graph-keep'.* graph-kept"):
        mistake("graph-keep")
