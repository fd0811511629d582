"""Pictures for the documentation, of what the tests see."""

from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import Page

from tools.paths import ROOT

IMAGES = ROOT / "docs" / "images"

WIDTH = 1100
HEIGHT = 800

# Narrow enough for a dialog to fill the page, and for a device to have two columns.
DIALOG = 620
DEVICE = 820

# What a reader's port is called, in place of the simulated one.
PORT = "/dev/ttyUSB0"

# Replaces a text everywhere on the page, also in its shadows and fields.
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
    """Takes pictures that are the same wherever the tests run."""

    hidden: str
    folder: Path = IMAGES

    async def take(self, page: Page, name: str, width: int, height: int) -> None:
        """Keep what is seen now."""
        await page.set_viewport_size({"width": width, "height": height})
        # Nothing is pointed at.
        await page.mouse.move(0, 0)
        await page.evaluate(REPLACE, [self.hidden, PORT])
        await page.screenshot(
            path=self.folder / f"{name}.png", animations="disabled", caret="hide"
        )
        await page.evaluate(REPLACE, [PORT, self.hidden])
        await page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
