"""Cases about hops: each way a Location can be written, and what goes with it."""

from __future__ import annotations

from tests.witness.answers import answer, page, redirect
from tests.witness.case import Case

_REASONS = {
    301: "Moved Permanently",
    302: "Found",
    303: "See Other",
    307: "Temporary Redirect",
    308: "Permanent Redirect",
}

CASES = (
    *(
        Case(f"redirect {status}", {"start": redirect("{http}/end", status, reason=reason), "end": answer()})
        for status, reason in _REASONS.items()
    ),
    Case(
        "redirect with a page of its own",
        {"start": answer(page("Over there."), [("Location", "end")], status=302), "end": answer()},
    ),
    Case("relative location", {"start": redirect("end"), "end": answer()}),
    Case("location with dot segments", {"start": redirect("./a/../b/../end"), "end": answer()}),
    Case("absolute path location", {"start": redirect("/absolute-path-location/end"), "end": answer()}),
    Case("query-only location", {"start": redirect("?x=1&y=%20"), "start?x=1&y=%20": answer()}),
    Case("location without a scheme", {"start": redirect("//{http without scheme}/end"), "end": answer()}),
    Case("location with a fragment", {"start": redirect("end#there"), "end": answer()}),
    Case("fragment kept over a redirect", {"start#here": redirect("end"), "end": answer()}),
    Case("location with spaces around", {"start": redirect("  end  "), "end": answer()}),
    Case("location with a space inside", {"start": redirect("the end"), "the%20end": answer()}),
    Case(
        "location in UTF-8",
        {"start": redirect("gr\xc3\xbc\xc3\x9fe"), "gr%C3%BC%C3%9Fe": answer(), "gr%c3%bc%c3%9fe": answer()},
    ),
    Case("location in ISO-8859-1", {"start": redirect("gr\xfc\xdfe"), "gr%FC%DFe": answer(), "gr%fc%dfe": answer()}),
    Case(
        "location with lower-case escapes", {"start": redirect("%c3%a4%7e"), "%c3%a4%7e": answer(), "%C3%A4~": answer()}
    ),
    Case("upper-case host in a location", {"start": redirect("{HTTP}/end"), "end": answer()}),
    Case(
        "five redirects",
        {
            "start": redirect("two", 301),
            "two": redirect("./three", 302),
            "three": redirect("{other}/four", 307),
            "four": redirect("{http}/five", 303),
            "five": redirect("end", 308),
            "end": answer(),
        },
    ),
    Case("redirect to another site", {"start": redirect("{elsewhere}/end"), "end": answer()}),
    Case("redirect to TLS", {"start": redirect("{https}/end", 301), "end": answer()}, final_secure=True),
    Case("redirect from TLS", {"start": redirect("{http}/end"), "end": answer()}, secure=True, final_secure=False),
    Case("redirect without a location", {"start": answer(page("Nowhere."), status=302, reason="Found")}),
    Case("created, with a location", {"start": answer(headers=[("Location", "end")], status=201), "end": answer()}),
    Case("multiple choices", {"start": answer(headers=[("Location", "end")], status=300), "end": answer()}),
)
