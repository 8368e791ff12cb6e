"""What holds for every page: no sideways cut on a phone or on paper, tables that can be read aloud, links that lead somewhere."""

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import chromium
import pytest
from diff_runs import OVERRIDES
from small_run import SHORT, patch_source

from roberta_lab.cli import main
from roberta_lab.runs.jobs import Job
from roberta_lab.runs.outside import open_places

PAGES = ("index", "claims", "table", "diff", "pretrain", "finetune", "inspect")


@pytest.fixture(scope="module")
def pages(lab: tuple[Path, list[Job]]) -> dict[str, Path]:
    """The pages of two complete rows of two seeds, as `table`, `diff` and `inspect` write them."""
    home = lab[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        open_places(OVERRIDES)
        if not Path("outputs/index.html").is_file():  # another test may have made it
            assert main.main(["table", *OVERRIDES]) == 0
        assert main.main(["diff", "static", "dynamic", *OVERRIDES]) == 0
        patch_source(patch)
        assert main.main(["inspect", *SHORT]) == 0
    out = home / "outputs"
    [inspected] = out.glob("inspect/*/index.html")
    runs = {kind: min(out.glob(f"{kind}/*/index.html")) for kind in ("pretrain", "finetune")}
    table, diff = out / "tables/own/smoke--task.path=weather/index.html", out / "diffs/static--dynamic/index.html"
    index = {"index": out / "index.html", "claims": out / "claims.html"}
    return {**index, "table": table, "diff": diff, **runs, "inspect": inspected}


class Read(HTMLParser):
    """The tables of a page with what names them and their heads, and the page's links."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[list[str]] = []
        self.heads: list[str | None] = []
        self.links: list[str] = []
        self.labels: list[str | None] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        if tag == "table":
            self.tables.append([])
        if tag in ("caption", "thead", "tbody") and self.tables:
            self.tables[-1].append(tag)
        if tag == "th":
            self.heads.append(found.get("scope"))
        if tag == "a" and (link := found.get("href")):
            self.links.append(link)
        if tag == "svg" and found.get("aria-hidden") != "true":
            self.labels.append(found.get("aria-label"))


@pytest.mark.parametrize("name", PAGES)
def test_tables_have_captions_heads_have_scopes_and_figures_have_names(pages: dict[str, Path], name: str) -> None:
    read = Read(pages[name].read_text())
    assert all(parts[:1] == ["caption"] for parts in read.tables), read.tables
    assert set(read.heads) <= {"row", "col"} and all(read.labels)
    assert read.tables or name in ("claims", "pretrain"), "no claims are stated, no examples are there"


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_to_files(pages: dict[str, Path], name: str) -> None:
    links = [link for link in Read(pages[name].read_text()).links if not link.startswith("#")]
    assert all((pages[name].parent / unquote(link)).exists() for link in links), links
    assert links or name in ("inspect", "claims")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Browser]:
    program = chromium.found()
    if program is None:
        pytest.skip("no Chromium here")
    started = chromium.Browser(program, tmp_path_factory.mktemp("profile"))
    yield started
    started.close()


@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_cut_on_a_phone_or_on_paper_and_the_dark_is_dark(
    pages: dict[str, Path], name: str, browser: chromium.Browser
) -> None:
    width, back = "document.scrollingElement.scrollWidth", "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]"  # fmt: skip
    browser.appear(width=420, dark=True)
    browser.open(pages[name])
    assert browser.run(width) <= 420 and not browser.errors
    assert browser.run(back) < 60
    browser.appear(width=1600)
    used = browser.run("document.querySelector('main').getBoundingClientRect().width")
    assert browser.run(width) <= 1600 and used > 1300, "the width of the screen is used"
    browser.appear(width=760, media="print")
    assert browser.run(width) <= 760
