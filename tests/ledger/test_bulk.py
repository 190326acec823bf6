"""Rows go in as they are, however many of them there are at once."""

import pytest

from dispatcher.ledger import Ledger


@pytest.mark.parametrize("many", [1, 63, 64, 5000])
def test_what_was_inserted_is_found_again(ledger: Ledger, many: int) -> None:
    whys = [["a\tb\\c\n,", None, "ü “x” %s :at", ""][at % 4] for at in range(many)]
    batches = [None if at % 3 else at for at in range(many)]
    with ledger.database.write() as tx:
        tx.insert(
            "event",
            {"why": whys, "batch_id": batches, "before": [None] * many, "at": list(range(many))},
            same={"who": "test", "subject": "batch", "what": "a, b", "after": None},
        )
        found = tx.rows("SELECT at, who, subject, what, why, batch_id, before, after FROM event ORDER BY at")
    assert [tuple(row) for row in found] == [
        (at, "test", "batch", "a, b", whys[at], batches[at], None, None) for at in range(many)
    ]
