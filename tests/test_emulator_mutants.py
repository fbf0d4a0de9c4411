"""The emulator itself: every planted bug of emulator/mutants.py must be caught."""

import pytest

from emulator import mutants


def test_table_is_fresh():
    """Every bug can be planted, and there are enough of them."""
    assert len(mutants.MUTANTS) >= 20
    assert len({mutant.name for mutant in mutants.MUTANTS}) == len(mutants.MUTANTS)
    for mutant in mutants.MUTANTS:
        text = (mutants.ROOT / "csrc" / "cuda" / mutant.file).read_text(encoding="utf-8")
        assert mutants.planted(mutant, text) != text


@pytest.mark.deep
def test_planted_bugs_are_caught(capsys):
    failed = mutants.main([])
    report = capsys.readouterr().out
    with capsys.disabled():
        print("\n" + report)
    assert not failed
