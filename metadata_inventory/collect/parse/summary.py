"""Reads the summary of an HTML page from its head: title, description, canonical URL, Open Graph and more.

libxml2's tokenizer (the HTML standard's since 2.14) calls back for each tag, and no tree is built: nested or unclosed
tags make every tree builder take quadratic time (lexbor: over five minutes for 1 MB of `<div>`). libxml2 searches the
open elements for each unmatched end tag nevertheless, so `MAX_DEPTH` bounds their number. The slowest page then takes
about 0.4 s.
"""

from __future__ import annotations

from collections.abc import Iterator

import ada_url
import msgspec
from lxml import etree  # type: ignore[import-untyped]

from metadata_inventory.model.capture import Property, Summary

MAX_HTML_CHARACTERS = 512 * 1024  # read of a page
MAX_DEPTH = 512  # open elements; Blink's limit too (HTMLConstructionSite)
MAX_TEXT = 1_000  # characters of one value
MAX_URL = 2_048  # characters; a longer URL is left out, because a part of it would be another URL
MAX_PAIRS = 50  # of Open Graph, and as many of Twitter
MAX_JSON_LD_BYTES = 256 * 1024  # of all scripts together
MAX_JSON_LD_TYPES = 50

HTML_TYPES = frozenset(("text/html", "application/xhtml+xml"))

_FOREIGN = frozenset(("svg", "math", "template"))  # titles and links inside them are not the page's


def summarize(html: str, base_url: str, media_type: str | None) -> Summary | None:
    """The summary of a page, from its text; None if the media type is not HTML's. No text makes it raise."""
    if media_type not in HTML_TYPES:
        return None
    page = _Page()
    page.complete = len(html) <= MAX_HTML_CHARACTERS
    parser = etree.HTMLParser(target=page, encoding="utf-8")
    try:
        parser.feed(html[:MAX_HTML_CHARACTERS].encode("utf-8", "replace"))
        parser.close()
    except (_TooDeep, etree.LxmlError):
        page.complete = False
    return page.summary(base_url)


class _TooDeep(Exception):
    """More than `MAX_DEPTH` elements are open."""


class _Page:
    """The target of lxml's parser: collects what the summary needs from the events of one page."""

    def __init__(self) -> None:
        self.complete = True
        self._depth = 0
        self._foreign_depth = 0
        self._text: list[str] | None = None  # of the title or script being read
        self._title: str | None = None
        self._language: str | None = None
        self._base: str | None = None
        self._links: dict[str, str] = {}
        self._description: str | None = None
        self._pairs: dict[str, list[Property]] = {"og:": [], "twitter:": []}
        self._json_ld: list[str] = []
        self._json_ld_room = MAX_JSON_LD_BYTES

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _TooDeep
        self._foreign_depth += tag in _FOREIGN
        if self._foreign_depth:
            return
        if tag == "html" and self._language is None:
            self._language = self._clean(attributes.get("lang") or attributes.get("xml:lang") or "")
        elif tag == "base" and self._base is None:
            self._base = attributes.get("href")
        elif tag == "meta":
            self._take_meta(attributes)
        elif tag == "link":
            self._take_link(attributes)
        elif (tag == "title" and self._title is None) or (tag == "script" and _is_json_ld(attributes)):
            self._text = []

    def end(self, tag: str) -> None:
        self._depth -= 1
        self._foreign_depth -= tag in _FOREIGN
        if self._text is None or tag not in ("title", "script"):
            return
        text, self._text = "".join(self._text), None
        if tag == "title":
            self._title = self._clean(text) or ""
        elif len(text) <= self._json_ld_room:
            self._json_ld_room -= len(text)
            self._json_ld.append(text)
        else:
            self.complete = False

    def data(self, text: str) -> None:
        if self._text is not None:
            self._text.append(text)

    def close(self) -> None:
        """lxml requires this method."""

    def summary(self, base_url: str) -> Summary:
        base = _resolve(self._base or "", base_url) or base_url
        links = {relation: self._url(href, base) for relation, href in self._links.items()}
        types = tuple(dict.fromkeys(self._types()))
        if len(types) > MAX_JSON_LD_TYPES:
            self.complete = False
        return Summary(
            title=self._title or None,
            description=self._description,
            canonical=links.get("canonical"),
            language=self._language,
            favicon=links.get("icon"),
            open_graph=tuple(self._pairs["og:"]),
            twitter=tuple(self._pairs["twitter:"]),
            json_ld_types=types[:MAX_JSON_LD_TYPES],
            complete=self.complete,
        )

    def _take_meta(self, attributes: dict[str, str]) -> None:
        """Read names from `property` (Open Graph's) and from `name` (Twitter's) alike, because pages mix them up."""
        content = self._clean(attributes.get("content", ""))
        if content is None:
            return
        for name in {attributes.get("property", ""): None, attributes.get("name", ""): None}:
            name = name.strip().lower()
            if name == "description" and self._description is None:
                self._description = content
            for prefix, pairs in self._pairs.items():
                if not name.startswith(prefix):
                    continue
                if len(pairs) < MAX_PAIRS and len(name) <= MAX_TEXT:
                    pairs.append(Property(name, content))
                else:
                    self.complete = False

    def _take_link(self, attributes: dict[str, str]) -> None:
        href = attributes.get("href", "").strip()
        for relation in attributes.get("rel", "")[:MAX_TEXT].lower().split():
            if relation in ("canonical", "icon") and href:
                self._links.setdefault(relation, href)

    def _clean(self, text: str) -> str | None:
        """The text as one line of bounded length; None if it is empty."""
        line = " ".join(text.split())
        if len(line) > MAX_TEXT:
            self.complete = False
            line = line[:MAX_TEXT].rstrip()
        return line or None

    def _url(self, href: str, base: str) -> str | None:
        url = _resolve(href, base)
        if url is None or len(url) > MAX_URL:
            self.complete = False
            return None
        return url

    def _types(self) -> Iterator[str]:
        for script in self._json_ld:
            try:
                document = msgspec.json.decode(script)
            except (msgspec.DecodeError, RecursionError, ValueError):
                continue
            for name in _find_types(document):
                if cleaned := self._clean(name.encode("utf-8", "replace").decode("utf-8")):
                    yield cleaned


def _is_json_ld(attributes: dict[str, str]) -> bool:
    return attributes.get("type", "").partition(";")[0].strip().lower() == "application/ld+json"


def _find_types(document: object) -> Iterator[str]:
    """The types of the document's nodes: the document itself, its items, and the nodes in its `@graph`."""
    for node in document if isinstance(document, list) else [document]:
        if not isinstance(node, dict):
            continue
        named = node.get("@type")
        yield from (name for name in (named if isinstance(named, list) else [named]) if isinstance(name, str))
        graph = node.get("@graph")
        for inner in graph if isinstance(graph, list) else []:
            if isinstance(inner, dict):
                yield from _find_types({"@type": inner.get("@type")})


def _resolve(href: str, base: str) -> str | None:
    """The absolute URL by the URL Standard; None if it is not an http or https URL."""
    try:
        url = ada_url.URL(href, base)
    except (ValueError, UnicodeError):
        return None
    return url.href if url.protocol in ("http:", "https:") else None
