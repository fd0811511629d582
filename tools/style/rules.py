"""The rules of the style check, each with a rejected and an accepted sentence."""

from collections.abc import Iterator
from dataclasses import dataclass
import re


@dataclass(frozen=True)
class Rule:
    """A pattern that no sentence may match."""

    pattern: re.Pattern[str]
    advice: str
    """The words to write instead, as an imperative sentence without a full stop."""
    rejected: str
    """Sentence that the pattern matches."""
    accepted: str
    """Sentence that the pattern does not match."""


def _rule(pattern: str, advice: str, *, rejected: str, accepted: str) -> Rule:
    return Rule(re.compile(pattern), advice, rejected, accepted)


RULES = (
    _rule(
        r"^(?:Who|What|Whoever|Whatever)\b(?!.*\?$)",
        "Begin with the actor: the meter, the client, the gateway, the port",
        rejected="Who does not respond is read again later.",
        accepted="What if the meter does not respond?",
    ),
    _rule(
        r"(?i)\bknock(?:s|ed|ing)?\b",
        "Use 'verify the identity'",
        rejected="The poller knocks every 30 s.",
        accepted="The poller verifies the identity every 30 s.",
    ),
    _rule(
        r"(?i)\b(?:dis)?belie(?:f|ves?|ved|ving)\b",
        "Use 'accept', 'reject' or 'last accepted value'",
        rejected="The reading is believed after 60 s.",
        accepted="The reading is accepted after 60 s.",
    ),
    _rule(
        r"(?i)\bdoubt(?:s|ed|ing|ful)?\b",
        "Use 'reject'",
        rejected="The check doubts the reading.",
        accepted="The check rejects the reading.",
    ),
    _rule(
        r"(?i)\b(?:tell(?:s|ing)?|told)\b",
        "Use 'report', 'show' or 'return', and name the actor",
        rejected="The dialog tells what to check.",
        accepted="The dialog lists the checks.",
    ),
    _rule(
        r"(?i)\b(?:say(?:s|ing)?|said) nothing\b(?! (?:about|of)\b)",
        "Use 'not available', or 'does not respond'",
        rejected="A register that says nothing has no entity.",
        accepted="One test says nothing about the coverage.",
    ),
    _rule(
        r"(?i)\bserv(?:e|es|ed|ing)\b",
        "Use 'support' for a block, 'respond' for a device, 'use' for a purpose",
        rejected="The meter serves the block in two requests.",
        accepted="The server supports the block.",
    ),
    _rule(
        r"(?i)\bfiner\b",
        "Use 'high-resolution (10 Wh)'",
        rejected="The finer counters are read.",
        accepted="The high-resolution counters are read; the rest is defined here.",
    ),
    _rule(
        r"(?i)\bsilent (?:devices?|meters?|ones?)\b",
        "Use 'offline'",
        rejected="A silent meter does not delay the others.",
        accepted="The bus is silent for 3.5 characters before a request.",
    ),
    _rule(
        r"(?i)\bask(?:s|ed|ing)? (?:once more|again|twice)\b",
        "Use 'retry'",
        rejected="The client asks once more.",
        accepted="The client retries the request.",
    ),
    _rule(
        r"(?i)\b(?:meters?|counters?|registers?) beg[aiu]ns? anew\b",
        "Use 'rollover'",
        rejected="The register begins anew at 0.",
        accepted="The rollover of the register adds an offset.",
    ),
    _rule(
        r"(?i)\b(?:talks?|talked|talking|speaks?|spoke|speaking)\b",
        "Use 'send', 'respond' or 'transaction'",
        rejected="Two programs talk to the meter.",
        accepted="Two programs send requests to the meter.",
    ),
    _rule(
        # `(?! 2)` accepts the name "Apache License 2.0".
        r"(?i)\b(?:behavior|color|center|gray|neighbor|license|licensed)\b(?! 2)",
        "Use British spelling: behaviour, colour, centre, grey, neighbour, licence",
        rejected="The color of the gauge shows the power.",
        accepted="The colour of the gauge shows the power.",
    ),
    _rule(
        "\N{EM DASH}",
        "Use two sentences, a comma or a colon",
        rejected="The port is open \N{EM DASH} no meter responds.",
        accepted="The port is open, but no meter responds.",
    ),
)


def violated(sentence: str) -> Iterator[tuple[str, str]]:
    """Yield the rejected words of a sentence, each with the advice of its rule."""
    for rule in RULES:
        for match in rule.pattern.finditer(sentence):
            yield match[0], rule.advice
