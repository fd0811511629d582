"""Home Assistant's frontend, as a user drives it.

Nothing here waits for a time: each step waits until what it needs is on the page.
None of Home Assistant's own words is looked for, so that every language will do.
"""

from datetime import datetime
import json
import re
from typing import Any

from playwright.async_api import Locator, Page, expect

from tools.paths import DOMAIN

from .camera import HEIGHT, WIDTH, Camera
from .texts import Texts

PRIMARY = "ha-button[slot=primaryAction]"


class Frontend:
    """A page of a user who is logged in."""

    def __init__(
        self, page: Page, url: str, texts: Texts, camera: Camera | None
    ) -> None:
        """Show nothing yet; there is a camera if pictures are wanted."""
        self.page = page
        self.url = url
        self.texts = texts
        self.camera = camera

    async def open(self, path: str) -> None:
        """Go to a page of the frontend."""
        await self.page.goto(self.url + path)

    async def picture(
        self, name: str, *, width: int = WIDTH, height: int = HEIGHT
    ) -> None:
        """Keep what is seen now, if pictures are wanted."""
        if self.camera is not None:
            await self.camera.take(self.page, name, width, height)

    # A question

    async def confirm(self) -> None:
        """Agree to what is asked."""
        await self.page.locator("dialog-box").locator(PRIMARY).click()

    # A flow: of setting up, reconfiguring, options or repairing

    @property
    def flow(self) -> Locator:
        """Return the dialog of a flow."""
        return self.page.locator("dialog-data-entry-flow ha-dialog")

    def step(self, kind: str) -> Locator:
        """Return its step: form, menu, progress, abort or create-entry."""
        return self.flow.locator(f"step-flow-{kind}")

    @property
    def error(self) -> Locator:
        """Return what is wrong with the whole of a form."""
        return self.step("form").locator("ha-alert")

    async def choose(self, option: str) -> None:
        """Take an option of a menu."""
        await self.step("menu").get_by_text(option, exact=True).click()

    def field(self, label: str) -> Locator:
        """Return a field of a form."""
        # One that has to be filled has a star behind its label.
        exactly = re.compile(rf"^\s*{re.escape(label)}\s*\*?\s*$")
        return (
            self.step("form")
            .locator("ha-selector")
            .filter(has=self.page.get_by_text(exactly))
        )

    async def fill(self, label: str, value: str) -> None:
        """Write into a field for text or a number."""
        await self.field(label).locator("input").fill(value)

    async def select(self, label: str, option: str) -> None:
        """Choose from a field's list."""
        await self.field(label).locator("ha-picker-field").click()
        await (
            self.field(label)
            .locator("ha-dropdown-item")
            .get_by_text(option, exact=True)
            .click()
        )

    async def fill_port(self, label: str, port: str) -> None:
        """Write into a field for a serial port.

        It is a list whose last item makes it a field for text.
        """
        field = self.field(label)
        picker = field.locator("ha-generic-picker")
        # Until the ports are known, the field is one for text already.
        await picker.locator("ha-picker-field").click()
        items = picker.locator("ha-picker-combo-box ha-combo-box-item")
        await items.last.click()
        # Its search would be taken for the field.
        await expect(picker).to_have_count(0)
        await field.locator("input").fill(port)

    async def submit(self) -> None:
        """Send a form, or finish what has been added."""
        await self.flow.locator(PRIMARY).click()

    async def close(self) -> None:
        """Close a flow's dialog, whatever it shows."""
        await self.flow.locator("ha-icon-button").first.click()
        await expect(self.flow).to_be_hidden()

    # What a flow starts from

    async def add_integration(self) -> None:
        """Start to add a bus."""
        await self.open(f"/config/integrations/dashboard/add?domain={DOMAIN}")
        await self.confirm()
        await expect(self.step("form").or_(self.step("menu"))).to_be_visible()

    async def open_integration(self) -> None:
        """Go to the page of the integration: its buses with their meters."""
        await self.open(f"/config/integrations/integration/{DOMAIN}")

    def bus(self, title: str) -> Locator:
        """Return the row of a bus on the integration's page."""
        return self.page.locator("ha-config-entry-row").filter(has_text=title)

    def meter(self, title: str) -> Locator:
        """Return the row of a meter on the integration's page."""
        return self.page.locator("ha-config-sub-entry-row").filter(has_text=title)

    async def add_meters(self) -> None:
        """Start to add meters to the only bus."""
        await self.open_integration()
        menu = self.page.locator("ha-config-entry-row ha-dropdown").first
        await menu.locator("ha-icon-button").first.click()
        await menu.locator("ha-dropdown-item[value=subentry_meter]").click()
        await expect(self.step("form")).to_be_visible()

    async def reconfigure_bus(self, title: str) -> None:
        """Start to change a bus."""
        await self.open_integration()
        menu = self.bus(title).locator("ha-dropdown").first
        await menu.locator("ha-icon-button").first.click()
        await menu.locator("ha-dropdown-item[value=reconfigure]").click()

    async def reconfigure_meter(self, title: str) -> None:
        """Start to change a meter, with the button in its row."""
        await self.open_integration()
        row = self.meter(title).locator("ha-list-item-base.sub-entry")
        await row.locator("ha-icon-button[slot=end]").click()

    async def delete_meter(self, title: str) -> None:
        """Delete a meter with the menu of its row."""
        await self.open_integration()
        menu = self.meter(title).locator("ha-dropdown").first
        await menu.locator("ha-icon-button").first.click()
        await menu.locator("ha-dropdown-item[value=delete]").click()
        await self.confirm()

    async def start_repair(self, title: str | re.Pattern[str]) -> None:
        """Open an issue from the list of repairs."""
        await self.open("/config/repairs")
        await self.page.locator("ha-config-repairs").get_by_text(title).click()

    # Tools

    async def perform(self, action: str, **data: Any) -> Locator:
        """Perform an action in the tools, and return the response that they show."""
        filled_in = json.dumps({"action": action, "data": data})
        await self.page.add_init_script(
            "localStorage.setItem('panel-dev-action-state-service-data',"
            f"{json.dumps(filled_in)});"
        )
        await self.open("/config/tools/action")
        await self.page.locator(".card-actions ha-progress-button").click()
        return self.page.locator("ha-yaml-editor[read-only] .cm-content")

    async def start_adjust_sum(self, statistic_id: str) -> None:
        """Open the dialog that adjusts a statistic, from the table of statistics."""
        await self.open("/config/tools/statistics")
        # Of the two search fields, a narrow page shows the other one.
        search = self.page.locator("tools-statistics ha-input-search input:visible")
        await search.fill(statistic_id)
        row = self.page.get_by_role("row").filter(has_text=statistic_id)
        # Since 2026.11, there is a button before that clears a part of it.
        await row.locator("ha-icon-button").last.click()
        await expect(self.adjust_sum.locator(".stat-list")).to_be_visible()

    @property
    def adjust_sum(self) -> Locator:
        """Return the dialog that adjusts a statistic."""
        return self.page.locator("dialog-statistics-adjust-sum")

    async def pick_time(self, moment: datetime) -> None:
        """Let the dialog that adjusts a statistic list the rows around a time today."""
        fields = self.adjust_sum.locator("ha-time-input input")
        await fields.nth(0).fill(f"{moment:%I}")
        await fields.nth(1).fill(f"{moment:%M}")
        await fields.nth(1).blur()

    async def show_outliers(self) -> None:
        """Let the dialog that adjusts a statistic list the largest changes."""
        await self.adjust_sum.locator("ha-button[slot=secondaryAction]").click()

    async def replace_change(self, shown: float, new: float) -> None:
        """Enter another value for a row in the dialog that adjusts a statistic."""
        number = f"{round(shown, 2):.12g}"
        # Since 2026.11, the list has two decimals also where they are 0.
        change = re.compile(rf"^\s*{re.escape(number)}[.0]*\s*kWh")
        await self.adjust_sum.locator("ha-list-item").filter(has_text=change).click()
        value = self.adjust_sum.locator("ha-selector-number input")
        await expect(value).to_have_value(number)
        await value.fill(f"{new:.2f}")
        await self.adjust_sum.locator(PRIMARY).click()
        # The dialog closes, or lists the rows again.
        await expect(value).to_have_count(0)

    # A device

    async def open_device(self, device_id: str) -> None:
        """Go to a device's page."""
        await self.open(f"/config/devices/device/{device_id}")

    def row(self, name: str) -> Locator:
        """Return an entity's row, on a device's page or in a card."""
        return self.page.locator("hui-generic-entity-row").filter(
            has=self.page.get_by_text(name, exact=True)
        )

    async def show_notifications(self) -> Locator:
        """Open the notifications, and return where they are."""
        main = self.page.locator("home-assistant-main")
        await main.dispatch_event("hass-show-notifications")
        return self.page.locator("notification-drawer")

    async def press(self, name: str) -> None:
        """Press a button in its row."""
        await self.row(name).locator("ha-button").click()

    async def select_in_row(self, name: str, option: str) -> None:
        """Choose an option of a select entity in its row."""
        await self.row(name).locator("ha-picker-field").click()
        await (
            self.row(name)
            .locator("ha-dropdown-item")
            .get_by_text(option, exact=True)
            .click()
        )
