"""What a setting may be is declared beside it, and refused in one line that names key, value and what is allowed."""

import dataclasses
from dataclasses import dataclass, field

import pytest

from roberta_lab.config import BatchSizeConfig, Config, ConfigError, PrepareConfig, ranges


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
    with pytest.raises(ConfigError, match=r"^prepare\.workers=0: allowed is 1 or more, or null for one a core\.$"):
        ranges.check(PrepareConfig(workers=0), "prepare")
    with pytest.raises(ConfigError, match=r"^batch_size\.steps=0: "):
        ranges.check(BatchSizeConfig(1, 0, 1e-3), "batch_size")


def test_ranges_are_declared_in_the_schema() -> None:
    declared = {f.name for node in (BatchSizeConfig, Config) for f in dataclasses.fields(node) if f.metadata}
    assert declared == {"sequences", "steps", "peak_lr", "seed"}
