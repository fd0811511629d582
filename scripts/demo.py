"""A running Home Assistant with COUNTIS meters in it, set up as a user would."""

import argparse
import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
import math
import os
from pathlib import Path
import shutil
import signal
import socket
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

from aiohttp import ClientError, ClientSession

from simulator.__main__ import load_at

from . import demo_dashboard, demo_history, demo_solar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

ROOT = Path(__file__).resolve().parent.parent
DOMAIN = "socomec_countis"
DEMO = ROOT / ".demo"
USERNAME = PASSWORD = "demo"  # noqa: S105

CONFIGURATION = """\
# Made by scripts/demo.
config:
energy:
frontend:
history:
logbook:
http:
  server_port: {port}
logger:
  default: warning
  logs:
    custom_components.socomec_countis: info
"""

# What the Energy dashboard shows of a meter.
SHOWN = ("energy_consumed", "energy_produced", "power")
ADDRESSES = [1, 2]

# What a meter can count between a reset and the look at it.
RESET_TO_KWH = 0.05
START_TIMEOUT = 120
# A login lasts for half an hour.
LOGIN_SECONDS = 20 * 60
SETTLE_TIMEOUT = 30
COUNT_TIMEOUT = 180
IMPORT_TIMEOUT = 30
JOIN_SECONDS = 5
# Where the values are shown is no terminal, but a file.
SHOW_SECONDS = 60


class DemoError(Exception):
    """The demo cannot go on; the text says why."""


@dataclass(frozen=True)
class Meter:
    """A meter to add: the input of a user in the dialog of its bus."""

    device: str
    unit_id: int
    baudrate: int = 9600
    parity: str = "none"
    stopbits: int = 1

    @property
    def user_input(self) -> dict[str, Any]:
        """Return the input for the form of a new bus."""
        return {
            "device": self.device,
            "unit_id": self.unit_id,
            "baudrate": str(self.baudrate),
            "parity": self.parity,
            "stopbits": str(self.stopbits),
        }


@dataclass(frozen=True)
class Entity:
    """An enabled entity of a meter, as the registry has it."""

    entity_id: str
    key: str
    subentry_id: str
    """Of the meter."""


