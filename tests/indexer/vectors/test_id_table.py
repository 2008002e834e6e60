import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.vectors import base
from indexer.vectors.base import IdTable
from rag.errors import UsageError

IDS = st.integers(0, 300) | st.integers(0, 2**62)


@given(
    batches=st.lists(st.lists(IDS, max_size=30), max_size=4),
    wanted=st.lists(IDS, max_size=60),
    few=st.sampled_from([0, 10**9]),
)
def test_rows_are_those_of_a_dictionary(batches, wanted, few):
    table, rows = IdTable(np.empty(0, np.int64)), {}
    for batch in batches:
        fresh = list(dict.fromkeys(i for i in batch if i not in rows))
        rows |= {chunk: len(rows) + n for n, chunk in enumerate(fresh)}
        table = table.extended(np.array(fresh, np.int64))
    assert len(table) == len(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "_FEW", few)
        found = table.rows(np.array(wanted, np.int64)).tolist()
    assert sorted(found) == sorted({rows[i] for i in wanted if i in rows})


@given(st.lists(IDS, min_size=1, max_size=30, unique=True), st.data())
def test_an_id_is_taken_once(ids, data):
    table = IdTable(np.array(ids, np.int64))
    again = data.draw(st.sampled_from(ids))
    with pytest.raises(UsageError, match=str(again)):
        table.extended(np.array([again], np.int64))
