"""The same of config, of files of runs and of what is shown: one line, soon, in bounded memory."""

import yaml
from faults.drawn import (
    PLAIN,
    SCALARS,
    TEXTS,
    VALUES,
    as_json,
    changed,
    expect_answer,
    folder,
    lines_of,
)
from hypothesis import example, given
from hypothesis import strategies as st

from roberta_lab.config import ConfigError, LoggerConfig, ranges
from roberta_lab.config.formatting import csv_cell, visible
from roberta_lab.config.secrets import masked
from roberta_lab.runs import results, search_path, tracking, yaml_file
from roberta_lab.runs.overrides import assign, check_names, parse, texts

# ---------------------------------------------------------------- config
SWEEP = st.fixed_dictionaries(
    {},
    optional={
        "name": VALUES,
        "rows": st.one_of(
            VALUES,
            st.dictionaries(
                TEXTS,
                st.lists(st.one_of(TEXTS, st.sampled_from(["masking=static", "seed=1", "a.b=c"])), max_size=2),
                max_size=2,
            ),
        ),
        "base": VALUES,
        "tasks": VALUES,
        "seeds": VALUES,
        "claims": VALUES,
        "margins": VALUES,
        "at_scale": VALUES,
    },
)


@given(
    content=st.one_of(
        changed(SWEEP.map(lambda found: yaml.safe_dump(found).encode())), changed(PLAIN), st.binary(max_size=40)
    )
)
@example(content=b"rows: {a: [masking=static]}\nname: !!python/object/apply:os.getcwd []\n")
@example(content=b"a: &a [*a]\n")
def test_sweep_files(content: bytes) -> None:
    with folder() as place:
        (place / "own.yaml").write_bytes(content)
        expect_answer(lambda: yaml_file.read(place / "own.yaml"))
        expect_answer(lambda: search_path.read_sweep(place / "own.yaml"))


KEYS = st.sampled_from(
    [
        "seed",
        "masking",
        "masking.mask_prob",
        "task.path",
        "predict.text",
        "data_mix.own.path",
        "sweep",
        "table.runs",
        "~data_mix.own",
        "++a",
        "hydra.searchpath",
        "task.files.train",
    ]
)
WORDS = st.one_of(
    st.builds(
        "{}={}".format, KEYS, st.one_of(TEXTS, st.text(alphabet="[]{}()'\"\\,:$=*.~ab1 ", max_size=14), as_json(VALUES))
    ),
    TEXTS,
)


@given(word=WORDS)
def test_override_words(word: str) -> None:
    def read() -> None:
        overrides = parse([word])
        assert [o.value() for o in parse(texts(overrides))] == [o.value() for o in overrides] or "nan" in word.lower()
        check_names(overrides)

    expect_answer(read)


@given(value=st.one_of(st.text(max_size=20), st.lists(st.text(max_size=8), max_size=3)))
def test_a_text_that_is_assigned_is_that_text(value: str | list[str]) -> None:
    if "${" not in str(value):
        assert assign("logger.notes", value).value() == value


@given(
    values=st.fixed_dictionaries(
        {
            "project": VALUES,
            "entity": VALUES,
            "tags": VALUES,
            "notes": VALUES,
            "every": VALUES,
            "examples": VALUES,
            "wandb": VALUES,
        }
    )
)
def test_ranges_refuse_or_pass_whatever_stands_there(values: dict[str, object]) -> None:
    expect_answer(lambda: ranges.check(LoggerConfig(**values), "logger"))  # type: ignore[arg-type]


# ---------------------------------------------------------------- files of runs
ROW = as_json(st.one_of(VALUES, st.fixed_dictionaries({"step": st.integers(-1, 3)}, optional={"loss": SCALARS})))


@given(content=changed(lines_of(ROW)))
def test_rows_of_metrics(content: bytes) -> None:
    with folder() as place:
        (place / "metrics.jsonl").write_bytes(content)
        expect_answer(lambda: tracking.read(place / "metrics.jsonl"))


@given(
    content=changed(
        as_json(st.one_of(VALUES, st.fixed_dictionaries({"kind": VALUES, "seconds": VALUES, "found": VALUES}))).map(
            str.encode
        )
    )
)
def test_results(content: bytes) -> None:
    with folder() as place:
        (place / results.NAME).write_bytes(content)

        def read() -> None:
            try:
                results.read(place)
            except ValueError as error:
                raise ConfigError(str(error)) from None

        expect_answer(read)


# ---------------------------------------------------------------- what is shown
@given(text=st.text(), key=st.text(alphabet="abcDEF0123456789", min_size=16, max_size=30))
def test_what_is_shown_has_no_secret_and_no_control(text: str, key: str) -> None:
    for secret in (f"token={key}", f"https://u:{key}@h/x", f"hf_{key}", f"https://h/?sig={key}"):
        found = masked(f"{text} {secret} {text}")
        assert key in text or key not in found.replace(text, "")
        assert masked(found) == found
    assert all(c.isprintable() or c in "\n\t" or c.isspace() or ord(c) > 0x9F for c in visible(text))
    assert not str(csv_cell(text)).lstrip().startswith(("=", "@"))
