"""Every kind of file gives the same rows; what cannot be read is named with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from redilate import RedilateError
from redilate.batch import tasks
from redilate.batch.tables import COLUMNS, read_rows
from redilate.generation.setting_names import own_name

ROWS: list[dict[str, Any]] = [
    {"prompt": "a red apple", "steps": "4"},
    {"prompt": "a tree, green", "steps": "9"},
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """`rows` as the kind of file that the extension says."""
    if path.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        lines = [",".join(f'"{value}"' for value in row.values()) for row in rows]
        path.write_text("\n".join([",".join(rows[0]), *lines]) + "\n")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_tables_give_their_rows_in_order(tmp_path: Path, suffix: str):
    rows = list(read_rows(write(tmp_path / f"prompts{suffix}", ROWS)))
    assert [row.fields for row in rows] == ROWS
    assert [row.fault for row in rows] == [None, None]


def test_text_has_a_prompt_on_each_line_without_comments_and_empty_lines(tmp_path: Path):
    path = tmp_path / "prompts.txt"
    path.write_bytes("\ufeffa red apple\r\n\n# not this one\n  a tree, green  \n".encode())
    assert [(row.number, row.fields) for row in read_rows(path)] == [
        (1, {"prompt": "a red apple"}),
        (4, {"prompt": "a tree, green"}),
    ]


def test_a_line_that_is_no_object_is_named_and_the_rest_is_read(tmp_path: Path):
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "a"}\n{"prompt": \n[1]\n{"prompt": "b"}\n')
    rows = list(read_rows(path))
    assert [row.number for row in rows if row.fault is None] == [1, 4]
    assert (rows[1].fault or "").startswith("not JSON")
    assert rows[2].fault == "list where an object was expected"


def test_a_prompt_with_an_unquoted_comma_is_not_cut_short(tmp_path: Path):
    path = tmp_path / "prompts.csv"
    path.write_text('id,prompt\n1,a tree, green\n2,"a tree, green"\n')
    first, second = read_rows(path)
    assert first.fields is None and "quote" in (first.fault or "")
    assert second.fields == {"id": "2", "prompt": "a tree, green"}


def test_what_is_no_file_of_prompts_is_refused_when_it_is_opened(tmp_path: Path):
    table = write(tmp_path / "words.csv", [{"text": "a red apple", "seed": "1"}])
    columns = write(tmp_path / "words.parquet", [{"text": "a red apple"}])
    fake = tmp_path / "fake.parquet"
    fake.write_text("no parquet")
    for path, cause in {
        tmp_path / "none.txt": "no file of prompts",
        tmp_path / "prompts.yaml": ".txt, .csv, .tsv, .jsonl, .parquet works",
        table: "no column 'prompt'; its columns are text, seed",
        columns: "no column 'prompt'; its columns are text",
        fake: "is not Parquet",
    }.items():
        with pytest.raises(RedilateError, match=cause):
            list(read_rows(path))


@pytest.mark.parametrize("suffix", [".txt", ".csv", ".jsonl"])
def test_other_text_than_utf8_is_refused(tmp_path: Path, suffix: str):
    path = tmp_path / f"prompts{suffix}"
    path.write_bytes("prompt\nun été\n".encode("latin-1"))
    with pytest.raises(RedilateError, match="not UTF-8"):
        list(read_rows(path))


def table(tmp_path: Path, text: str, name: str = "prompts.csv") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('prompt,seed\na red apple,2\n"blue car,3\ngreen tree,4\nlast,5\n', 3),
        ('prompt,seed\n"6"" tall" cat,1\na red apple,2\n', 2),
        ('prompt,seed\n"two\nlines",1\nx,"2\ny,3\n"z",4\n', 4),
    ],
    ids=["never closed", "text after the quote", "closed by another row's"],
)
def test_a_stray_quote_is_refused_with_its_line(tmp_path: Path, text: str, line: int):
    with pytest.raises(RedilateError, match=rf"prompts\.csv' line {line} is not CSV"):
        list(read_rows(table(tmp_path, text)))


def test_quotes_that_are_meant_are_read(tmp_path: Path):
    text = 'prompt,seed\n"6"" tall cat",1\n6" tall,2\n"two\nlines, one prompt",3\n\nlast,4\n'
    rows = list(read_rows(table(tmp_path, text)))
    assert [row.number for row in rows] == [2, 3, 4, 7]
    assert [row.fields["prompt"] for row in rows if row.fields] == [
        '6" tall cat', '6" tall', "two\nlines, one prompt", "last",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "header",
    [
        "prompt,seed,negative",
        "prompt, seed, negative",
        "Prompt;SEED;Negative Prompt",
        "PROMPT\tseed\tneg-prompt",
    ],
)
def test_headers_are_read_in_any_case_spacing_and_separator(tmp_path: Path, header: str):
    separator = next(sign for sign in ";\t," if sign in header)
    for name in ("prompts.csv", "prompts.tsv"):
        path = table(
            tmp_path, f"{header}\n" + separator.join(("a red apple", "5", "blur")) + separator * 2, name
        )
        (row,) = read_rows(path)
        assert row.fields == {"prompt": "a red apple", "seed": "5", "negative": "blur"}


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_other_tools_names_are_understood(tmp_path: Path, suffix: str):
    said = {"Prompt": "a", "negative_prompt": "bad", "cfg_scale": "7", "num_inference_steps": "10"}
    (row,) = read_rows(write(tmp_path / f"prompts{suffix}", [said]))
    assert row.fields == {"prompt": "a", "negative": "bad", "guidance": "7", "steps": "10"}
    assert own_name("Guidance Scale") == own_name("CFG") == "guidance"


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ({"prompt": "a", "negativ": "b"}, "column 'negativ' means nothing here, where 'negative' would"),
        (
            {"prompt": "a", "colour": "b"},
            "column 'colour' means nothing here; leave it out. Known are prompt, id",
        ),
        ({"prompt": "a", "sampler": "b"}, "column 'sampler': it is one for all rows, given as --scheduler"),
        ({"prompt": "a", "size": "b"}, "two columns, width and height"),
        ({"prompt": "a", "cfg": "1", "guidance": "2"}, "'cfg' and 'guidance' both are guidance"),
    ],
)
def test_columns_that_mean_nothing_are_refused(tmp_path: Path, suffix: str, said: dict[str, Any], cause: str):
    with pytest.raises(RedilateError, match=cause):
        list(read_rows(write(tmp_path / f"prompts{suffix}", [said])))


def test_the_columns_are_those_that_a_task_is_made_of():
    assert set(COLUMNS) == set(tasks._Columns.model_fields)
