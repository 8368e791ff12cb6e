"""The pages as a browser has them: sorting, legends, links, keys, phone, dark, print; nothing foreign runs. Skipped without one."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlparse

import chromium
import pytest
from report_runs import HOSTILE, SWEEP, config, finetuned, pretrained, write_run

from roberta_lab.reports.page.landing import write_landing
from roberta_lab.reports.table.files import write_table
from roberta_lab.runs.command_line import typed

pytestmark = pytest.mark.skipif(chromium.found() is None, reason="no Chromium here")

ROWS = {"static": 500.0, "dynamic": 90.0, HOSTILE: 1200.0}
MASKINGS = {"static": "static", "dynamic": "dynamic", HOSTILE: "dynamic"}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three rows, one of them with a hostile name; one run interrupted; a task with a hostile name as well."""
    outputs = tmp_path_factory.mktemp("outputs")
    sweep = replace(SWEEP, rows={name: [] for name in ROWS}, title=f"Table {HOSTILE}", tasks=["squad2", HOSTILE])
    found = []
    for i, (row, ppl) in enumerate(ROWS.items()):
        settings = {"batch_size": {"sequences": 16 * (i + 1)}, "masking": {"name": MASKINGS[row]}}
        found.append(write_run(outputs, pretrained(row, ppl), settings, f"p{i}"))
        score = finetuned(row, "squad2", 1, 60.0 + i, caution=HOSTILE)
        found.append(write_run(outputs, score, folder=f"f{i}"))
        odd = finetuned(row, HOSTILE, 1, 50.0 - i)
        found.append(write_run(outputs, odd, folder=f"o{i}"))
    write_run(outputs, pretrained("broken", None))
    folder = outputs / "tables" / "t" / "smoke"
    folder.mkdir(parents=True)
    write_table(config(sweep, outputs), found, folder, typed("reproduce", ["sweep=t", HOSTILE]))
    write_landing(outputs)
    return outputs


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Browser]:
    program = chromium.found()
    assert program is not None
    started = chromium.Browser(program, tmp_path_factory.mktemp("profile"))
    yield started
    started.close()


@pytest.fixture(params=["table", "landing"])
def page(request: pytest.FixtureRequest, outputs: Path) -> Path:
    return outputs / {"table": "tables/t/smoke/index.html", "landing": "index.html"}[request.param]


@pytest.fixture
def table(browser: chromium.Browser, outputs: Path) -> chromium.Browser:
    browser.appear()
    browser.open(outputs / "tables/t/smoke/index.html")
    return browser


def test_hostile_names_are_text_and_the_console_is_silent(browser: chromium.Browser, page: Path) -> None:
    browser.open(page)
    assert HOSTILE in browser.run("document.body.innerText")
    assert browser.run("document.querySelectorAll('script').length") == 1
    assert browser.run("document.images.length") == 0 and browser.run("document.title") != "owned"
    assert not browser.errors


def test_every_link_leads_to_a_file(browser: chromium.Browser, page: Path) -> None:
    browser.open(page)
    links = browser.run("[...document.querySelectorAll('a')].map(a => a.href)")
    paths = [Path(unquote(urlparse(link).path)) for link in links]
    assert len(paths) > 10 and all(urlparse(link).scheme == "file" for link in links)
    assert not [path for path in paths if not path.exists()]


@pytest.mark.parametrize(
    "foreign",
    [
        "const s = document.createElement('script'); s.textContent = 'window.owned = 1'; document.body.append(s)",
        "document.body.insertAdjacentHTML('beforeend', '<img src=data:, onerror=\"window.owned = 1\">')",
        "document.body.insertAdjacentHTML('beforeend', '<a id=x href=\"javascript:window.owned=1\">x</a>'); document.getElementById('x').click()",
        "document.body.insertAdjacentHTML('beforeend', '<iframe srcdoc=\"<script>parent.owned=1</script>\"></iframe>')",
    ],
)
def test_the_policy_stops_what_is_not_the_pages_own(table: chromium.Browser, foreign: str) -> None:
    assert table.run("!!tip")  # the page's own script ran
    table.run(f"(() => {{ {foreign} }})()")
    table.run("new Promise(done => setTimeout(done, 100))")
    assert table.run("typeof window.owned") == "undefined"
    assert any("Content Security Policy" in error for error in table.errors)


def column(browser: chromium.Browser, number: int) -> list[str]:
    script = f"[...document.querySelector('table').tBodies[0].rows].map(r => r.cells[{number}].dataset.value)"
    return browser.run(script)


