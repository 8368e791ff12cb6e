"""What a setting may be is declared beside it, and refused in one line that names key, value and what is allowed."""

import dataclasses
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from roberta_lab.config import BatchSizeConfig, Config, ConfigError, PrepareConfig, SourceConfig, ranges


@dataclass
class Inner:
    share: float = ranges.below_one(0.5)
    kind: str = ranges.one_of("red", "green", default="red")


@dataclass
class Outer:
    number: int | None = ranges.at_least(1, None, null="all")
    rate: float = ranges.above_zero(1.0)
    inner: Inner = field(default_factory=Inner)
    margins: dict[str, float] = field(default_factory=dict, metadata=ranges.EACH_ABOVE_ZERO)
    parts: list[Inner] = field(default_factory=list)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"number": 0}, "number=0: allowed is 1 or more, or null for all."),
        ({"rate": 0.0}, "rate=0.0: allowed is more than 0."),
        ({"margins": {"mnli": 0.5, "sst2": -0.5}}, "margins.sst2=-0.5: allowed is more than 0."),
        ({"parts": [Inner(), Inner(share=2.0)]}, "parts[1].share=2.0: allowed is 0 or more and less than 1."),
        ({"inner": Inner(share=1.0)}, "inner.share=1.0: allowed is 0 or more and less than 1."),
        ({"inner": Inner(kind="gren")}, "inner.kind=gren: unknown. Did you mean 'green'? Allowed: red, green."),
    ],
)
def test_what_is_out_of_range_is_named_with_its_key(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError) as found:
        ranges.check(dataclasses.replace(Outer(), **changes))
    assert str(found.value) == message


def test_null_is_fine_where_the_type_allows_it_and_the_ends_of_a_range_belong_to_it() -> None:
    for outer in (Outer(number=None, inner=Inner(share=0.0)), Outer(number=1)):
        ranges.check(outer)  # raises nothing
    with pytest.raises(ConfigError):
        ranges.check(Outer(number=0))


def test_a_part_is_checked_under_the_key_that_it_has_in_the_tree() -> None:
    with pytest.raises(ConfigError, match=r"^prepare\.workers=0: allowed is 1 to 1,024, or null for one a core\.$"):
        ranges.check(PrepareConfig(workers=0), "prepare")
    with pytest.raises(ConfigError, match=r"^batch_size\.steps=0: "):
        ranges.check(BatchSizeConfig(1, 0, 1e-3), "batch_size")


# numbers whose field is of no type: a function of the name of the key checks them
CHECKED_ELSEWHERE = {"micro_batch_size", "compile", "deterministic", "sources"}
NAMES_OF_FILES = {
    *("sweep.name", "scale.name", "task.name", "sweep.rows", "sweep.row", "sweep.at_scale", "data_mix.sources"),
    *("reproduce.sweeps", "data_mix.common_sources", "task.files"),
}


def leaves(schema: type, before: str = "") -> Iterator[tuple[str, object, dataclasses.Field]]:
    """Yield the key, the type and the declaration of every setting."""
    hints = typing.get_type_hints(schema)
    for declared in dataclasses.fields(schema):
        hint = hints[declared.name]
        types = (hint, *typing.get_args(hint)) if typing.get_origin(hint) not in (list, dict) else (hint,)
        part = next(filter(dataclasses.is_dataclass, types), None)
        if part is None:
            yield f"{before}{declared.name}", hint, declared
        else:
            yield from leaves(part, f"{before}{declared.name}.")


SETTINGS = [*leaves(Config), *leaves(SourceConfig, "data_mix.sources.NAME.")]


def test_every_number_of_the_schema_has_a_range() -> None:
    numbers = [
        (key, declared)
        for key, hint, declared in SETTINGS
        if {int, float}
        & {hint, *typing.get_args(hint), *(a for h in typing.get_args(hint) for a in typing.get_args(h))}
    ]
    assert len(numbers) > 80
    lacking = [key for key, declared in numbers if not isinstance(declared.metadata.get("allowed"), ranges.Range)]
    assert lacking == [], "declare what they may be: at_least, between, above_zero, share, below_one"


def test_untyped_settings_are_known_and_names_of_files_are_declared_as_names() -> None:
    untyped = {declared.name for _, hint, declared in SETTINGS if typing.Any in (hint, *typing.get_args(hint))}
    assert untyped == {*CHECKED_ELSEWHERE, "text"}
    for key, _, declared in SETTINGS:
        is_name = {ranges.NAME, ranges.LABEL} & {declared.metadata.get("allowed"), declared.metadata.get("named")}
        assert key not in NAMES_OF_FILES or is_name, f"{key} is part of a path"
        is_path = key.endswith((".path", ".output", ".figure", ".file", "paths.outputs", "paths.cache", "paths.local"))
        is_hub = key.endswith("hub.path")  # an id of the hub, with a check of its own
        assert is_hub or is_path == (declared.metadata.get("allowed") in (ranges.PATH, ranges.PATH_OR_URL)), key


@dataclass
class Named:
    name: str = ranges.name("x")
    path: str = ranges.path("x")
    text: str = "x"
    number: float = ranges.at_least(0, 0.0)
    rows: dict[str, list[str]] = field(default_factory=dict, metadata=ranges.NAMED)
    seeds: list[int] = field(default_factory=list, metadata=ranges.SEED)
    free: object = field(default=None, metadata=ranges.ANY_TEXT)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(
            ("name", name)
            for name in ("../x", "..", "a/b", "/abs", "", "a\0b", "a\nb", "x" * 101, "a..b", "-x", ".x", "a b")
        ),
        *(("path", path) for path in ("a\0b", "x" * 256, "a/" * 3000, "\ud800", "a\x1b[31m")),
        *(("text", text) for text in ("\x1b]0;x\x07", "\0", "\x9b31m", "a\rb", "x" * 5000)),
        *(("number", number) for number in (float("nan"), float("inf"), -0.0, -1, True, 1e39, 2**54, 10**400)),
        *(("rows", {name: []}) for name in ("", " ", "../x", "a\\b", "a\x1bb", "a\u202eb", "x" * 101)),
        *(("rows", {"a": [text]}) for text in ("a\0b", "\x1b[2J")),
        *(("seeds", seeds) for seeds in ([-1], [1] * 10_001, [2**64])),
    ],
)
def test_what_no_setting_may_be_is_one_short_line(key: str, value: object) -> None:
    with pytest.raises(ConfigError) as found:
        ranges.check(Named(**{key: value}))
    message = str(found.value)
    assert message.startswith(key) and "llowed" in message and len(message) < 400


def test_usual_names_paths_and_texts_are_fine() -> None:
    for name in ("table1_masking", "glue-own", "v1.1", "Weiß", "segment_pair+nsp", "5"):
        ranges.check(Named(name=name))
    for row in ("batch 2,048", "0.5", "a (b)", "ü"):
        ranges.check(Named(rows={row: ["masking=static"]}))
    ranges.check(Named(path="/a b/ü/$x", text="two\nlines\tand a tab", number=0.0, seeds=[0, 2**53]))
    ranges.check(Named(free="\x1b[31m" + "x" * 10_000))
