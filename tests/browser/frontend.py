"""The actions of a user in the frontend of Home Assistant.

Each action waits for the elements that it needs, not for a time. Most actions work in
each language, because they use no text of Home Assistant. Only `pick_time` and
`replace_change` need English, because they use English formats of times and numbers.
"""

from datetime import datetime
import json
import re
from typing import Any

from playwright.async_api import Locator, Page, expect

from tools.paths import DOMAIN

from .camera import HEIGHT, WIDTH, Camera
from .texts import Texts

PRIMARY_BUTTON = "ha-button[slot=primaryAction]"  # of each dialog


class Frontend:
    """A page of the frontend with a user who is logged in."""

    def __init__(
        self, page: Page, url: str, texts: Texts, camera: Camera | None
    ) -> None:
        """Use an empty page. The camera is None if no pictures are taken."""
        self.page = page
        self.url = url
        self.texts = texts
        self.camera = camera

    async def open(self, path: str) -> None:
        """Open a page of the frontend by its path."""
        await self.page.goto(self.url + path)

    async def picture(
        self, name: str, *, width: int = WIDTH, height: int = HEIGHT
    ) -> None:
        """Take a picture with a width and a height in pixels, if there is a camera."""
        if self.camera is not None:
            await self.camera.take(self.page, name, width, height)

    # -- confirmation ----------------------------------------------------------

    async def confirm(self) -> None:
        """Confirm the dialog box."""
        await self.page.locator("dialog-box").locator(PRIMARY_BUTTON).click()

    # -- flows: setup, reconfiguration and repairs -----------------------------

    @property
    def flow(self) -> Locator:
        """Return the dialog of a flow."""
        return self.page.locator("dialog-data-entry-flow ha-dialog")

    def step(self, kind: str) -> Locator:
        """Return a step of the flow: form, menu, progress, abort or create-entry."""
        return self.flow.locator(f"step-flow-{kind}")

    @property
    def error(self) -> Locator:
        """Return the error of a whole form, not of one field."""
        return self.step("form").locator("ha-alert")

    async def choose(self, option: str) -> None:
        """Choose an option of a menu."""
        await self.step("menu").get_by_text(option, exact=True).click()

    def field(self, label: str) -> Locator:
        """Return a field of a form."""
        # A required field has a star after its label.
        exactly = re.compile(rf"^\s*{re.escape(label)}\s*\*?\s*$")
        return (
            self.step("form")
            .locator("ha-selector")
            .filter(has=self.page.get_by_text(exactly))
        )

    async def fill(self, label: str, value: str) -> None:
        """Enter a value into a field for text or a number."""
        await self.field(label).locator("input").fill(value)

    async def select(self, label: str, option: str) -> None:
        """Choose an option of a field with a list."""
        await self.field(label).locator("ha-picker-field").click()
        await (
            self.field(label)
            .locator("ha-dropdown-item")
            .get_by_text(option, exact=True)
            .click()
        )

    async def fill_port(self, label: str, port: str) -> None:
        """Enter the path of a serial port.

        The field is a list. Its last item replaces the list by a field for text.
        """
        field = self.field(label)
        picker = field.locator("ha-generic-picker")
        # Until the frontend has the list of ports, it shows a field for text. The click
        # waits for the list.
        await picker.locator("ha-picker-field").click()
        items = picker.locator("ha-picker-combo-box ha-combo-box-item")
        await items.last.click()
        # Wait until the list is gone, because its search field is an input, too.
        await expect(picker).to_have_count(0)
        await field.locator("input").fill(port)

    async def submit(self) -> None:
        """Submit a form, or finish a flow that has added a bus or a meter."""
        await self.flow.locator(PRIMARY_BUTTON).click()

    async def close(self) -> None:
        """Close the dialog of a flow at any step."""
        await self.flow.locator("ha-icon-button").first.click()
        await expect(self.flow).to_be_hidden()

    # -- start of a flow -------------------------------------------------------

    async def add_integration(self) -> None:
        """Start the flow that adds a bus."""
        await self.open(f"/config/integrations/dashboard/add?domain={DOMAIN}")
        await self.confirm()
        await expect(self.step("form").or_(self.step("menu"))).to_be_visible()

    async def open_integration(self) -> None:
        """Open the page of the integration: its buses with their meters."""
        await self.open(f"/config/integrations/integration/{DOMAIN}")

    def bus(self, title: str) -> Locator:
        """Return the row of a bus on the page of the integration."""
        return self.page.locator("ha-config-entry-row").filter(has_text=title)

    def meter(self, title: str) -> Locator:
        """Return the row of a meter on the page of the integration."""
        return self.page.locator("ha-config-sub-entry-row").filter(has_text=title)

    async def add_meters(self) -> None:
        """Start the flow that adds meters to the only bus."""
        await self.open_integration()
        menu = self.page.locator("ha-config-entry-row ha-dropdown").first
        await menu.locator("ha-icon-button").first.click()
        await menu.locator("ha-dropdown-item[value=subentry_meter]").click()
        await expect(self.step("form")).to_be_visible()

    async def reconfigure_bus(self, title: str) -> None:
        """Start the flow that changes a bus."""
        await self.open_integration()
        menu = self.bus(title).locator("ha-dropdown").first
        await menu.locator("ha-icon-button").first.click()
        await menu.locator("ha-dropdown-item[value=reconfigure]").click()

    async def reconfigure_meter(self, title: str) -> None:
        """Start the flow that changes a meter, with the button in its row."""
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

    # -- tools -----------------------------------------------------------------

    async def perform(self, action: str, **data: Any) -> Locator:
        """Perform an action in *Tools*. Return the editor that shows the response."""
        # The page takes the action from the local storage of the browser.
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
        # The table has two search fields. One is visible, depending on the page width.
        search = self.page.locator("tools-statistics ha-input-search input:visible")
        await search.fill(statistic_id)
        row = self.page.get_by_role("row").filter(has_text=statistic_id)
        # The last button opens the dialog. Since Home Assistant 2026.11, another button
        # precedes it.
        await row.locator("ha-icon-button").last.click()
        await expect(self.adjust_sum.locator(".stat-list")).to_be_visible()

    @property
    def adjust_sum(self) -> Locator:
        """Return the dialog that adjusts a statistic."""
        return self.page.locator("dialog-statistics-adjust-sum")

    async def pick_time(self, moment: datetime) -> None:
        """List the rows around `moment`, in the dialog that adjusts a statistic."""
        # In English, the field has hours from 1 to 12, and AM or PM. This method does
        # not change the date, AM or PM, so `moment` has to be in the half of the day
        # that the fields show.
        fields = self.adjust_sum.locator("ha-time-input input")
        await fields.nth(0).fill(f"{moment:%I}")
        await fields.nth(1).fill(f"{moment:%M}")
        await fields.nth(1).blur()

    async def show_outliers(self) -> None:
        """List the largest changes, in the dialog that adjusts a statistic."""
        await self.adjust_sum.locator("ha-button[slot=secondaryAction]").click()

    async def replace_change(self, shown: float, new: float) -> None:
        """Replace the change of a row in the dialog that adjusts a statistic.

        `shown` is the change that the list shows, and `new` replaces it, both in kWh.
        """
        number = f"{round(shown, 2):.12g}"  # without zeros at the end
        # Since Home Assistant 2026.11, a number in the list always has two decimals.
        change = re.compile(rf"^\s*{re.escape(number)}[.0]*\s*kWh")
        await self.adjust_sum.locator("ha-list-item").filter(has_text=change).click()
        value = self.adjust_sum.locator("ha-selector-number input")
        await expect(value).to_have_value(number)
        await value.fill(f"{new:.2f}")
        await self.adjust_sum.locator(PRIMARY_BUTTON).click()
        # The dialog closes, or lists the rows again.
        await expect(value).to_have_count(0)

    # -- devices and notifications ---------------------------------------------

    async def open_device(self, device_id: str) -> None:
        """Open the page of a device."""
        await self.open(f"/config/devices/device/{device_id}")

    def row(self, name: str) -> Locator:
        """Return the row of an entity, on the page of a device or in a card."""
        return self.page.locator("hui-generic-entity-row").filter(
            has=self.page.get_by_text(name, exact=True)
        )

    async def show_notifications(self) -> Locator:
        """Open the notifications, and return their drawer."""
        main = self.page.locator("home-assistant-main")
        await main.dispatch_event("hass-show-notifications")
        return self.page.locator("notification-drawer")

    async def press(self, name: str) -> None:
        """Press the button of a button entity in its row."""
        await self.row(name).locator("ha-button").click()
