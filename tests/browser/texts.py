"""The texts of the integration in the language of a user."""

from functools import cached_property
import json
import re
from typing import Any

from tools.paths import DOMAIN, ROOT

TRANSLATIONS = ROOT / "custom_components" / DOMAIN / "translations"

# A test that compares many texts runs once in each of these languages.
LANGUAGES = ("en", "fr")


class Texts:
    """The texts of the integration in one language, by their path in the file."""

    def __init__(self, language: str) -> None:
        """Use the file of a language."""
        self.language = language
        self.path = TRANSLATIONS / f"{language}.json"

    @cached_property
    def content(self) -> dict[str, Any]:
        """Return all texts of the file."""
        texts: dict[str, Any] = json.loads(self.path.read_text())
        return texts

    def has(self, path: str) -> bool:
        """Return whether there is a text at this path."""
        return isinstance(self._at(path), str)

    def __call__(self, path: str) -> str:
        """Return the text at a path such as config.step.user.title."""
        text = self._at(path)
        assert isinstance(text, str), path
        return text

    def pattern(self, path: str) -> re.Pattern[str]:
        """Return a pattern of the text with any values for its placeholders."""
        parts = re.split(r"{\w+}", self(path))
        return re.compile(".+".join(map(re.escape, parts)))

    @staticmethod
    def number(value: float) -> re.Pattern[str]:
        """Return a pattern of a number with two decimals, with any separators."""
        return re.compile(f"{value:_.2f}".replace(".", "[.,]").replace("_", r"\D?"))

    def _at(self, path: str) -> Any:
        found: Any = self.content
        for key in path.split("."):
            found = found.get(key) if isinstance(found, dict) else None
        return found
