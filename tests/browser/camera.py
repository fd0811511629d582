"""Pictures of the frontend for the documentation."""

from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import Page

from tools.paths import ROOT

IMAGES = ROOT / "docs" / "images"

# Size of the page in pixels.
WIDTH = 1100
HEIGHT = 800

DIALOG = 620  # width in pixels of a page that is slightly wider than a dialog
DEVICE_PAGE = 820  # width in pixels at which the page of a device has two columns

SHOWN_PORT = "/dev/ttyUSB0"  # replaces the path of the simulated port in pictures

# Replaces a text everywhere on the page, also in shadow roots and input fields.
REPLACE = """([from, to]) => {
    const replace = (node) => {
        if (node.nodeType === Node.TEXT_NODE && node.data.includes(from)) {
            node.data = node.data.replaceAll(from, to);
        }
        if (node.localName === "input" && node.value.includes(from)) {
            node.value = node.value.replaceAll(from, to);
        }
        [node.shadowRoot, ...node.childNodes].filter(Boolean).forEach(replace);
    };
    replace(document);
}"""


@dataclass(frozen=True)
class Camera:
    """Takes pictures that do not depend on the machine."""

    port: str
    """Path of the simulated port, which `SHOWN_PORT` replaces in pictures."""
    folder: Path = IMAGES

    async def take(self, page: Page, name: str, width: int, height: int) -> None:
        """Save a picture of the page with a width and a height in pixels."""
        await page.set_viewport_size({"width": width, "height": height})
        # An element below the mouse pointer would be highlighted.
        await page.mouse.move(0, 0)
        await page.evaluate(REPLACE, [self.port, SHOWN_PORT])
        await page.screenshot(
            path=self.folder / f"{name}.png", animations="disabled", caret="hide"
        )
        await page.evaluate(REPLACE, [SHOWN_PORT, self.port])
        await page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
