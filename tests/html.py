"""What a page says, and what it must not hold, as a parser of HTML sees it."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = frozenset({"br", "hr", "img", "input", "link", "meta"})


class Page(HTMLParser):
    """A page read: its text, its elements, and whatever a browser could run or load from it."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.text = ""
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.active: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == [], "an element is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append((tag, values))
        if tag not in VOID:
            self.open.append(tag)
        self._judge(tag, values)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._judge(tag, dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def _judge(self, tag: str, values: dict[str, str | None]) -> None:
        own = str(values.get("src", "")).startswith("/assets/")
        if tag in ("style", "iframe", "object", "embed", "base") or (tag == "script" and not own):
            self.active.append(tag)
        self.active += [name for name in values if name == "style" or name.startswith("on")]
        self.active += [
            str(value)
            for name, value in values.items()
            if name in ("href", "src", "action") and str(value).strip().startswith("javascript:")
        ]

    def fields(self, name: str) -> list[str]:
        """The values of all hidden and visible fields of that name."""
        return [
            str(values.get("value"))
            for tag, values in self.tags
            if tag == "input" and values.get("name") == name
        ]

    def links(self, word: str) -> list[str]:
        """Where the links lead whose address holds a word."""
        found = [str(values.get("href")) for tag, values in self.tags if tag == "a"]
        return [one for one in found if word in one]
