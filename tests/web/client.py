"""A client of the running API. It checks every answer against the OpenAPI document that the service serves."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

import jsonschema
from tornado.httpclient import AsyncHTTPClient, HTTPResponse
from tornado.httputil import HTTPHeaders


@dataclass(frozen=True)
class Answer:
    status: int
    headers: HTTPHeaders
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)


class Api:
    def __init__(self, base: str) -> None:
        self.base = base
        self.client = AsyncHTTPClient(force_instance=True, max_clients=1000)
        self._document: dict[str, Any] | None = None

    def close(self) -> None:
        self.client.close()

    async def document(self) -> dict[str, Any]:
        if self._document is None:
            response = await self.client.fetch(f"{self.base}/openapi.json")
            self._document = json.loads(response.body)
        return self._document

    async def get(self, path: str = "/api/metadata/", headers: Mapping[str, str] | None = None, **query: Any) -> Answer:
        return await self.send("GET", path, headers=headers, **query)

    async def post(
        self, url: str, headers: Mapping[str, str] | None = None, max_age: int | None = None, **query: Any
    ) -> Answer:
        body = {"url": url} if max_age is None else {"url": url, "max_age": max_age}
        headers = {"Content-Type": "application/json", **(headers or {})}
        return await self.send("POST", "/api/metadata/", headers=headers, body=json.dumps(body).encode(), **query)

    async def collected(self, url: str, **query: Any) -> Any:
        """Collect a URL now; its record."""
        answer = await self.post(url, **query)
        assert answer.status == 201, answer.content
        return answer.json

    async def send(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        **query: Any,
    ) -> Answer:
        target = f"{self.base}{path}" + (f"?{urlencode(query)}" if query else "")
        response = await self.client.fetch(
            target,
            method=method,
            headers=headers or {},
            body=body,
            raise_error=False,
            allow_nonstandard_methods=True,
            request_timeout=45,
        )
        assert response.code != 599, response.error
        await self.check(method, path, response)
        return Answer(response.code, response.headers, response.body)

    async def check(self, method: str, path: str, response: HTTPResponse) -> None:
        """The document declares the status, the media type and the schema of the answer."""
        document = await self.document()
        content_type = response.headers.get("Content-Type")
        if response.code >= 400:
            assert content_type == "application/problem+json"
            problem = {"$ref": "#/components/schemas/Problem"}
            if method != "HEAD":
                validate(json.loads(response.body), problem, document)
        item = next((item for name, item in document["paths"].items() if _matches(name, path)), {})
        declared = item.get("get" if method == "HEAD" else method.lower())
        if declared is None:
            assert response.code in (404, 405, 421) or method == "OPTIONS"
            return
        answer = declared["responses"][str(response.code)]
        if "content" not in answer:
            assert response.body == b""
            return
        if "*/*" in answer["content"]:
            return
        assert content_type in answer["content"]
        if method != "HEAD":
            validate(json.loads(response.body), answer["content"][content_type]["schema"], document)


def validate(value: Any, schema: dict[str, Any], document: dict[str, Any]) -> None:
    jsonschema.validate(
        value,
        {**schema, "components": document["components"]},
        cls=jsonschema.Draft202012Validator,
        format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER,
    )


def _matches(template: str, path: str) -> bool:
    pattern = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template.rstrip("/")))
    return re.fullmatch(pattern + "/?", urlsplit(path).path) is not None
