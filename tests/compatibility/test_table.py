"""docs/compatibility.md says what the tests of this run prove, no less and no more."""

import re

import pytest

from tests.compatibility.table import DOCUMENT, ROWS, is_complete, render, row_line


def test_the_committed_table_is_up_to_date(request):
    if request.config.option.write_compatibility:
        pytest.skip("the table is being written")
    rows = request.config.stash[ROWS].values()
    written = DOCUMENT.read_text()
    missing = [row_line(row) for row in rows if row_line(row) not in written.splitlines()]
    assert not missing, (
        f"not in docs/compatibility.md (pytest tests/compatibility --write-compatibility): {missing}"
    )
    if is_complete(request.config, request.session.items):
        # Another environment's versions are no reason to write it anew.
        assert _without_versions(written) == _without_versions(render(rows))


def _without_versions(text):
    return re.sub(r"Last written with .*", "", text)
