"""The pages agree with the code, and with the texts of the user interface."""

from collections.abc import Iterator
from pathlib import Path
import re
from typing import Any

import hass_frontend
import pytest
import yaml

from custom_components.socomec_countis import sensor
from custom_components.socomec_countis.binary_sensor import PHASES
from custom_components.socomec_countis.button import BUTTONS
from custom_components.socomec_countis.const import CONNECTION_TYPES, DOMAIN
from custom_components.socomec_countis.countis import (
    PARTIAL_TARIFF_COUNTERS,
    TARIFF_COUNTERS,
    registers,
)
from custom_components.socomec_countis.deadband_sensor import (
    DeadbandSensorDescription,
)
from custom_components.socomec_countis.runtime import CountisConfigEntry
from custom_components.socomec_countis.select import TARIFF
from homeassistant.const import ATTR_ENTITY_ID
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity import EntityDescription
from homeassistant.util import slugify
from simulator import Constant, Meter, Phase
from tools.demo.dashboard import dashboard

from .common import entity_id
from .files import DESCRIPTIONS, INTEGRATION, METER_TEXTS, ROOT, SOURCES, TEXTS, load
from .pages import DOCS, PAGES, Row, anchors, links, prose, table_rows, unwrapped

ENTITIES = (DOCS / "entities.md").read_text()
RULES = yaml.safe_load((INTEGRATION / "quality_scale.yaml").read_text())["rules"]
DOCUMENTATION_RULES = sorted(
    rule
    for rule, status in RULES.items()
    if rule.startswith("docs-")
    and not (isinstance(status, dict) and status["status"] == "exempt")
)


def entity_row(key: str) -> Row:
    """Return the row of an entity in entities.md: its cells by column heading.

    If the row describes several entities, each returned cell with registers contains
    only the register of this entity.
    """
    (platform,) = (
        name
        for name, descriptions in DESCRIPTIONS.items()
        if key in {each.key for each in descriptions}
    )
    name = TEXTS["entity"][platform][key]["name"]
    # Only the tables of entities have a column "On".
    row, names = next(
        (row, names)
        for row in table_rows(ENTITIES)
        if "On" in row and name in (names := row["Entity"].split(", "))
    )
    if len(names) == 1:
        return row
    cell_parts = {
        heading: row[heading].split(", ")
        for heading in ("Register", "Register (1 kWh)")
        if heading in row
    }
    assert all(len(each) == len(names) for each in cell_parts.values()), name
    return row | {
        heading: each[names.index(name)] for heading, each in cell_parts.items()
    }


def register_addresses(quantity: str) -> dict[str, str]:
    """Return the register addresses of a quantity: the cells by column heading."""
    # These quantities are calculated from all registers of a block.
    for key, whole_block, separator in (
        ("ct_ratio", registers.CurrentTransformer, ", "),
        ("clock_offset", registers.Clock, " … "),
    ):
        if quantity == key:
            (ends,) = whole_block.register_ranges or ()
            return {"Register": separator.join(map(str, ends))}
    found = {}
    for block in (
        registers.Measurements,
        registers.Energies,
        registers.Tariffs,
        registers.PartialTariffs,
        registers.Periods,
        registers.Overflows,
    ):
        low_resolution = getattr(registers, f"{block.__name__}InKwh", None)
        for heading, each in (
            ("Register", block),
            ("Register (1 kWh)", low_resolution),
        ):
            if each and quantity in each.declared_fields:
                found[heading] = str(each.declared_fields[quantity].address)
    return found


def bold_names(page: str) -> set[str]:
    """Return the bold cells in the first column of the tables of a page."""
    return {
        match[1]
        for row in table_rows((DOCS / page).read_text())
        if (match := re.fullmatch(r"\*\*(.+)\*\*", next(iter(row.values()))))
    }


def pattern(quoted: str) -> re.Pattern[str]:
    """Return a pattern for a quoted text, in which "…" matches any text."""
    return re.compile(".*".join(map(re.escape, re.split(r" ?… ?", quoted))))


# -- links and pictures ------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_target_of_every_link_exists(page: Path) -> None:
    for link in links(page):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_row_of_a_table_has_all_cells(page: Path) -> None:
    text = prose(page)
    for table in re.findall(r"(?m)^\|.*(?:\n\|.*)*", text):
        _, separator, *_ = table.splitlines()
        assert set(separator) <= set("|-: "), table
    assert all(table_rows(text))  # `table_rows` fails if the number of cells is wrong


