"""The documentation, held against what it describes."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
import re
from typing import Any

import pytest
import yaml

from custom_components.socomec_countis.binary_sensor import PHASES
from custom_components.socomec_countis.button import BUTTONS
from custom_components.socomec_countis.const import DOMAIN
from custom_components.socomec_countis.coordinator import CountisConfigEntry
from custom_components.socomec_countis.countis import registers
from custom_components.socomec_countis.schemas import METER_SCHEMAS
from custom_components.socomec_countis.select import TARIFF
from custom_components.socomec_countis.sensor import SENSORS
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity import EntityDescription
from homeassistant.util import slugify
from simulator import Constant, Meter, Phase

from .test_commissioning import FULL_LOAD, check_wiring
from .test_files import DESCRIPTIONS, INTEGRATION, ROOT, TEXTS

DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md")])
ENTITIES = (DOCS / "entities.md").read_text()
RULES = yaml.safe_load((INTEGRATION / "quality_scale.yaml").read_text())["rules"]
DOCUMENTED = sorted(
    rule
    for rule, answer in RULES.items()
    if rule.startswith("docs-")
    and not (isinstance(answer, dict) and answer["status"] == "exempt")
)

type Row = dict[str, str]


def prose(page: Path) -> str:
    """Return what a page says outside of code."""
    return re.sub(r"(?ms)^ *```.*?^ *```", "", page.read_text())


def anchors(page: Path) -> set[str]:
    """Return where links into a page may lead: its headings, as GitHub names them."""
    found: Counter[str] = Counter()
    named = set()
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        words = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        named.add(f"{words}-{found[words]}" if found[words] else words)
        found[words] += 1
    return named


def links(page: Path) -> Iterator[str]:
    """Yield where a page leads, pictures included."""
    yield from re.findall(r"\]\(([^)\s]+)\)", prose(page))


def tables(text: str) -> Iterator[Row]:
    """Yield each row of each table: the heading of a column to its cell."""
    headings: list[str] = []
    for line in text.splitlines():
        if not line.startswith("|"):
            headings = []
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not headings:
            headings = cells
        elif not set(line) <= set("|-: "):
            yield dict(zip(headings, cells, strict=True))


def documented(key: str) -> Row:
    """Return the row of an entity, with what it has for this one of several."""
    (platform,) = (
        name
        for name, descriptions in DESCRIPTIONS.items()
        if key in {each.key for each in descriptions}
    )
    name = TEXTS["entity"][platform][key]["name"]
    row, names = next(
        (row, names)
        for row in tables(ENTITIES)
        if "On" in row and name in (names := row["Entity"].split(", "))
    )
    if len(names) == 1:
        return row
    own = {
        heading: row[heading].split(", ")
        for heading in ("Register", "In kWh")
        if heading in row
    }
    assert all(len(each) == len(names) for each in own.values()), name
    return row | {heading: each[names.index(name)] for heading, each in own.items()}


def addresses(quantity: str) -> dict[str, str]:
    """Return where a quantity is read, by the heading that this stands under."""
    for key, several, between in (
        ("ct_ratio", registers.CurrentTransformer, ", "),
        ("clock_offset", registers.Clock, " … "),
    ):
        if quantity == key:
            (ends,) = several.register_ranges or ()
            return {"Register": between.join(map(str, ends))}
    found = {}
    for block in (
        registers.Measurements,
        registers.Energies,
        registers.Tariffs,
        registers.Periods,
        registers.Overflows,
    ):
        coarse = getattr(registers, f"{block.__name__}InKwh", None)
        for heading, each in (("Register", block), ("In kWh", coarse)):
            if each and quantity in each.declared_fields:
                found[heading] = str(each.declared_fields[quantity].address)
    return found


def described(page: str) -> set[str]:
    """Return what a page has in bold in the first column of a table."""
    return {
        match[1]
        for row in tables((DOCS / page).read_text())
        if (match := re.fullmatch(r"\*\*(.+)\*\*", next(iter(row.values()))))
    }


def pattern(quoted: str) -> re.Pattern[str]:
    """Return what the texts match that a page quotes with dots in it."""
    return re.compile(".*".join(map(re.escape, re.split(r" ?… ?", quoted))))


# -- links and pictures ------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links(page):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_table_is_whole(page: Path) -> None:
    text = prose(page)
    for table in re.findall(r"(?m)^\|.*(?:\n\|.*)*", text):
        _, rule, *_ = table.splitlines()
        assert set(rule) <= set("|-: "), table
    assert all(tables(text))


def test_every_picture_is_shown_somewhere() -> None:
    shown = {(page.parent / link).resolve() for page in PAGES for link in links(page)}
    assert {path for path in (DOCS / "images").iterdir() if path not in shown} == set()


def test_every_page_is_reached_from_the_readme() -> None:
    linked = {(ROOT / link.partition("#")[0]) for link in links(ROOT / "README.md")}
    unreached = {page.name for page in DOCS.glob("*.md") if page not in linked}
    assert unreached == set()


def test_addresses_within_the_repository_exist() -> None:
    templates = sorted((ROOT / ".github").rglob("*.yml"))
    found = [
        path
        for file in (*PAGES, *templates)
        for path in re.findall(r"home-assistant/blob/main/([\w./-]+)", file.read_text())
    ]
    assert found
    for path in found:
        assert (ROOT / path).exists(), path


# -- entities and actions ----------------------------------------------------------


@pytest.mark.parametrize("sensor", SENSORS, ids=lambda sensor: sensor.key)
def test_a_sensor_is_described_with_its_register_and_unit(
    sensor: EntityDescription,
) -> None:
    row = documented(sensor.key)
    where = addresses(sensor.key)
    assert where
    assert where.items() <= row.items()
    assert ("In kWh" in row) == ("In kWh" in where)
    assert row["Unit"] == (getattr(sensor, "native_unit_of_measurement", None) or "")
    on = "yes" if sensor.entity_registry_enabled_default else "no"
    if getattr(sensor, "enabled_unless_zero", False):
        on = "if not 0"
    assert row["On"] == on


@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: phase.key)
def test_a_phase_is_described_with_the_register_of_its_voltage(
    phase: EntityDescription,
) -> None:
    quantity: str = getattr(phase, "quantity")  # noqa: B009
    assert documented(phase.key)["Register"] == addresses(quantity)["Register"]


@pytest.mark.parametrize(
    ("key", "written"),
    [
        ("tariff", str(registers.SET_TARIFF)),
        (
            "reset_partial_counters",
            f"{registers.VALUE_RESET}, {registers.PARTIAL_ENERGIES_RESET}",
        ),
        ("reset_tariff_counters", str(registers.TARIFF_RESET)),
        ("set_clock", f"{registers.SET_CLOCK} … {registers.SET_CLOCK + 5}"),
        ("check_wiring", ""),
    ],
)
def test_a_control_is_described_with_what_it_writes(key: str, written: str) -> None:
    (description,) = (each for each in (*BUTTONS, TARIFF) if each.key == key)
    row = documented(key)
    assert row["Writes"] == written
    on = "yes" if description.entity_registry_enabled_default else "no"
    assert row["On"] == on


def test_no_entity_is_described_that_does_not_exist() -> None:
    named = [
        name
        for row in tables(ENTITIES)
        if "On" in row
        for name in row["Entity"].split(", ")
    ]
    assert sorted(named) == sorted(
        text["name"]
        for entities in TEXTS["entity"].values()
        for text in entities.values()
    )


def test_a_key_is_the_name_or_stands_with_those_that_are_not() -> None:
    other = {
        row["Entity"].removesuffix(", and so on"): row["Key"].strip("`")
        for row in tables(ENTITIES)
        if "Key" in row
    }
    for key, text in TEXTS["entity"]["sensor"].items():
        like_tariff_1 = re.sub(r"tariff_\d$", "tariff_1", key)
        name = re.sub(r"of tariff \d", "of tariff 1", text["name"])
        assert other.get(name, slugify(text["name"])) in (key, like_tariff_1)
    names = {text["name"] for text in TEXTS["entity"]["sensor"].values()}
    assert other.keys() <= names


def test_every_action_is_described_with_its_fields() -> None:
    for action, text in TEXTS["services"].items():
        section = ENTITIES.partition(f"### {text['name']}\n")[2].partition("\n## ")[0]
        section = section.partition("\n### ")[0]
        assert f"`{DOMAIN}.{action}`" in section
        fields = {row["Field"] for row in tables(section) if "Field" in row}
        assert fields == {f"`{field}`" for field in text.get("fields", {})}


async def test_the_wiring_check_returns_what_is_shown(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    (example,) = (
        block
        for block in re.findall(r"```yaml\n(.*?)```", ENTITIES, re.DOTALL)
        if block.startswith("meters:")
    )
    meter.load = Constant(FULL_LOAD, Phase(-5000, -500), FULL_LOAD)
    shown: Any = yaml.safe_load(example)
    assert await check_wiring(hass) == shown["meters"][0]
    explained = {next(iter(row.values())).strip("`") for row in tables(ENTITIES)}
    assert shown["meters"][0].keys() <= explained


# -- dialogs and messages ----------------------------------------------------------


def test_every_field_and_option_is_described() -> None:
    steps = [
        *(TEXTS["config"]["step"][kind] for kind in METER_SCHEMAS),
        *TEXTS["options"]["step"].values(),
    ]
    fields = {name for step in steps for name in step["data"].values()}
    assert described("installation.md") == fields


def test_the_ways_to_reach_a_line_are_called_as_in_the_dialog() -> None:
    page = (DOCS / "installation.md").read_text()
    for name in TEXTS["config"]["step"]["user"]["menu_options"].values():
        assert f"*{name.partition(':')[0]}*" in page


def test_every_error_and_issue_is_found_in_troubleshooting() -> None:
    quoted = re.findall(
        r"\*\*[\"“](.+?)[\"”]",
        re.sub(r"\s+", " ", (DOCS / "troubleshooting.md").read_text()),
    )
    patterns = [pattern(each) for each in quoted]
    # What concerns the form alone, or says all there is to say.
    plain = {"none_chosen", "several_errors", "no_meter_targeted", "not_set_up"}
    texts = [
        *(text for key, text in TEXTS["config"]["error"].items() if key not in plain),
        *(issue["title"] for issue in TEXTS["issues"].values()),
        *(
            text["message"]
            for key, text in TEXTS["exceptions"].items()
            if key not in plain and not key.startswith("wiring_")
        ),
    ]
    for text in texts:
        assert any(each.search(text) for each in patterns), text
    texts += TEXTS["config"]["abort"].values()
    texts += [step["title"] for step in TEXTS["config"]["step"].values()]
    for each in patterns:
        assert any(each.search(text) for text in texts), each.pattern


# -- the code and the quality scale ------------------------------------------------


def test_every_module_has_its_place_on_the_map() -> None:
    contributing = (ROOT / "CONTRIBUTING.md").read_text()
    for path in INTEGRATION.rglob("*.py"):
        if path.name != "__init__.py":
            assert re.search(rf"\b{path.name}", contributing), path


@pytest.mark.parametrize("rule", DOCUMENTED)
def test_a_rule_for_the_documentation_names_where_it_is_followed(rule: str) -> None:
    place = re.match(r"([\w/.-]+\.md)(?:#([\w-]+))?", RULES[rule]["comment"])
    assert place
    assert (ROOT / place[1]).is_file()
    assert not place[2] or place[2] in anchors(ROOT / place[1])
