"""Summaries of pages, and that no page takes long."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metadata_inventory.collect.parse.summary import (
    MAX_DEPTH,
    MAX_HTML_CHARACTERS,
    MAX_JSON_LD_BYTES,
    MAX_JSON_LD_TYPES,
    MAX_PAIRS,
    MAX_TEXT,
    MAX_URL,
    summarize,
)
from metadata_inventory.model.capture import Property, Summary

BASE = "https://shop.example/goods/page.html"


def read(html: str) -> Summary:
    summary = summarize(html, BASE, "text/html")
    assert summary is not None
    return summary


def test_whole_head_is_read() -> None:
    assert read(
        """<!doctype html>
        <html lang="de-CH"><head><meta charset=utf-8><title>Tea &amp;
           Biscuits</title>
        <meta name="Description" content=" Fine   tea. ">
        <link rel="preload canonical" href="../tea"><link rel="shortcut icon" href="/i.png">
        <meta property="og:title" content="Tea"><meta property="og:image" content="a.png">
        <meta property="og:image" content="b.png"><meta name="twitter:card" content="summary">
        <script type="application/ld+json">{"@context": "https://schema.org", "@type": "Product"}</script>
        </head><body><p>Tea</body></html>"""
    ) == Summary(
        title="Tea & Biscuits",
        description="Fine tea.",
        canonical="https://shop.example/tea",
        language="de-CH",
        favicon="https://shop.example/i.png",
        open_graph=(Property("og:title", "Tea"), Property("og:image", "a.png"), Property("og:image", "b.png")),
        twitter=(Property("twitter:card", "summary"),),
        json_ld_types=("Product",),
        complete=True,
    )


@pytest.mark.parametrize("media_type", ["text/plain", "application/xml", "application/json", None])
def test_only_html_is_read(media_type: str | None) -> None:
    assert summarize("<title>x</title>", BASE, media_type) is None


def test_xhtml_is_html() -> None:
    html = '<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml" xml:lang="fr"><title>x</title></html>'
    assert summarize(html, BASE, "application/xhtml+xml") == Summary(title="x", language="fr")


@pytest.mark.parametrize(
    ("html", "title"),
    [
        pytest.param("<title>a</title><title>b</title>", "a", id="the first"),
        pytest.param("<title></title><title>b</title>", None, id="the first, though empty"),
        pytest.param("<svg><title>icon</title></svg><title>page</title>", "page", id="not a drawing's"),
        pytest.param("<template><title>x</title></template><title>page</title>", "page", id="not a template's"),
        pytest.param("<!-- <title>no</title> --><title>page</title>", "page", id="not a comment's"),
        pytest.param("<script>'<title>no</title>'</script><title>page</title>", "page", id="not a script's"),
        pytest.param("<title>a <b>tag</title>", "a <b>tag", id="tags are text in it"),
        pytest.param("<title>left open", "left open", id="left open"),
        pytest.param("<body><p>x<title>late</title>", "late", id="in the body"),
        pytest.param("<title>a\0b\x01</title>", "a\ufffdb\x01", id="control characters"),
    ],
)
def test_title(html: str, title: str | None) -> None:
    assert read(html).title == title


@pytest.mark.parametrize(
    ("html", "url"),
    [
        pytest.param("<link rel=canonical href=x>", "https://shop.example/goods/x", id="relative"),
        pytest.param("<link rel=CANONICAL href='https://OTHER.example'>", "https://other.example/", id="absolute"),
        pytest.param(
            "<link rel=canonical href=a><link rel=canonical href=b>", "https://shop.example/goods/a", id="first"
        ),
        pytest.param("<base href=/b/><link rel=canonical href=x>", "https://shop.example/b/x", id="base"),
        pytest.param("<link rel=canonical href=x><base href=/b/>", "https://shop.example/b/x", id="base after it"),
        pytest.param(
            "<base href=/b/><base href=/c/><link rel=canonical href=x>", "https://shop.example/b/x", id="1st base"
        ),
        pytest.param("<base href='data:x'><link rel=canonical href=x>", "https://shop.example/goods/x", id="bad base"),
        pytest.param("<link rel=canonical>", None, id="no href"),
        pytest.param("<link rel=canonicals href=x>", None, id="another relation"),
    ],
)
def test_canonical(html: str, url: str | None) -> None:
    summary = read(html)
    assert (summary.canonical, summary.complete) == (url, True)


@pytest.mark.parametrize(
    "href",
    ["javascript:alert(1)", "https://[", "data:image/png;base64,AAAA", "/" + "x" * MAX_URL],
    ids=lambda h: h[:10],
)
def test_url_that_is_left_out_makes_the_summary_incomplete(href: str) -> None:
    assert read(f'<link rel="icon" href="{href}">') == Summary(complete=False)


@pytest.mark.parametrize(
    ("script", "types"),
    [
        pytest.param('{"@type": "A"}', ("A",), id="object"),
        pytest.param('{"@type": ["A", "B", 1]}', ("A", "B"), id="several types"),
        pytest.param('[{"@type": "A"}, {"@type": "B"}, {"@type": "A"}, 1]', ("A", "B"), id="list"),
        pytest.param('{"@graph": [{"@type": "A"}, {"@type": "B", "x": {"@type": "C"}}]}', ("A", "B"), id="graph"),
        pytest.param('{"@type": "A", "x": {"@type": "B"}}', ("A",), id="not inside"),
        pytest.param('{"@type": {"a": 1}}', (), id="no text"),
        pytest.param("{'@type': 'A'}", (), id="no JSON"),
        pytest.param("[" * 100_000, (), id="nested"),
        pytest.param("", (), id="empty"),
    ],
)
def test_json_ld(script: str, types: tuple[str, ...]) -> None:
    assert read(f"<script type='application/ld+json; x=y'>{script}</script>").json_ld_types == types


@pytest.mark.parametrize(
    "html",
    [
        pytest.param("<title>" + "x" * (MAX_TEXT + 1) + "</title>", id="title"),
        pytest.param(f"<meta name=description content='{'x' * (MAX_TEXT + 1)}'>", id="description"),
        pytest.param("<meta property=og:a content=b>" * (MAX_PAIRS + 1), id="pairs"),
        pytest.param(f"<meta property='og:{'a' * MAX_TEXT}' content=b>", id="a pair's name"),
        pytest.param(f"<script type=application/ld+json>{' ' * (MAX_JSON_LD_BYTES + 1)}</script>", id="JSON-LD"),
        pytest.param(
            "<script type=application/ld+json>["
            + ",".join(f'{{"@type":"T{n}"}}' for n in range(MAX_JSON_LD_TYPES + 1))
            + "]</script>",
            id="types",
        ),
        pytest.param("<p>" * (MAX_HTML_CHARACTERS // 3 + 1), id="page"),
        pytest.param("<div>" * (MAX_DEPTH + 1), id="depth"),
    ],
)
def test_a_summary_cut_at_a_bound_is_not_complete(html: str) -> None:
    summary = read(html)
    assert not summary.complete
    assert len(summary.title or "") <= MAX_TEXT
    assert len(summary.description or "") <= MAX_TEXT
    assert len(summary.open_graph) <= MAX_PAIRS
    assert len(summary.json_ld_types) <= MAX_JSON_LD_TYPES


def test_what_stands_before_the_bound_is_kept() -> None:
    html = "<title>x</title>" + "<div>" * 100_000
    assert read(html) == Summary(title="x", complete=False)


DEEP = "<div>" * (MAX_DEPTH - 10)


@pytest.mark.parametrize(
    "html",
    [
        pytest.param("<div>" * 200_000, id="nested"),
        pytest.param(DEEP + "</p>" * 200_000, id="end tags that fit nothing"),
        pytest.param("".join(f"<font id={n}><p>" for n in range(50_000)), id="formatting left open"),
        pytest.param("<b><p>" * 100_000, id="misnested"),
        pytest.param("<div " + " ".join(f"a{n}" for n in range(100_000)) + ">", id="attributes"),
        pytest.param("<" * 600_000, id="only <"),
        pytest.param("&NotEqualTilde;" * 50_000, id="entities"),
        pytest.param("<meta property=og:a content=b>" * 20_000, id="meta"),
        pytest.param("<link rel='" + "a " * 250_000 + "' href=x>", id="relations"),
        pytest.param("<base href='" + "../" * 150_000 + "'>", id="base"),
    ],
)
def test_hostile_page_takes_a_bounded_time(html: str) -> None:
    started = time.process_time()
    read(html)
    assert time.process_time() - started < 3  # about 0.4 s at most; with a tree, minutes


@given(st.text(max_size=200), st.text(max_size=50))
def test_no_text_raises(html: str, base: str) -> None:
    summarize(html, base, "text/html")


PIECES = [
    "<title>",
    "</title>",
    "<meta ",
    "name=",
    "property=",
    "og:x",
    "twitter:y",
    "description",
    "content=",
    "<link ",
    "rel=",
    "canonical",
    "icon",
    "href=",
    "<script type=application/ld+json>",
    "</script>",
    '{"@type":',
    "[",
    "}",
    ">",
    "'",
    '"',
    "<svg>",
    "</svg>",
    "<base ",
    "http://",
    "a",
    "&#xD800;",
    "\x00",
    "�",
]


@given(st.lists(st.sampled_from(PIECES), max_size=40))
def test_no_markup_raises_and_values_are_text(parts: list[str]) -> None:
    summary = read("".join(parts))
    assert repr(summary).encode("utf-8")
    for value in (summary.title, summary.description, summary.canonical, summary.language, *summary.json_ld_types):
        (value or "").encode("utf-8")
