"""The page as a browser shows it: whole without any network, readable without scripts, usable by keyboard."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By

from migrate.model.documents import Evidence, Fact, Result
from migrate.model.raw import Json
from migrate.report.traffic_rows import DROPS, drop_picture, traffic_view
from migrate.workflow import run_report
from tests.report import sample
from tests.report.browser import console, open_page, requests
from tests.report.conftest import NOW, MakePage
from tests.report.whole import whole_folder

pytestmark = pytest.mark.browser

SECTIONS = (
    *("verdict", "deadlines", "blockers", "changes", "traffic", "results", "namespaces"),
    *("policies", "findings", "unmeasured", "inventory", "inputs"),
)
HOSTILE = '</script><script>document.title="taken"</script><img src=x onerror=alert(1)>'


def visible_policies(browser: Chrome) -> list[str]:
    return [name.text for name in browser.find_elements(By.CSS_SELECTOR, ".rows > details .name")]


def tab_to(browser: Chrome, css: str) -> None:
    """Press Tab until the element has the focus."""
    wanted = browser.find_element(By.CSS_SELECTOR, css)
    for _ in range(200):
        if browser.switch_to.active_element == wanted:
            return
        browser.switch_to.active_element.send_keys(Keys.TAB)
    pytest.fail(f"{css} cannot be reached by keyboard")


def test_page_asks_for_nothing_and_has_a_clean_console(browser: Chrome, realistic_page: Path) -> None:
    open_page(browser, realistic_page)
    assert requests(browser) == [realistic_page.as_uri()]
    assert console(browser) == []


def test_everything_is_there_without_scripts(browser: Chrome, realistic_page: Path) -> None:
    open_page(browser, realistic_page, scripts=False)
    for section in SECTIONS:
        assert browser.find_element(By.ID, section).is_displayed(), section
    assert "Do not switch over" in browser.find_element(By.ID, "verdict").text
    assert len(visible_policies(browser)) == len(sample.POLICIES)
    assert not browser.find_element(By.CSS_SELECTOR, ".controls").is_displayed()


def test_policy_opens_without_scripts(browser: Chrome, realistic_page: Path) -> None:
    open_page(browser, realistic_page, scripts=False)
    policy = browser.find_element(By.ID, "policy-1")
    policy.find_element(By.TAG_NAME, "summary").send_keys(Keys.ENTER)
    assert "selector: app == 'cart'" in policy.text


def test_find_narrows_the_list_by_keyboard(browser: Chrome, realistic_page: Path) -> None:
    open_page(browser, realistic_page)
    tab_to(browser, "#policies input")
    browser.switch_to.active_element.send_keys("pol-named-port")
    assert visible_policies(browser) == ["shop/web-in"]
    status = browser.find_element(By.CSS_SELECTOR, "#policies [role=status]")
    assert status.text == "1 of 5 policies match."


def test_result_filter_and_order_by_name_work_together(browser: Chrome, realistic_page: Path) -> None:
    open_page(browser, realistic_page)
    tab_to(browser, "#policies [data-control=order]")
    browser.switch_to.active_element.send_keys("name")
    assert visible_policies(browser) == sorted(visible_policies(browser))
    tab_to(browser, "#policies [data-control=open]")
    browser.execute_script("document.querySelector('#policies [data-control=standing]').focus()")
    browser.switch_to.active_element.send_keys("Kept")
    assert visible_policies(browser) == ["demo/default-deny"]


def test_column_sorts_by_its_button_and_says_so(browser: Chrome, realistic_page: Path) -> None:
    open_page(browser, realistic_page)
    head = browser.find_elements(By.CSS_SELECTOR, "#namespaces th[data-sort]")[1]
    button = head.find_element(By.TAG_NAME, "button")
    button.send_keys(Keys.ENTER)
    button.send_keys(Keys.ENTER)
    assert head.get_attribute("aria-sort") == "descending"
    cells = browser.find_elements(By.CSS_SELECTOR, "#namespaces tbody tr td:nth-child(2)")
    numbers = [int(cell.text) for cell in cells]
    assert numbers == sorted(numbers, reverse=True)
    assert numbers[0] > numbers[-1]


def test_link_from_a_blocker_opens_its_finding(browser: Chrome, realistic_page: Path) -> None:
    open_page(browser, realistic_page)
    finding = browser.find_element(By.CSS_SELECTOR, "#findings details[id*=POL-NAMED-PORT]")
    assert finding.get_attribute("open") is None
    browser.execute_script(f"location.hash = '{finding.get_attribute('id')}'")
    assert finding.find_element(By.TAG_NAME, "table").is_displayed()


def test_rows_beyond_the_first_page_come_from_data(browser: Chrome, make_page: MakePage) -> None:
    page = make_page(sample.many(policies=450, namespaces=230))
    open_page(browser, page)
    assert len(visible_policies(browser)) == 200
    assert console(browser) == []
    browser.find_element(By.CSS_SELECTOR, "#policies .pager button:last-child").click()
    assert len(visible_policies(browser)) == 200
    browser.find_element(By.CSS_SELECTOR, "#policies input").send_keys("policy-00449")
    (name,) = visible_policies(browser)
    assert name.endswith("policy-00449")
    shown = browser.find_element(By.CSS_SELECTOR, ".rows > details")
    shown.find_element(By.TAG_NAME, "summary").click()
    for words in ("app: server", "kind: CiliumNetworkPolicy", "port number 449"):
        assert words in shown.text


def test_link_reaches_a_policy_that_is_not_in_the_page(browser: Chrome, make_page: MakePage) -> None:
    page = make_page(sample.many(policies=450, namespaces=3))
    open_page(browser, page)
    browser.execute_script("location.hash = 'policy-450'")
    assert browser.find_element(By.ID, "policy-450").get_attribute("open") is not None


def test_without_scripts_the_page_says_what_is_left_out(browser: Chrome, make_page: MakePage) -> None:
    open_page(browser, make_page(sample.many(policies=450, namespaces=3)), scripts=False)
    status = browser.find_element(By.CSS_SELECTOR, "#policies [role=status]").text
    assert status.startswith("The first 200 of 450 policies; 250 more need scripts")


def hostile() -> sample.Folder:
    """Script text wherever a cluster or a document can put text, on the first page and beyond it."""
    spec: dict[str, Json] = {"podSelector": {"matchLabels": {"app": HOSTILE}}}
    named = tuple(sample.policy(f"{HOSTILE}{number}", HOSTILE, spec) for number in range(230))
    results = tuple(
        sample.result(
            one,
            Result.EXACT_HERE,
            sample.finding(one, f"POL-{HOSTILE}", HOSTILE, field=HOSTILE),
            assumptions=(HOSTILE,),
        )
        for one in named
    )
    fact = Fact(topic=HOSTILE, value=HOSTILE, evidence=(Evidence(HOSTILE, HOSTILE, HOSTILE),))
    header = structs.replace(sample.HEADER, name=HOSTILE, facts=(fact,))
    translation = structs.replace(sample.TRANSLATION, results=results, engines=(HOSTILE,))
    return replace(sample.REALISTIC, header=header, objects=named, translation=translation, files={})


def test_script_text_in_names_never_runs(browser: Chrome, make_page: MakePage) -> None:
    open_page(browser, make_page(hostile()))
    title = browser.title
    assert title.startswith("Cutover report: </script>")
    browser.execute_script("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    browser.find_element(By.CSS_SELECTOR, "#policies .pager button:last-child").click()
    browser.execute_script("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    assert browser.find_elements(By.TAG_NAME, "img") == []
    assert len(browser.find_elements(By.TAG_NAME, "script")) == 2
    assert browser.title == title
    assert console(browser) == []


def test_script_text_in_traffic_comparison_and_runbook_never_runs(browser: Chrome, tmp_path: Path) -> None:
    folder = whole_folder(tmp_path / "migration")
    inside = json.dumps(HOSTILE)[1:-1]
    for name in ("audit.json", "verification.json", "plan.json"):
        document = folder / name
        text = document.read_text(encoding="utf-8")
        taken = text.replace("shop", inside).replace("azure-npm", inside).replace("staging", inside)
        assert taken != text
        document.write_text(taken, encoding="utf-8")
    page = folder / "report.html"
    page.write_bytes(run_report(folder, NOW).html())
    open_page(browser, page)
    browser.execute_script("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    for section in ("changes", "traffic", "runbook"):
        assert "onerror=alert(1)" in browser.find_element(By.ID, section).text
    assert browser.find_elements(By.TAG_NAME, "img") == []
    assert len(browser.find_elements(By.TAG_NAME, "script")) == 2
    assert console(browser) == []


def test_dark_and_light_have_different_colours_and_enough_contrast(browser: Chrome, realistic_page: Path) -> None:
    backgrounds = set()
    for scheme in ("light", "dark"):
        open_page(browser, realistic_page, scheme=scheme)
        backgrounds.add(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))
        for css in (".soft", ".chip.blocker", ".chip.warning", "a", ".lead", "thead th"):
            assert contrast(browser, css) >= 4.5, (scheme, css)
    assert len(backgrounds) == 2


def contrast(browser: Chrome, css: str) -> float:
    """WCAG contrast of an element's text against the nearest background that is painted."""
    ink, ground = browser.execute_script(
        """
        let node = document.querySelector(arguments[0]);
        const ink = getComputedStyle(node).color;
        const painted = (one) => getComputedStyle(one).backgroundColor !== "rgba(0, 0, 0, 0)";
        while (!painted(node)) node = node.parentElement;
        return [ink, getComputedStyle(node).backgroundColor];
        """,
        css,
    )
    lighter, darker = sorted((luminance(ink), luminance(ground)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    """Relative luminance of rgb(r, g, b)."""
    parts = [float(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("width", [390, 768, 1280])
@pytest.mark.parametrize("which", ["realistic_page", "whole_page"])
def test_page_never_scrolls_sideways(browser: Chrome, which: str, width: int, request: pytest.FixtureRequest) -> None:
    open_page(browser, request.getfixturevalue(which), width=width)
    browser.execute_script("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("which", ["realistic_page", "whole_page"])
def test_axe_finds_nothing(browser: Chrome, which: str, scheme: str, axe: str, request: pytest.FixtureRequest) -> None:
    open_page(browser, request.getfixturevalue(which), scheme=scheme)
    browser.execute_script("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    assert axe_problems(browser, axe) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_parts_and_their_index_are_clean_too(
    browser: Chrome, whole_page: Path, tmp_path: Path, scheme: str, axe: str
) -> None:
    made = run_report(whole_page.parent, NOW)
    parts = made.parts("namespace")
    pages = {part.file: one.html() for part, one in parts if part.title in ("shop", "sandbox")}
    for name, text in {**pages, "index": made.index("namespace", parts)}.items():
        page = tmp_path / f"{name}.html"
        page.write_bytes(text)
        open_page(browser, page, scheme=scheme)
        assert requests(browser) == [page.as_uri()]
        assert console(browser) == []
        assert axe_problems(browser, axe) == [], name
        assert broken_links(browser) == [], name


def broken_links(browser: Chrome) -> list[str]:
    """Links inside the page that lead nowhere."""
    found: list[str] = browser.execute_script(
        """
        const inside = [...document.querySelectorAll("a[href^='#']")].map((link) => link.hash);
        return inside.filter((hash) => !document.getElementById(decodeURIComponent(hash.slice(1))));
        """
    )
    return found


def test_report_with_a_baseline_is_clean_too(browser: Chrome, tmp_path: Path, axe: str) -> None:
    old = tmp_path / "old.json"
    old.write_bytes(run_report(sample.REALISTIC.write(tmp_path / "first"), NOW).json())
    page = tmp_path / "report.html"
    page.write_bytes(run_report(whole_folder(tmp_path / "second"), NOW, old).html())
    open_page(browser, page)
    assert browser.find_element(By.ID, "since").is_displayed()
    assert axe_problems(browser, axe) == []
    assert broken_links(browser) == []


def axe_problems(browser: Chrome, axe: str) -> list[str]:
    """What axe-core says of the page, one line for each place."""
    browser.execute_cdp_cmd("Runtime.evaluate", {"expression": axe})
    found: list[str] = browser.execute_async_script(
        """
        const done = arguments[arguments.length - 1];
        axe.run(document).then(
          (found) => done(found.violations.flatMap((one) => one.nodes.map((node) => `${one.id}: ${node.html}`))),
          (error) => done([String(error)]),
        );
        """
    )
    return found


def test_page_with_every_document_is_clean_and_asks_for_nothing(browser: Chrome, whole_page: Path) -> None:
    open_page(browser, whole_page)
    assert requests(browser) == [whole_page.as_uri()]
    assert console(browser) == []
    for section in (*SECTIONS, "coverage", "nodes", "runbook"):
        assert browser.find_element(By.ID, section).is_displayed(), section


def test_first_screen_answers_before_anything_else(browser: Chrome, whole_page: Path) -> None:
    open_page(browser, whole_page)
    verdict = browser.find_element(By.ID, "verdict")
    assert verdict.rect["y"] + verdict.rect["height"] <= 900
    assert verdict.find_element(By.CSS_SELECTOR, "ol a").text == "Traffic that passes today would be dropped by Cilium"


def test_changed_cell_leads_to_its_causes(browser: Chrome, whole_page: Path) -> None:
    open_page(browser, whole_page)
    cell = browser.find_element(By.CSS_SELECTOR, ".matrix td.new a")
    cell.send_keys(Keys.ENTER)
    pair = browser.find_element(By.ID, (cell.get_attribute("href") or "").partition("#")[2])
    assert pair.get_attribute("open") is not None
    pair.find_element(By.CSS_SELECTOR, "li a").send_keys(Keys.ENTER)
    assert browser.find_element(By.CSS_SELECTOR, "details:target").get_attribute("open") is not None


def test_would_be_drops_are_found_by_keyboard(browser: Chrome, whole_page: Path) -> None:
    open_page(browser, whole_page)
    tab_to(browser, "#traffic input")
    browser.switch_to.active_element.send_keys("staging")
    rows = browser.find_elements(By.CSS_SELECTOR, ".drops tbody tr")
    assert [row.find_element(By.TAG_NAME, "th").text for row in rows] == ["staging/Deployment/load-test"]


def drops(browser: Chrome) -> list[str]:
    """The would-be drops that the page shows, without their pictures."""
    return [row.text for row in browser.find_elements(By.CSS_SELECTOR, ".drops tbody tr")]


def test_twenty_thousand_flows_can_be_turned_found_and_sorted(browser: Chrome, large_page: Path) -> None:
    open_page(browser, large_page)
    status = browser.find_element(By.CSS_SELECTOR, "#traffic .list-of [role=status]")
    assert status.text == "20,000 kinds, showing 1 to 100."
    first = drops(browser)
    assert len(first) == 100
    browser.find_element(By.CSS_SELECTOR, "#traffic .pager button:last-child").click()
    second = drops(browser)
    assert len(second) == 100
    assert set(first).isdisjoint(second)
    browser.find_element(By.CSS_SELECTOR, "#traffic input").send_keys("app-141 tcp/5432")
    assert 0 < len(drops(browser)) < 100
    assert all("app-141" in row and "TCP/5432" in row for row in drops(browser))
    assert console(browser) == []


def test_pictures_of_hours_are_the_same_from_the_page_and_from_the_script(browser: Chrome, large_page: Path) -> None:
    open_page(browser, large_page)
    browser.find_element(By.CSS_SELECTOR, "#traffic .pager button:last-child").click()
    drawn = browser.find_element(By.CSS_SELECTOR, ".drops tbody svg").get_attribute("outerHTML") or ""
    audit = run_report(large_page.parent, NOW).report.audit
    assert audit is not None
    view = traffic_view(audit)
    expected = str(drop_picture(view.cells[DROPS][-1], view.step))
    assert "not watched" in expected
    for attribute in ("d", "aria-label", "viewBox"):
        found, wanted = (re.findall(rf' {attribute}="([^"]*)"', text) for text in (drawn, expected))
        assert found == wanted


def test_without_scripts_the_first_drops_are_there(browser: Chrome, large_page: Path) -> None:
    open_page(browser, large_page, scripts=False)
    assert len(drops(browser)) == 100
    status = browser.find_element(By.CSS_SELECTOR, "#traffic [role=status]").text
    assert status.startswith("The first 100 of 20,000 kinds of traffic; 19,900 more need scripts")


def test_page_prints(browser: Chrome, realistic_page: Path) -> None:
    open_page(browser, realistic_page)
    printed = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert printed.startswith(b"%PDF-")
    assert printed.count(b"/Type /Page\n") >= 3


@pytest.mark.parametrize("which", ["realistic_page", "whole_page"])
def test_structure_helps_those_who_do_not_see_it(browser: Chrome, which: str, request: pytest.FixtureRequest) -> None:
    open_page(browser, request.getfixturevalue(which))
    problems = browser.execute_script(
        """
        const all = (css) => [...document.querySelectorAll(css)];
        const bad = [];
        let last = 0;
        for (const head of all("h1, h2, h3, h4")) {
          const level = Number(head.tagName[1]);
          if (level > last + 1) bad.push("heading skips a level: " + head.textContent);
          last = level;
        }
        for (const table of all("table")) if (!table.caption?.textContent.trim()) bad.push("table without caption");
        for (const head of all("th")) if (!head.scope) bad.push("th without scope: " + head.textContent);
        for (const input of all("input, select")) if (!input.labels.length) bad.push("control without label");
        for (const picture of all("svg")) {
          const words = picture.querySelector("title") && picture.querySelector("desc");
          if (!words && !picture.ariaLabel) bad.push("picture without words");
        }
        const ids = all("[id]").map((one) => one.id);
        if (new Set(ids).size !== ids.length) bad.push("an id stands twice");
        for (const link of all("a[href^='#']")) {
          const target = document.getElementById(decodeURIComponent(link.hash.slice(1)));
          if (!target) bad.push("link leads nowhere: " + link.hash);
        }
        for (const one of all("[style]")) bad.push("inline style on " + one.tagName);
        for (const css of ["h1", "main", "header", "footer", "nav[aria-label]"]) {
          if (all(css).length !== 1) bad.push(css + " should be there once");
        }
        return bad;
        """
    )
    assert problems == []


def test_first_tab_leads_past_the_navigation(browser: Chrome, realistic_page: Path) -> None:
    open_page(browser, realistic_page)
    browser.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    assert (browser.switch_to.active_element.get_attribute("href") or "").endswith("#main")


def test_focus_is_visible(browser: Chrome, realistic_page: Path) -> None:
    open_page(browser, realistic_page)
    tab_to(browser, "#policies input")
    style = browser.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
    assert style == "solid"
