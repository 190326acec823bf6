"""The pages in docs/ say what the code says."""

import re
from enum import StrEnum
from pathlib import Path

import pytest

from dispatcher import providers
from dispatcher.batch import BATCH_MOVES, BatchState
from dispatcher.campaign import CAMPAIGN_MOVES, CampaignState
from dispatcher.config import PREFIX, Settings
from dispatcher.message import MESSAGE_MOVES, MessageState

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
STATES = (DOCS / "states.md").read_text(encoding="utf-8")
CONFIGURATION = (DOCS / "configuration.md").read_text(encoding="utf-8")

MACHINES: dict[str, tuple[type[StrEnum], dict]] = {
    "Campaign": (CampaignState, CAMPAIGN_MOVES),
    "Batch": (BatchState, BATCH_MOVES),
    "Message": (MessageState, MESSAGE_MOVES),
}
_START_OR_END = "[*]"


def section(title: str) -> str:
    """Return what stands under a second-level heading."""
    [found] = re.findall(rf"^## {title}$\n(.*?)(?=^## |\Z)", STATES, re.MULTILINE | re.DOTALL)
    return found


def drawn(title: str) -> list[tuple[str, str]]:
    """Return the arrows of a machine's diagram, those from the start and to the end included."""
    [diagram] = re.findall(r"```mermaid\nstateDiagram-v2\n(.*?)```", section(title), re.DOTALL)
    return re.findall(r"^ +(\S+) --> (\S+)$", diagram, re.MULTILINE)


def rows(text: str) -> list[list[str]]:
    """Return the cells of the Markdown tables in a text, without their headings."""
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    rules = [index for index, cells in enumerate(found) if all(set(cell) <= {"-"} for cell in cells)]
    return [cells for index, cells in enumerate(found) if index not in rules and index + 1 not in rules]


def allowed(title: str) -> set[tuple[str, str]]:
    return {(before.value, after.value) for before, afters in MACHINES[title][1].items() for after in afters}


@pytest.mark.parametrize("title", MACHINES)
def test_the_diagram_has_the_moves_of_the_code_once_each(title: str) -> None:
    arrows = [arrow for arrow in drawn(title) if _START_OR_END not in arrow]
    assert len(arrows) == len(set(arrows))
    assert set(arrows) == allowed(title)


@pytest.mark.parametrize("title", MACHINES)
def test_the_diagram_ends_where_the_code_has_no_move(title: str) -> None:
    ends = {before for before, after in drawn(title) if after == _START_OR_END}
    assert ends == {state.value for state, afters in MACHINES[title][1].items() if not afters}


@pytest.mark.parametrize("title", MACHINES)
def test_the_table_of_moves_has_those_of_the_diagram_each_with_its_cause(title: str) -> None:
    table = rows(section(title).partition(f"### {title} moves")[2])
    assert all(len(cells) == 3 and cells[2] for cells in table)
    listed = [(cells[0], cells[1]) for cells in table]
    assert len(listed) == len(set(listed))
    assert set(listed) == {arrow for arrow in drawn(title) if _START_OR_END not in arrow}


@pytest.mark.parametrize("title", MACHINES)
def test_every_state_has_its_meaning_and_what_a_crash_leads_to(title: str) -> None:
    table = rows(section(title).partition(f"### {title} moves")[0])
    assert all(len(cells) == 3 and all(cells) for cells in table)
    assert [cells[0] for cells in table] == [state.value for state in MACHINES[title][0]]


def variables() -> list[str]:
    """Return the variable of every setting there is."""
    found = [PREFIX + name.upper() for name in Settings.model_fields]
    for provider, model in providers.settings_models().items():
        found += [f"{PREFIX}{provider.upper()}__{name.upper()}" for name in model.model_fields]
    return found


@pytest.mark.parametrize("variable", variables())
def test_every_setting_is_in_the_page_on_configuration(variable: str) -> None:
    assert f"`{variable}`" in CONFIGURATION


def test_the_page_on_configuration_names_no_setting_that_there_is_not() -> None:
    named = set(re.findall(rf"`({PREFIX}[A-Z0-9_]*[A-Z0-9])`", CONFIGURATION))
    assert named - {"DISPATCHER_CONFIG"} == set(variables())


def test_every_link_between_the_pages_leads_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "deploy").rglob("*.md")]
    for page in pages:
        for link in re.findall(r"\]\(([^)\s#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.relative_to(ROOT)}: {link}"
