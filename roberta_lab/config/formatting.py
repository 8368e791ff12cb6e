"""Numbers and texts as people read them: on the console, in tables and on pages."""

import math
import re

DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
# what a terminal obeys (C0 and C1 controls, but for tab and line feed), what turns the direction of text, halves of surrogates
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_FORMULA = re.compile(r"\s*[=+\-@\t\r\uff0b\uff0d\uff1d\uff20]")  # how a cell begins that spreadsheets compute
_SIZES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "K"))


def visible(text: str) -> str:
    """Return a text of unknown origin for a console or a page: what would act on a terminal is spelled out, `\\x1b`."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def csv_cell(value: object) -> object:
    """Return a cell of a file that people may open in a spreadsheet: a text that it would compute gets an apostrophe in front.

    Numbers stay numbers, also those in texts, as `-0.5`.
    """
    if not isinstance(value, str) or not _FORMULA.match(value):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def number(value: float | None, digits: int = 1) -> str:
    """Return `1,234.5`; a dash for None, and `nan` or `inf` as they are."""
    if value is None:
        return DASH
    return f"{value:,.{digits}f}" if math.isfinite(value) else str(value)


def signed(value: float, digits: int = 1) -> str:
    """Return `+1.5`, `-0.3` or, for what rounds to zero, `0.0`."""
    text = f"{value:+,.{digits}f}"
    return text[1:] if float(text.replace(",", "")) == 0 else text.replace("-", MINUS)


def compact(value: float, digits: int = 4) -> str:
    """Return a number with few significant digits, whole from 1,000 on: `5`, `0.1235`, `1,990,200`."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:,.{digits}g}"


def short(value: float) -> str:
    """Return three digits and a letter: 1,234,567 -> `1.23M`."""
    for size, letter in _SIZES:
        if abs(value) >= 0.9995 * size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}" if value >= 0.001 or not value else "<0.001"


def percent(share: float) -> str:
    """Return a share from 0 to 1 in percent, with two decimal digits at most: `15%`, `14.98%`."""
    return f"{100 * share:.2f}".rstrip("0").rstrip(".") + "%"


def counted(count: int, what: str) -> str:
    """Return `1 run`, `2 runs`."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def in_bytes(size: float) -> str:
    """Return a size on the disk: `12 kB`, `3.4 MB`; units are powers of 1000."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if size >= 10 or unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def duration(hours: float) -> str:
    """Return a rough time: `30 minutes`, `3.0 hours`, `2.5 days`; `nothing` for none."""
    if not hours:
        return "nothing"
    if hours < 1:
        return counted(max(1, round(hours * 60)), "minute")
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.1f} days"


def elapsed(seconds: float) -> str:
    """Return an exact time: `45 s`, `3 min 20 s`, `5 h 12 min`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