def test_sorting_up_down_and_back(table: chromium.Browser) -> None:
    last = len(table.run("[...document.querySelector('table').tHead.rows[0].cells].map(c => 1)")) - 1
    click = f"document.querySelector('table').tHead.rows[0].cells[{last}].querySelector('button').click()"
    sort = f"document.querySelector('table').tHead.rows[0].cells[{last}].ariaSort"
    as_made = column(table, last)
    assert as_made == ["500.0", "90.0", "1200.0"]
    for state, expected in (("ascending", ["90.0", "500.0", "1200.0"]), ("descending", ["1200.0", "500.0", "90.0"]), (None, as_made)):  # fmt: skip
        table.run(click)
        assert column(table, last) == expected and table.run(sort) == state
    below = "document.querySelector('table').tBodies[1].innerText"
    assert "a constant prediction" in table.run(below), "rows that are no runs stay below"


def test_numbers_sort_as_numbers(table: chromium.Browser) -> None:
    body = "document.querySelector('[aria-label=Differences] table')"
    table.run(f"{body}.tHead.rows[0].cells[2].querySelector('button').click()")
    found = [float(v) for v in table.run(f"[...{body}.tBodies[0].rows].map(r => r.cells[2].dataset.value)")]
    assert found == sorted(found) == [-410.0, -2.0, -1.0, 1.0, 2.0, 700.0]


def test_keys_reach_the_buttons_and_sort(table: chromium.Browser) -> None:
    for _ in range(20):
        table.press("Tab", 9)
        if table.run("document.activeElement.textContent") == "Row":
            break
    table.press("Enter", 13, "\r")
    assert column(table, 0) == sorted(ROWS, key=str.lower)
    assert not table.errors


def test_a_legend_entry_hides_its_line_and_values_are_shown(table: chromium.Browser) -> None:
    figure = "document.querySelector('#figure-perplexity')"
    lines = f"[...{figure}.querySelectorAll('[data-series=\"0\"]')].map(g => g.getAttribute('visibility'))"
    table.run(f"{figure}.querySelector('.legend button').click()")
    assert table.run(lines) == ["hidden"]
    table.run(f"{figure}.querySelector('svg').focus()")
    table.press("ArrowRight", 39)
    assert table.run("tip.textContent") == "dynamic: 450, 2,000 tokens seen" and not table.run("tip.hidden")
    table.run(f"{figure}.querySelector('.legend button').click()")
    assert table.run(lines) == ["visible"]
    hover = f"(() => {{ const svg = {figure}.querySelector('svg'), box = svg.querySelector('[data-tip]').getBoundingClientRect(); svg.dispatchEvent(new PointerEvent('pointermove', {{ clientX: box.left, clientY: box.top, bubbles: true }})); return tip.textContent }})()"
    assert table.run(hover) == "static: 450, 2,000 tokens seen"


def test_a_phone_and_paper_need_no_sideways_scrolling_of_the_page(browser: chromium.Browser, page: Path) -> None:
    browser.appear(width=390)
    browser.open(page)
    assert browser.run("document.scrollingElement.scrollWidth") <= 390
    browser.appear(width=760, media="print")
    assert browser.run("document.scrollingElement.scrollWidth") <= 760, "nor is paper too narrow"
    if os.environ.get("PAGE_PICTURES"):
        browser.picture(Path(os.environ["PAGE_PICTURES"]) / f"{page.parent.name}.png")


def test_dark_and_print(table: chromium.Browser) -> None:
    ink = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]"
    folded = "getComputedStyle(document.querySelector('td details')).display"
    assert table.run(ink) > 200 and table.run(folded) != "none"
    table.appear(dark=True)
    assert table.run(ink) < 60
    drawn = "getComputedStyle(document.querySelector('figure svg text')).fill.match(/\\d+/g).map(Number)[0]"
    assert table.run(drawn) > 200, "the figures' text is light in the dark"
    table.appear(dark=True, media="print")
    assert table.run(ink) == 255 and table.run(folded) == "none"
    assert len(table.call("Page.printToPDF")["data"]) > 10_000


def test_the_landing_page_finds_runs_and_says_how_to_resume(browser: chromium.Browser, outputs: Path) -> None:
    browser.open(outputs / "index.html")
    rows = "[...document.querySelectorAll('#all-runs tbody tr')].filter(r => !r.hidden).length"
    assert browser.run(rows) == 10
    find = "(() => { const f = document.querySelector('input.find'); f.value = 'Interrupted broken'; f.dispatchEvent(new Event('input')) })()"
    browser.run(find)
    assert browser.run(rows) == 1
    shown = browser.run("document.querySelector('#all-runs tbody tr:not([hidden])').textContent")
    assert "roberta-lab pretrain masking=broken" in shown and "interrupted" in shown and "step 10" in shown
