"""Every hand-written mutant can still be made: code moves on, and its mutants with it."""

import pytest

from tests.mutants.__main__ import ALL, ROOT
from tests.mutants.row import Mutant


@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: str(mutant.name))
def test_the_text_that_a_mutant_changes_is_there_once(mutant: Mutant) -> None:
    assert (ROOT / mutant.path).read_text().count(mutant.right) == 1
    assert mutant.wrong != mutant.right


@pytest.mark.parametrize("file", sorted({mutant.tests.partition(" ")[0] for mutant in ALL}))
def test_the_tests_that_must_find_it_are_there(file: str) -> None:
    assert (ROOT / "tests" / file).is_file()