def test_every_file_in_docs_is_linked() -> None:
    linked = {
        (page.parent / link.partition("#")[0]).resolve()
        for page in PAGES
        for link in links(page)
    }
    files = {path for path in DOCS.rglob("*") if path.is_file()}
    assert files - linked == set()


def test_readme_links_every_page() -> None:
    linked = {ROOT / link.partition("#")[0] for link in links(ROOT / "README.md")}
    assert {page.name for page in DOCS.glob("*.md") if page not in linked} == set()


def test_urls_of_repository_files_name_existing_files() -> None:
    templates = sorted((ROOT / ".github").rglob("*.yml"))
    found = [
        path
        for file in (*PAGES, *templates)
        for path in re.findall(r"home-assistant/blob/main/([\w./-]+)", file.read_text())
    ]
    assert found
    for path in found:
        assert (ROOT / path).exists(), path


def test_badge_has_the_oldest_supported_home_assistant() -> None:
    oldest = load(ROOT / "hacs.json")["homeassistant"]
    badge = (DOCS / "images" / "badge-home-assistant.svg").read_text()
    assert f">{oldest} or newer<" in badge
    for page in ("README.md", "docs/installation.md", "docs/examples.md"):
        assert f"Home Assistant {oldest} or newer" in unwrapped(ROOT / page), page


# -- entities and actions ----------------------------------------------------------


@pytest.mark.parametrize("described", sensor.SENSORS, ids=lambda each: each.key)
def test_sensor_is_described_with_its_register_and_unit(
    described: DeadbandSensorDescription,
) -> None:
    row = entity_row(described.key)
    addresses = register_addresses(described.quantity or described.key)
    assert addresses or described.key in PARTIAL_TARIFF_COUNTERS
    assert addresses.items() <= row.items()
    assert ("Register (1 kWh)" in row) == ("Register (1 kWh)" in addresses)
    assert row["Unit"] == (described.native_unit_of_measurement or "")
    on = "yes" if described.entity_registry_enabled_default else "no"
    if described.key in {*TARIFF_COUNTERS, *PARTIAL_TARIFF_COUNTERS}:
        on = "if not 0"
    if described in sensor.ONE_DIRECTION:
        on = "if producing"
    assert row["On"] == on


@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: phase.key)
def test_phase_is_described_with_the_register_of_its_voltage(
    phase: EntityDescription,
) -> None:
    quantity: str = getattr(phase, "quantity")  # noqa: B009
    assert entity_row(phase.key)["Register"] == register_addresses(quantity)["Register"]


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
def test_control_is_described_with_the_written_registers(
    key: str, written: str
) -> None:
    (description,) = (each for each in (*BUTTONS, TARIFF) if each.key == key)
    row = entity_row(key)
    assert row["Writes"] == written
    on = "yes" if description.entity_registry_enabled_default else "no"
    assert row["On"] == on


def test_every_described_entity_exists() -> None:
    named = [
        name
        for row in table_rows(ENTITIES)
        if "On" in row
        for name in row["Entity"].split(", ")
    ]
    assert sorted(named) == sorted(
        text["name"]
        for entities in TEXTS["entity"].values()
        for text in entities.values()
    )


def test_key_is_the_slug_of_the_name_or_is_listed_as_an_exception() -> None:
    exceptions = {
        row["Entity"].removesuffix(", and so on"): row["Key"].strip("`")
        for row in table_rows(ENTITIES)
        if "Key" in row
    }
    for key, text in TEXTS["entity"]["sensor"].items():
        # The page lists the key of tariff 1 as an example for all tariffs.
        like_tariff_1 = re.sub(r"tariff_\d$", "tariff_1", key)
        name = re.sub(r"of tariff \d", "of tariff 1", text["name"])
        assert exceptions.get(name, slugify(text["name"])) in (key, like_tariff_1)
    names = {text["name"] for text in TEXTS["entity"]["sensor"].values()}
    assert exceptions.keys() <= names


def test_every_action_is_described_with_its_fields() -> None:
    for action, text in TEXTS["services"].items():
        section = ENTITIES.partition(f"### {text['name']}\n")[2].partition("\n## ")[0]
        section = section.partition("\n### ")[0]
        assert f"`{DOMAIN}.{action}`" in section
        fields = {row["Field"] for row in table_rows(section) if "Field" in row}
        assert fields == {f"`{field}`" for field in text.get("fields", {})}


