"""The documentation agrees with the code, the texts and the calculated figures."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
import re
from typing import Any

import pytest
import yaml

from custom_components.socomec_countis import coordinator
from custom_components.socomec_countis.binary_sensor import PHASES
from custom_components.socomec_countis.button import BUTTONS
from custom_components.socomec_countis.const import CONNECTION_TYPES, DOMAIN
from custom_components.socomec_countis.countis import (
    TARIFF_COUNTERS,
    plausibility,
    registers,
    relations,
)
from custom_components.socomec_countis.countis.block import Block
from custom_components.socomec_countis.countis.line_settings import settings_to_try
from custom_components.socomec_countis.countis.meter import Meter as LibraryMeter
from custom_components.socomec_countis.countis.poller import INTERVALS
from custom_components.socomec_countis.countis.probe import (
    HOST_SECONDS,
    Probe,
    worst_case_seconds,
)
from custom_components.socomec_countis.runtime import CountisConfigEntry
from custom_components.socomec_countis.select import TARIFF
from custom_components.socomec_countis.sensor import SENSORS
from homeassistant.const import ATTR_ENTITY_ID
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity import EntityDescription
from homeassistant.util import slugify
from simulator import Constant, Meter, Phase

from .common import entity_id
from .library import MemoryBus, async_profile_of
from .test_files import DESCRIPTIONS, INTEGRATION, METER_TEXTS, ROOT, TEXTS
from .virtual_bus import run

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
    """Return a page without its code blocks."""
    return re.sub(r"(?ms)^ *```.*?^ *```", "", page.read_text())


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page: its headings, as GitHub names them."""
    found: Counter[str] = Counter()
    named = set()
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        words = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        named.add(f"{words}-{found[words]}" if found[words] else words)
        found[words] += 1
    return named


def links(page: Path) -> Iterator[str]:
    """Yield the targets of the links of a page, pictures included."""
    yield from re.findall(r"\]\(([^)\s]+)\)", prose(page))


def tables(text: str) -> Iterator[Row]:
    """Yield each row of each table: heading of the column to cell."""
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
    """Return the row of an entity in entities.md.

    A row that describes several entities is reduced to the cells of this one.
    """
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
    """Return the register addresses of a quantity by the heading of their column."""
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
    """Return the bold cells in the first column of the tables of a page."""
    return {
        match[1]
        for row in tables((DOCS / page).read_text())
        if (match := re.fullmatch(r"\*\*(.+)\*\*", next(iter(row.values()))))
    }


def pattern(quoted: str) -> re.Pattern[str]:
    """Return a pattern for a quoted text, in which "…" stands for anything."""
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
        _, rule, *_ = table.splitlines()
        assert set(rule) <= set("|-: "), table
    assert all(tables(text))


def test_every_picture_is_linked() -> None:
    shown = {(page.parent / link).resolve() for page in PAGES for link in links(page)}
    assert {path for path in (DOCS / "images").iterdir() if path not in shown} == set()


def test_every_page_is_linked_from_the_readme() -> None:
    linked = {(ROOT / link.partition("#")[0]) for link in links(ROOT / "README.md")}
    unreached = {page.name for page in DOCS.glob("*.md") if page not in linked}
    assert unreached == set()


def test_urls_of_files_of_the_repository_exist() -> None:
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
def test_sensor_is_described_with_its_register_and_unit(
    sensor: EntityDescription,
) -> None:
    row = documented(sensor.key)
    where = addresses(sensor.key)
    assert where
    assert where.items() <= row.items()
    assert ("In kWh" in row) == ("In kWh" in where)
    assert row["Unit"] == (getattr(sensor, "native_unit_of_measurement", None) or "")
    on = "yes" if sensor.entity_registry_enabled_default else "no"
    if sensor.key in TARIFF_COUNTERS:
        on = "if not 0"
    assert row["On"] == on


