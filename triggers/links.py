"""Addresses in a message: what is filled in is written as an address has it, and for web analytics
a link says by UTM parameters where it comes from.

The names of those are the Urchin Tracking Module's, which every analytics tool reads.
"""

from urllib.parse import parse_qsl, quote

from triggers.fields import Name
from triggers.model import Model

#: What may stand in an address as it is: RFC 3986, reserved characters and `%`.
_SAFE = ":/?#[]@!$&'()*+,;=%~"
_SOURCE = "tripline"
#: The medium of a message is its channel.
_MEDIUM = "push"


def written_address(said: str) -> str | None:
    """What a template says, as an address: characters that cannot stand in one are encoded; None
    when it says nothing."""
    return quote(said.strip(), safe=_SAFE, errors="replace") or None


class Utm(Model):
    """What is added to the link of each message; `{}` adds what can be told without words."""

    source: Name = _SOURCE
    """`utm_source`."""
    medium: Name | None = None
    """`utm_medium`; else the channel."""
    campaign: Name | None = None
    """`utm_campaign`; else the trigger's id."""
    content: Name | None = None
    """`utm_content`; else the variant, or the text of a `series` or a `rotate`."""
    term: Name | None = None
    """`utm_term`."""

    def tagged(self, link: str, *, trigger: str, said: str) -> str:
        """`link` with the parameters that it does not have yet, before its fragment; nothing else
        of it changes. `said`: the variant or text, "" for neither."""
        head, mark, fragment = link.partition("#")
        path, _, query = head.partition("?")
        known = {name for name, _ in parse_qsl(query, keep_blank_values=True)}
        values = {
            "utm_source": self.source,
            "utm_medium": self.medium or _MEDIUM,
            "utm_campaign": self.campaign or trigger,
            "utm_content": self.content or said,
            "utm_term": self.term or "",
        }
        added = [
            f"{name}={quote(value, safe='')}"
            for name, value in values.items()
            if value and name not in known
        ]
        if not added:
            return link
        between = "&" if query and not query.endswith("&") else ""
        return f"{path}?{query}{between}{'&'.join(added)}{mark}{fragment}"