async def test_wiring_check_returns_the_documented_response(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    (example,) = (
        block
        for block in re.findall(r"```yaml\n(.*?)```", ENTITIES, re.DOTALL)
        if block.startswith("meters:")
    )
    normal, reversed_current = Phase(5000, 500), Phase(-5000, -500)
    meter.load = Constant(normal, reversed_current, normal)
    shown: Any = yaml.safe_load(example)
    response = await hass.services.async_call(
        DOMAIN,
        "check_wiring",
        {ATTR_ENTITY_ID: entity_id(hass, "power")},
        blocking=True,
        return_response=True,
    )
    assert response == shown
    explained = {next(iter(row.values())).strip("`") for row in table_rows(ENTITIES)}
    assert shown["meters"][0].keys() <= explained


# -- dashboard ---------------------------------------------------------------------


def sensor_ids(number: int) -> dict[str, str]:
    """Return the entity IDs of the sensors of "COUNTIS E33 #number", by their keys."""
    names = TEXTS["entity"]["sensor"].items()
    return {
        key: f"sensor.countis_e33_{number}_{slugify(text['name'])}"
        for key, text in names
        # The demo uses two tariffs.
        if key not in ("tariff_3_energy", "tariff_4_energy")
    }


def test_documented_dashboard_is_the_dashboard_of_the_demo() -> None:
    documented = yaml.safe_load((DOCS / "dashboard.yaml").read_text())
    assert documented == dashboard([sensor_ids(1), sensor_ids(2)]), (
        "Change docs/dashboard.yaml and tools/demo/dashboard.py in the same way"
    )


# -- dialogs and messages ----------------------------------------------------------


def test_every_field_and_option_is_described() -> None:
    steps = [
        *(TEXTS["config"]["step"][kind] for kind in CONNECTION_TYPES),
        *TEXTS["options"]["step"].values(),
    ]
    fields = {name for step in steps for name in step["data"].values()}
    assert bold_names("installation.md") == fields


def test_installation_uses_the_names_of_the_dialogs() -> None:
    page = unwrapped(DOCS / "installation.md")
    names = [
        *METER_TEXTS["step"]["user"]["data"].values(),
        *METER_TEXTS["step"]["reconfigure"]["data"].values(),
        *METER_TEXTS["initiate_flow"].values(),
        *(
            name
            for key, name in TEXTS["config"]["step"]["user"]["menu_options"].items()
            if key != "resume"  # shown only during and after a scan
        ),
    ]
    for name in names:
        assert f"*{name}*" in page or f"**{name}**" in page, name


FRONTEND = Path(hass_frontend.where()) / "static" / "translations"
# Names in italics that are not among the texts of the frontend or of the integration.
OTHER_NAMES = {
    *("home consumption", "home energy", "home power"),  # Home Assistant 2026.11
    *("custom repositories", "socomec countis"),  # HACS
    *("addr", "bus", "l2", "l3"),  # the meter
    "measurement",  # a state class of Home Assistant
    *("busy", "connection refused", "no such file", "permission denied"),  # Linux
    "resource temporarily unavailable",  # Linux
}
# The pages on which all text in italics is a name that a user sees.
PAGES_WITH_NAMES_IN_ITALICS = (
    *("README.md", "docs/commissioning.md", "docs/counters.md", "docs/energy.md"),
    *("docs/examples.md", "docs/gaps.md", "docs/installation.md", "docs/meter.md"),
    *("docs/troubleshooting.md", "docs/updating.md"),
)


def texts_in(value: Any) -> Iterator[str]:
    """Yield all texts of nested dictionaries, in lower case."""
    if isinstance(value, dict):
        for each in value.values():
            yield from texts_in(each)
    elif isinstance(value, str):
        yield value.strip().lower()


@pytest.fixture(scope="session")
def shown_names() -> set[str]:
    """Return the English texts of the frontend and of the integration, and OTHER_NAMES.

    All texts are in lower case.
    """
    files = [
        path
        for path in FRONTEND.rglob("en-*.json")
        if not path.name.startswith("en-GB")
    ]
    assert files
    return set(texts_in(TEXTS)).union(OTHER_NAMES, *(texts_in(load(p)) for p in files))


@pytest.mark.parametrize("page", PAGES_WITH_NAMES_IN_ITALICS)
def test_names_in_italics_exist_in_the_user_interface(
    page: str, shown_names: set[str]
) -> None:
    text = re.sub(r"`[^`]*`|\s+", " ", prose(ROOT / page))
    italics = re.findall(r"(?<![*\w])\*([^*\s][^*]*)\*(?!\*)", text)
    # An arrow separates the names of successive menus.
    names = [name for each in italics for name in re.split(" [→>] ", each)]
    assert [name for name in names if name.lower() not in shown_names] == []


# troubleshooting.md does not quote these errors, because their texts contain all that a
# user needs.
PLAIN_ERRORS = {"none_ticked", "several_errors", "no_meter_targeted", "not_set_up"}


def test_troubleshooting_quotes_every_error_and_issue_and_only_real_texts() -> None:
    headings = re.findall(r"(?m)^### (.*)$", (DOCS / "troubleshooting.md").read_text())
    patterns = [
        pattern(quote)
        for heading in headings
        for quote in re.findall(r'"(.+?)"', heading)
    ]
    errors = [
        *TEXTS["config"]["error"].items(),
        *METER_TEXTS["error"].items(),
        *((key, text["message"]) for key, text in TEXTS["exceptions"].items()),
    ]
    # The texts whose keys begin with "gap_source_" or "wiring_" are not errors.
    texts = [
        text
        for key, text in errors
        if key not in PLAIN_ERRORS and not key.startswith(("gap_source_", "wiring_"))
    ]
    texts += [issue["title"] for issue in TEXTS["issues"].values()]
    for text in texts:
        assert any(each.search(text) for each in patterns), text
    for dialog in (TEXTS["config"], METER_TEXTS):
        texts += dialog["abort"].values()
        texts += [step["title"] for step in dialog["step"].values()]
    texts.append("implausible")  # in the log
    for each in patterns:
        assert any(each.search(text) for text in texts), each.pattern


# -- the code and the quality scale ------------------------------------------------


def mapped_paths(module_map: str) -> Iterator[Path]:
    """Yield the files and folders in the map, without those in its descriptions."""
    folders = [ROOT]
    # A line begins with names, each with a suffix or a slash at its end.
    lines = re.findall(r"(?m)^((?: {4}){0,2})((?:\S+(?:\.\w+|/)(?: |$))+)", module_map)
    for indent, names in lines:
        del folders[len(indent) // 4 + 1 :]
        paths = [folders[-1] / name for name in names.split()]
        yield from paths
        folders.append(paths[0])  # only a folder has lines below it


def test_map_of_the_code_lists_every_module_and_only_existing_files() -> None:
    contributing = (ROOT / "CONTRIBUTING.md").read_text()
    module_map = contributing.partition("## Map")[2].partition("\n## ")[0]
    mapped = set(mapped_paths(module_map.split("```")[1]))
    assert [path for path in mapped if not path.exists()] == []
    modules = {path for path in INTEGRATION.rglob("*.py") if path.name != "__init__.py"}
    assert modules <= mapped
    folders = (
        INTEGRATION,
        *(ROOT / name for name in ("cli", "simulator", "tests", "scripts", "tools")),
    )
    names = {path.name for folder in folders for path in folder.rglob("*")}
    for name in re.findall(r"\w+\.(?:py|yaml|json)\b", module_map):
        assert name in names, name


def test_identifiers_in_contributing_exist() -> None:
    about_the_code, _, _ = prose(ROOT / "CONTRIBUTING.md").partition("\n## Style\n")
    names = set(re.findall(r"`(_?[A-Za-z]+(?:[_.]\w+)*)`", about_the_code))
    files = {path.name for path in INTEGRATION.rglob("*.py")}
    for name in names - files:
        word = name.rpartition(".")[2]
        assert (ROOT / name).exists() or re.search(rf"\b{word}\b", SOURCES), name


@pytest.mark.parametrize("rule", DOCUMENTATION_RULES)
def test_rule_of_the_quality_scale_names_an_existing_page(rule: str) -> None:
    match = re.match(r"([\w/.-]+\.md)(?:#([\w-]+))?", RULES[rule]["comment"])
    assert match
    page, anchor = match.groups()
    assert (ROOT / page).is_file()
    assert not anchor or anchor in anchors(ROOT / page)