@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: phase.key)
def test_phase_is_described_with_the_register_of_its_voltage(
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
def test_control_is_described_with_the_registers_it_writes(
    key: str, written: str
) -> None:
    (description,) = (each for each in (*BUTTONS, TARIFF) if each.key == key)
    row = documented(key)
    assert row["Writes"] == written
    on = "yes" if description.entity_registry_enabled_default else "no"
    assert row["On"] == on


def test_every_described_entity_exists() -> None:
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


def test_key_is_the_name_or_is_listed_with_the_exceptions() -> None:
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


async def test_wiring_check_returns_the_documented_response(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    (example,) = (
        block
        for block in re.findall(r"```yaml\n(.*?)```", ENTITIES, re.DOTALL)
        if block.startswith("meters:")
    )
    load = Phase(5000, 500)
    meter.load = Constant(load, Phase(-5000, -500), load)
    shown: Any = yaml.safe_load(example)
    response = await hass.services.async_call(
        DOMAIN,
        "check_wiring",
        {ATTR_ENTITY_ID: entity_id(hass, "power")},
        blocking=True,
        return_response=True,
    )
    assert response == shown
    explained = {next(iter(row.values())).strip("`") for row in tables(ENTITIES)}
    assert shown["meters"][0].keys() <= explained


# -- dialogs and messages ----------------------------------------------------------


def test_every_field_and_option_is_described() -> None:
    steps = [
        *(TEXTS["config"]["step"][kind] for kind in CONNECTION_TYPES),
        *TEXTS["options"]["step"].values(),
    ]
    fields = {name for step in steps for name in step["data"].values()}
    assert described("installation.md") == fields


def test_every_field_of_a_meter_is_named() -> None:
    page = (DOCS / "installation.md").read_text()
    for step in ("user", "reconfigure"):
        for name in METER_TEXTS["step"][step]["data"].values():
            assert f"*{name}*" in page


def test_dialogs_of_meters_are_named_as_their_buttons() -> None:
    page = (DOCS / "installation.md").read_text()
    for name in METER_TEXTS["initiate_flow"].values():
        assert f"*{name}*" in page


def test_connections_are_named_as_in_the_dialog() -> None:
    page = (DOCS / "installation.md").read_text()
    for name in TEXTS["config"]["step"]["user"]["menu_options"].values():
        assert f"*{name.partition(':')[0]}*" in page


def test_every_error_and_issue_is_in_troubleshooting() -> None:
    quoted = re.findall(
        r"\*\*[\"“](.+?)[\"”]",
        re.sub(r"\s+", " ", (DOCS / "troubleshooting.md").read_text()),
    )
    patterns = [pattern(each) for each in quoted]
    # Errors that need no further explanation.
    plain = {"none_ticked", "several_errors", "no_meter_targeted", "not_set_up"}
    errors = [*TEXTS["config"]["error"].items(), *METER_TEXTS["error"].items()]
    texts = [
        *(text for key, text in errors if key not in plain),
        *(issue["title"] for issue in TEXTS["issues"].values()),
        *(
            text["message"]
            for key, text in TEXTS["exceptions"].items()
            if key not in plain and not key.startswith("wiring_")
        ),
    ]
    for text in texts:
        assert any(each.search(text) for each in patterns), text
    for dialog in (TEXTS["config"], METER_TEXTS):
        texts += dialog["abort"].values()
        texts += [step["title"] for step in dialog["step"].values()]
    for each in patterns:
        assert any(each.search(text) for text in texts), each.pattern


# -- figures -----------------------------------------------------------------------

BLOCKS = {
    "power": "power",
    "counters": "energies",
    "measurements": "measurements",
    "tariffs": "tariffs",
    "energies of days, weeks and months": "periods",
    "overflows": "overflows",
    "current transformer": "transformer",
    "clock": "clock",
    "identity": "identity",
}


@pytest.fixture(scope="module")
def e44() -> LibraryMeter:
    """Return a meter that supports all blocks, on a bus at 9600 baud."""
    bus = MemoryBus({1: Meter(address=1)})
    profile = run(async_profile_of(Meter(address=1, model="Countis E44")))
    return LibraryMeter(bus.bus, 1, bus.client(), profile)


def ends(block: Block) -> tuple[int, int]:
    """Return the first and the last register address that a block requests."""
    fields = block.resolved_fields.values()
    first = min(field.address for field in fields)
    return first, max(field.address + field.count for field in fields) - 1


def test_polling_rule_is_that_of_the_poller(e44: LibraryMeter) -> None:
    rows = [row for row in tables((DOCS / "bus.md").read_text()) if "Target age" in row]
    assert {BLOCKS[row["Block"]] for row in rows} == INTERVALS.keys()
    for row in rows:
        name = BLOCKS[row["Block"]]
        interval = INTERVALS[name]
        assert row["Target age"] == f"{interval.target:g} s"
        assert row["Period"] == f"{interval.period:g} s"
        block = e44.revision if name == "identity" else e44.block(name)
        assert block is not None
        first, last = ends(block)
        assert row["Registers"] == f"{first} … {last}"
        assert row["Requested"] == str(last - first + 1)


def poll_seconds(meter: LibraryMeter, *, details: bool) -> float:
    """Return how many s a poll of all blocks with a period of 1 s takes."""
    meter.bus.delay = 0.02  # s, as the pages say
    meter.reads_details = details
    blocks = [meter.block(name) for name in ("measurements", "energies", "tariffs")]
    return sum(
        meter.bus.read_seconds(words)
        for block in blocks
        if block is not None
        for words in block.request_words
    )


def test_pages_agree_on_the_duration_of_a_poll(e44: LibraryMeter) -> None:
    assert round(poll_seconds(e44, details=False), 2) == 0.25
    assert round(poll_seconds(e44, details=True), 1) == 0.3
    for page, figures in {
        "bus.md": ("take 0.25 s at 9600 baud", "takes 0.3 s at 9600 baud"),
        "meter.md": ("this takes 0.25 s", "the poll takes 0.3 s"),
        "updating.md": ("take 0.25 s of the bus at 9600 baud",),
    }.items():
        text = re.sub(r"\s+", " ", (DOCS / page).read_text())
        for figure in figures:
            assert figure in text, page


def test_guard_of_counters_has_the_documented_figures() -> None:
    page = re.sub(r"\s+", " ", (DOCS / "counters.md").read_text())
    limits = plausibility.Limits()
    amperes = limits.amperes * plausibility.INRUSH * plausibility.PHASES
    kilowatts = amperes * plausibility.HIGHEST_VOLTS / 1000
    lowest, highest = plausibility.HERTZ
    for text in (
        f"{limits.kilowatts:g} kW: three phases",
        f"with {plausibility.VOLTS} V and {limits.amperes:g} A",
        f"{plausibility.OVERLOAD:g} times their primary current",
        f"read at least every {plausibility.LONGEST_POWER_PAUSE} s",
        f"adds {plausibility.TIMING_TOLERANCE} s to the time",
        f"after {plausibility.ACCEPTED_AFTER} s, with a repair issue",
        f"pause of more than {plausibility.LONGEST_COUNTED_PAUSE} s",
        f"from 0 to {plausibility.LONGEST_UNCERTAIN_PAUSE // 86_400} days",
        f"agree to {relations.SAME_COUNTER_KWH} kWh",
        f"sum of the phases, to {relations.POWER_TOLERANCE} W",
        f"more than {plausibility.HIGHEST_VOLTS} V, {amperes:g} A, {kilowatts:g} kW",
        f"outside {lowest} Hz to {highest} Hz",
    ):
        assert text in page
    assert plausibility.POWER_MARGIN == 2 == plausibility.STEPS_OF_TOLERANCE
    assert plausibility.ACCEPTED_AFTER_RESTART == 600
    assert coordinator.REJECTED_ISSUE_SECONDS == 600
    assert coordinator.SAVE_SECONDS == 300
    assert relations.LASTING_CONTRADICTIONS == 10


def documented_seconds(text: str) -> float:
    """Return a duration such as "4 min 50 s" or "81 ms" in s."""
    units = {"min": 60.0, "s": 1.0, "ms": 0.001}
    parts = re.findall(r"(\d+) (min|s|ms)\b", text)
    assert parts, text
    return sum(int(number) * units[unit] for number, unit in parts)


def test_durations_of_scans_are_those_of_its_probes() -> None:
    rows = list(tables((DOCS / "commissioning.md").read_text()))
    speeds = {row["Speed"]: list(row.values()) for row in rows if "Speed" in row}
    at_most = {
        row["You enter"]: list(row.values())[-1] for row in rows if "You enter" in row
    }
    durations = {
        at_most["nothing but the port"]: worst_case_seconds(),
        at_most["the unit ID"]: worst_case_seconds(unit_ids=[1]),
    }
    for settings in settings_to_try(parity="N"):
        _, probe, complete = speeds.pop(f"{settings.baudrate} baud")
        without_host = Probe(settings, 1).seconds - HOST_SECONDS
        assert documented_seconds(probe) == pytest.approx(without_host, abs=0.001)
        durations[complete] = worst_case_seconds([settings])
    assert not speeds
    for text, seconds in durations.items():
        # Documented as "at most", rounded up.
        assert seconds <= documented_seconds(text) <= 1.1 * seconds + 1, text


# -- the code and the quality scale ------------------------------------------------


def test_every_module_is_on_the_map() -> None:
    contributing = (ROOT / "CONTRIBUTING.md").read_text()
    for path in INTEGRATION.rglob("*.py"):
        if path.name != "__init__.py":
            assert re.search(rf"\b{path.name}", contributing), path


def test_every_file_on_the_map_exists() -> None:
    contributing = (ROOT / "CONTRIBUTING.md").read_text()
    plan = contributing.partition("## Map")[2].partition("## ")[0]
    folders = (
        INTEGRATION,
        *(ROOT / name for name in ("simulator", "tests", "scripts")),
    )
    names = {path.name for folder in folders for path in folder.rglob("*")}
    for name in re.findall(r"\w+\.(?:py|yaml|json)\b", plan):
        assert name in names, name


@pytest.mark.parametrize("rule", DOCUMENTED)
def test_documentation_rule_names_an_existing_page(rule: str) -> None:
    place = re.match(r"([\w/.-]+\.md)(?:#([\w-]+))?", RULES[rule]["comment"])
    assert place
    assert (ROOT / place[1]).is_file()
    assert not place[2] or place[2] in anchors(ROOT / place[1])