@asynccontextmanager
async def running(
    command: Sequence[str | Path], log: Path, **kwargs: Any
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program, and end it on leaving.

    In a session of its own: Ctrl-C is ours, to end things in order.
    """
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=ROOT,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=kwargs.pop("stdout", output),
            stderr=output,
            start_new_session=True,
            **kwargs,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(30):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


class HomeAssistant:
    """What the demo asks of Home Assistant, over its HTTP and WebSocket API."""

    def __init__(self, session: ClientSession, url: str) -> None:
        """Talk to the instance at this address."""
        self.session = session
        self.url = url
        self.headers: dict[str, str] = {}

    async def request(self, method: str, path: str, **kwargs: Any) -> Any:
        """Call the HTTP API."""
        async with self.session.request(
            method, self.url + path, headers=self.headers, **kwargs
        ) as response:
            if response.status >= HTTPStatus.BAD_REQUEST:
                msg = f"{method} {path}: {response.status} {await response.text()}"
                raise DemoError(msg)
            return await response.json()

    async def command(self, **message: Any) -> Any:
        """Call the WebSocket API."""
        async with self.session.ws_connect(self.url + "/api/websocket") as websocket:
            await websocket.receive_json()
            token = self.headers["Authorization"].removeprefix("Bearer ")
            await websocket.send_json({"type": "auth", "access_token": token})
            await websocket.receive_json()
            await websocket.send_json({"id": 1, **message})
            answer = await websocket.receive_json()
        if not answer.get("success"):
            msg = f"{message['type']}: {answer}"
            raise DemoError(msg)
        return answer["result"]

    async def async_started(self, process: asyncio.subprocess.Process) -> list[str]:
        """Wait for it to answer, and return what is left of the onboarding."""
        url = self.url + "/api/onboarding"
        try:
            async with asyncio.timeout(START_TIMEOUT):
                while process.returncode is None:
                    with suppress(ClientError):
                        async with self.session.get(url) as response:
                            # It forgets about the onboarding once that is done.
                            if response.status == HTTPStatus.NOT_FOUND:
                                return []
                            steps = await response.json()
                            return [s["step"] for s in steps if not s["done"]]
                    await asyncio.sleep(0.2)
        except TimeoutError:
            msg = f"Home Assistant does not answer after {START_TIMEOUT} s"
        else:
            msg = f"Home Assistant ended with {process.returncode}"
        raise DemoError(msg)

    async def async_log_in(self, undone: list[str]) -> None:
        """Do the steps of the onboarding, or log in where they are done."""
        client = {"client_id": self.url + "/"}
        self.headers.clear()
        if "user" in undone:
            user = {"name": "Demo", "username": USERNAME, "password": PASSWORD}
            answer = await self.request(
                "POST",
                "/api/onboarding/users",
                json={**client, **user, "language": "en"},
            )
            code = answer["auth_code"]
        else:
            flow = await self.request(
                "POST",
                "/auth/login_flow",
                json={
                    **client,
                    "handler": ["homeassistant", None],
                    "redirect_uri": self.url + "/",
                },
            )
            answer = await self.request(
                "POST",
                f"/auth/login_flow/{flow['flow_id']}",
                json={**client, "username": USERNAME, "password": PASSWORD},
            )
            code = answer["result"]
        token = await self.request(
            "POST",
            "/auth/token",
            data={**client, "grant_type": "authorization_code", "code": code},
        )
        self.headers["Authorization"] = f"Bearer {token['access_token']}"
        for step in ("core_config", "analytics", "integration"):
            if step in undone:
                await self.request(
                    "POST",
                    f"/api/onboarding/{step}",
                    json={**client, "redirect_uri": self.url + "/"}
                    if step == "integration"
                    else {},
                )

    async def async_settle_in(self, undone: list[str]) -> None:
        """Answer what Home Assistant would ask its user: its port, once its zone."""
        pending = (await self.command(type="http/config"))["pending"]
        if pending and not pending["error"]:
            await self.command(type="http/config/promote")
        if undone and (zone := time_zone()):
            await self.command(type="config/core/update", time_zone=zone)

    async def async_tidy_up(self) -> None:
        """Put away what a new Home Assistant has to say to its user."""
        async with asyncio.timeout(START_TIMEOUT):
            config = await self.command(type="get_config")
            while config["state"] != "RUNNING":
                await asyncio.sleep(0.2)
                config = await self.command(type="get_config")
        issues = await self.command(type="repairs/list_issues")
        for issue in issues["issues"]:
            if issue["domain"] != DOMAIN:
                await self.command(
                    type="repairs/ignore_issue",
                    domain=issue["domain"],
                    issue_id=issue["issue_id"],
                    ignore=True,
                )

    async def async_add_meter(self, meter: Meter) -> None:
        """Add a meter by the dialogs: with its bus, or to the bus that is set up.

        A meter that is set up already is left as it is.
        """
        entries = await self.command(type="config_entries/get", domain=DOMAIN)
        handler: Any = DOMAIN
        flows = "/api/config/config_entries/flow"
        answers = [{"next_step_id": "serial"}, meter.user_input]
        category, prefix = "config", f"component.{DOMAIN}.config"
        if entries:
            handler = (entries[0]["entry_id"], "meter")
            flows = "/api/config/config_entries/subentries/flow"
            answers = [{"unit_id": meter.unit_id}]
            category, prefix = (f"{each}_subentries" for each in (category, prefix))
            prefix += ".meter"
        result = await self.request("POST", flows, json={"handler": handler})
        for answer in answers:
            path = f"{flows}/{result['flow_id']}"
            result = await self.request("POST", path, json=answer)
        if result["type"] == "create_entry":
            return
        if result["type"] == "abort":
            key = f"abort.{result['reason']}"
        else:
            key = f"error.{next(iter(result['errors'].values()))}"
        if key == "error.unit_id_in_use":
            return
        texts = await self.command(
            type="frontend/get_translations",
            language="en",
            category=category,
            integration=[DOMAIN],
        )
        text = texts["resources"][f"{prefix}.{key}"]
        raise DemoError(text.format(**result["description_placeholders"]))

    async def async_entities(self) -> list[Entity]:
        """Return the enabled entities of all meters."""
        registry = await self.command(type="config/entity_registry/list")
        return [
            Entity(
                entry["entity_id"],
                entry["translation_key"],
                entry["config_subentry_id"],
            )
            for entry in registry
            if entry["platform"] == DOMAIN and entry["disabled_by"] is None
        ]

    async def async_states(self) -> dict[str, str]:
        """Return the state of every entity."""
        states = await self.request("GET", "/api/states")
        return {state["entity_id"]: state["state"] for state in states}

    async def async_settled(self, meters: int = 1) -> list[Entity]:
        """Wait until every enabled sensor of so many meters has a value."""
        missing = [""]
        try:
            async with asyncio.timeout(SETTLE_TIMEOUT):
                while missing:
                    entities = await self.async_entities()
                    states = await self.async_states()
                    missing = [
                        entity.entity_id
                        for entity in entities
                        if states.get(entity.entity_id, "unknown")
                        in ("unknown", "unavailable")
                        # A button that was never pressed has no state.
                        and not entity.entity_id.startswith("button.")
                    ]
                    if len({entity.subentry_id for entity in entities}) < meters:
                        missing.append("another meter")
                    await asyncio.sleep(0.2 if missing else 0)
        except TimeoutError:
            msg = f"There is no value of {', '.join(missing)}"
            raise DemoError(msg) from None
        return entities

    async def async_fill_energy_dashboard(
        self, meters: list[dict[str, str]], pasts: Sequence[demo_history.Past]
    ) -> None:
        """Take the first meter for the grid and the others for solar inverters.

        The dashboard knows a sensor from its statistics, and these are compiled
        every five minutes. What is imported makes them known at once: the past of
        a simulated meter, and a row for the hour before of a real one.
        """
        with suppress(DemoError):
            # There is an answer only where there are preferences already.
            await self.command(type="energy/get_prefs")
            return
        states = await self.async_states()
        for meter, past in zip(meters, pasts, strict=False):
            await demo_history.async_import_past(self, past, meter, states, time.time())
        for meter in meters[len(pasts) :]:
            for key in SHOWN:
                value = float(states[meter[key]])
                row = {"start": hour_before().isoformat()}
                await demo_history.async_import(
                    self,
                    meter[key],
                    [
                        row | {"mean": value, "min": value, "max": value}
                        if key == "power"
                        else row | {"state": value, "sum": 0}
                    ],
                )
        grid, *inverters = meters
        await self.command(
            type="energy/save_prefs",
            energy_sources=[
                {
                    "type": "grid",
                    "stat_energy_from": grid["energy_consumed"],
                    "stat_energy_to": grid["energy_produced"],
                    "stat_rate": grid["power"],
                    "name": "Grid",
                    "cost_adjustment_day": 0,
                },
                *(
                    {
                        "type": "solar",
                        "stat_energy_from": inverter["energy_produced"],
                        "stat_rate": inverter["solar_power"],
                        "name": "Solar",
                    }
                    for inverter in inverters
                ),
            ],
            device_consumption=[],
        )

    async def async_energy_problems(self) -> list[str]:
        """Return what the Energy dashboard's own validation finds."""
        result = await self.command(type="energy/validate")
        return [
            f"{issue['type']}: {issue['affected_entities']}"
            for checks in result.values()
            for issues in checks
            for issue in issues
        ]

    async def async_press(self, entity_id: str) -> None:
        """Press a button."""
        await self.request(
            "POST", "/api/services/button/press", json={"entity_id": entity_id}
        )


def time_zone() -> str | None:
    """Return the name of this machine's time zone, where it tells."""
    folder, found = Path("/usr/share/zoneinfo"), Path("/etc/localtime").resolve()
    return str(found.relative_to(folder)) if found.is_relative_to(folder) else None


def noon_today() -> int:
    """Return the second in which it is noon today, by the clock on the wall."""
    noon = datetime.now().astimezone().replace(hour=12, minute=0, second=0)
    return int(noon.timestamp())


def pasts_before(moment: float, noon: int) -> list[demo_history.Past]:
    """Return what the simulated meters would have seen before."""
    return [
        demo_history.Past.before(
            moment, load_at(ADDRESSES, index, noon, lifelike=True), noon
        )
        for index in range(len(ADDRESSES))
    ]


def hour_before() -> datetime:
    """Return the start of the last full hour."""
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    return now - timedelta(hours=1)


def table(entities: list[Entity], states: dict[str, str]) -> list[str]:
    """Return the values as lines: a row a quantity, a column a meter."""
    meters = list(dict.fromkeys(entity.subentry_id for entity in entities))
    keys = dict.fromkeys(
        entity.key for entity in entities if entity.entity_id.startswith("sensor.")
    )
    values = {
        (entity.key, entity.subentry_id): states.get(entity.entity_id, "-")
        for entity in entities
    }
    return [
        f"{key:26}"
        + "".join(f"{values.get((key, meter), '-'):>14}" for meter in meters)
        for key in keys
    ]


async def async_join(hass: HomeAssistant, counters: list[str]) -> None:
    """Let the recorder's sums go on where the imported ones end, where it has begun."""
    for counter in list(counters):
        if await demo_history.async_join(hass, counter):
            counters.remove(counter)


async def async_show(
    hass: HomeAssistant, entities: list[Entity], counters: list[str]
) -> None:
    """Show the values, every second, until Ctrl-C; `counters` have a past."""
    logged_in = time.monotonic()
    shown = joined = -math.inf
    while True:
        now = time.monotonic()
        if now - logged_in > LOGIN_SECONDS:
            await hass.async_log_in([])
            logged_in = now
        if now - joined > JOIN_SECONDS:
            await async_join(hass, counters)
            joined = now
        if sys.stdout.isatty() or now - shown > SHOW_SECONDS:
            lines = table(entities, await hass.async_states())
            if sys.stdout.isatty() and shown > 0:
                print(f"\033[{len(lines)}A", end="")
            print("\n".join(lines), flush=True)
            shown = now
        await asyncio.sleep(1)


async def async_check_reset(hass: HomeAssistant, meter: dict[str, str]) -> None:
    """Press the reset button and see the partial counters fall and the totals go on."""
    partial = [meter["partial_energy_consumed"], meter["partial_energy_produced"]]
    totals = [meter["energy_consumed"], meter["energy_produced"]]
    before = await hass.async_states()
    if max(float(before[entity_id]) for entity_id in partial) == 0:
        msg = f"{partial} are 0 before the reset"
        raise DemoError(msg)
    await hass.async_press(meter["reset_partial_counters"])
    after = await hass.async_states()
    for entity_id in partial:
        if float(after[entity_id]) > RESET_TO_KWH:
            msg = f"{entity_id} is {after[entity_id]} after the reset"
            raise DemoError(msg)
    try:
        async with asyncio.timeout(COUNT_TIMEOUT):
            while True:
                now = await hass.async_states()
                for entity_id in totals:
                    if float(now[entity_id]) < float(before[entity_id]):
                        msg = f"{entity_id} fell to {now[entity_id]}"
                        raise DemoError(msg)
                if any(float(now[total]) > float(before[total]) for total in totals):
                    return
                await asyncio.sleep(0.5)
    except TimeoutError:
        msg = f"{totals} do not go on counting"
        raise DemoError(msg) from None


async def async_check_statistics(hass: HomeAssistant, counters: list[str]) -> None:
    """See two weeks of every counter, and both dashboards in order."""
    problems = ["Nothing was looked at"]
    with suppress(TimeoutError):
        async with asyncio.timeout(IMPORT_TIMEOUT):
            # The recorder imports in its own time.
            while problems:
                await async_join(hass, list(counters))
                states = await hass.async_states()
                problems = [
                    *await hass.async_energy_problems(),
                    *await demo_dashboard.async_problems(hass, states),
                ]
                for counter in counters:
                    problems += await demo_history.async_problems(
                        hass, counter, float(states[counter])
                    )
                await asyncio.sleep(0.5 if problems else 0)
    if problems:
        raise DemoError("\n".join(problems))


@asynccontextmanager
async def simulated_line(folder: Path, noon: int) -> AsyncIterator[Path]:
    """Run a line with a meter at each of the addresses; return its port."""
    port = folder / "line"
    async with running(
        [
            *(sys.executable, "-m", "simulator", "--lifelike"),
            *("--address", *map(str, ADDRESSES), "--noon", str(noon)),
            *("--link", port, "--state", folder / "meters.json"),
        ],
        folder / "simulator.log",
        stdout=asyncio.subprocess.PIPE,
    ) as simulator:
        assert simulator.stdout is not None
        if not await simulator.stdout.readline():
            raise DemoError((folder / "simulator.log").read_text())
        yield port


@asynccontextmanager
async def home_assistant(folder: Path, port: int) -> AsyncIterator[HomeAssistant]:
    """Run Home Assistant with the integration in it, and log in."""
    config = folder / "config"
    (config / "custom_components").mkdir(parents=True, exist_ok=True)
    link = config / "custom_components" / DOMAIN
    if not link.is_symlink():
        link.symlink_to(ROOT / "custom_components" / DOMAIN)
    (config / "configuration.yaml").write_text(CONFIGURATION.format(port=port))
    # Home Assistant takes the port over once, and then keeps to what it has stored.
    (config / ".storage" / "http").unlink(missing_ok=True)
    async with (
        running(
            [
                *(sys.executable, "-m", "homeassistant", "--skip-pip"),
                *("--config", config),
            ],
            folder / "home-assistant.log",
            env={**os.environ, "PYTHONPATH": str(ROOT / "scripts/demo_modules")},
        ) as process,
        ClientSession() as session,
    ):
        hass = HomeAssistant(session, f"http://localhost:{port}")
        undone = await hass.async_started(process)
        await hass.async_log_in(undone)
        await hass.async_settle_in(undone)
        yield hass


@dataclass(frozen=True)
class House:
    """What the demo shows of its meters."""

    entities: list[Entity]
    meters: list[dict[str, str]]
    """The ids of the entities of each meter, by their keys."""
    counters: list[str]
    """Those that have a past."""


async def async_furnish(
    hass: HomeAssistant, meters: Sequence[Meter], pasts: Sequence[demo_history.Past]
) -> House:
    """Set the meters up, with their past, the Energy dashboard and one of their own."""
    for meter in meters:
        await hass.async_add_meter(meter)
    entities = await hass.async_settled(len(meters))
    by_meter: dict[str, dict[str, str]] = {}
    for entity in entities:
        by_meter.setdefault(entity.subentry_id, {})[entity.key] = entity.entity_id
    keyed = list(by_meter.values())
    for roof in keyed[1:]:
        roof["solar_power"] = await demo_solar.async_solar_power(hass, roof["power"])
    await hass.async_fill_energy_dashboard(keyed, pasts)
    await demo_dashboard.async_create(hass, keyed)
    counters = [
        keys[key]
        for keys, _ in zip(keyed, pasts, strict=False)
        for key in demo_history.COUNTERS
        if key in keys
    ]
    return House(entities, keyed, counters)


async def async_demo(arguments: argparse.Namespace, folder: Path) -> None:
    """Start everything, set it up and show it."""
    started = time.monotonic()
    began = time.time()
    # A check has its own noon, so that the inverter counts by night as well.
    noon = int(began) if arguments.check else noon_today()
    # A check has a port of its own, so that it gets in nobody's way.
    port = free_port(0 if arguments.check else arguments.web_port)
    async with AsyncExitStack() as stack:
        pasts: list[demo_history.Past] = []
        if arguments.port:
            meters = [
                Meter(
                    arguments.port,
                    arguments.address,
                    arguments.baudrate,
                    arguments.parity,
                    arguments.stopbits,
                )
            ]
        else:
            line = await stack.enter_async_context(simulated_line(folder, noon))
            meters = [Meter(str(line), address) for address in ADDRESSES]
            pasts = await asyncio.to_thread(pasts_before, began, noon)
        hass = await stack.enter_async_context(home_assistant(folder, port))
        await hass.async_tidy_up()
        house = await async_furnish(hass, meters, pasts)
        seconds = time.monotonic() - started
        print(
            f"Home Assistant: {hass.url}  (user {USERNAME}, password {PASSWORD})\n"
            f"{len(meters)} meter(s) on {meters[0].device},"
            f" {len(house.entities)} entities, after {seconds:.1f} s\n",
            flush=True,
        )
        if not arguments.check:
            await async_show(hass, house.entities, house.counters)
        # The frontend stays at "Loading" without these.
        await hass.command(type="get_services")
        await async_check_statistics(hass, house.counters)
        if arguments.port:
            print("The partial counters of a real meter are not reset by a check.")
        else:
            for keys in house.meters:
                await async_check_reset(hass, keys)
        print("\n".join(table(house.entities, await hass.async_states())))


def free_port(wanted: int) -> int:
    """Return the port, or any other one if that is in use."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", wanted))
        except OSError:
            probe.bind(("", 0))
        return int(probe.getsockname()[1])


def main() -> int:
    """Run the demo; 0 if all went well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check",
        action="store_true",
        help="start afresh, check that everything works, stop",
    )
    parser.add_argument("--port", help="use a real meter on this serial port")
    parser.add_argument("--address", type=int, default=1, help="its address")
    parser.add_argument("--baudrate", type=int, default=9600)
    parser.add_argument("--parity", choices=["none", "even", "odd"], default="none")
    parser.add_argument("--stopbits", type=int, choices=[1, 2], default=1)
    parser.add_argument(
        "--web-port", type=int, default=8123, help="where Home Assistant listens"
    )
    arguments = parser.parse_args()

    folder = DEMO / ("meter" if arguments.port else "simulated")
    if arguments.check:
        DEMO.mkdir(exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="check-", dir=DEMO))
    folder.mkdir(parents=True, exist_ok=True)
    # Ended by a signal or not, everything that was started is ended in order.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        asyncio.run(async_demo(arguments, folder))
    except KeyboardInterrupt:
        return 0
    except (DemoError, ClientError) as error:
        print(f"{error!s:.2000}\nLogs: {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    print("All is well.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
