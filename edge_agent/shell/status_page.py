"""A tiny HTTP server for the page, metrics and health: GET only, nothing to command, no secret, small bounds.

    GET /         the page           GET /metrics   Prometheus text
    GET /health   JSON; 503 where the core is stuck or the meter that counts for money is silent
    GET /alive    503 where the core is stuck: what only a new start cures

It answers only requests that name it by an address or a name of the house, so that no page of the world can have a
browser read it (DNS rebinding). A proxy that lets people in itself may ask by any name: what it passes on is the
name under which the house is reached from the world.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
from collections.abc import Callable

from edge_agent.effects import Counters

REQUEST_LIMIT_BYTES = 8_192
"""A browser's headers with room; asyncio's own limit of a line is the same."""
CLIENTS_LIMIT = 8
"""A family's phones and a scraper."""
PATIENCE_S = 5.0
"""To send a request and to take its answer."""
BIND_AGAIN_S = 60.0
HOUSE_SUFFIXES = (".local", ".lan", ".home", ".home.arpa", ".internal", ".fritz.box", ".localhost")
_HEADERS = (
    "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n"
    "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'\r\n"
    "Connection: close\r\n"
)
_WORDS = {
    200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
    431: "Request Header Fields Too Large", 500: "Internal Server Error", 503: "Service Unavailable",
}  # fmt: skip

Answer = tuple[int, str, str]
"""Status, content type and text."""

_LOG = logging.getLogger("edge_agent.status_page")


class StatusPage:
    """Serves ``answers`` by path until cancelled."""

    def __init__(
        self, host: str, port: int, answers: dict[str, Callable[[], Answer]], counters: Counters, proxy: str = ""
    ) -> None:
        self._host, self._port, self._proxy = host, port, proxy
        self._answers = answers
        self._counters = counters
        self._clients = 0
        self.bound_port: int | None = None

    async def run(self) -> None:
        """A port that is taken is asked for again every minute: the agent has more important things to do."""
        while True:
            try:
                server = await asyncio.start_server(self._client, self._host, self._port, limit=REQUEST_LIMIT_BYTES)
            except OSError as error:
                self._counters.count("status_page_unbound")
                _LOG.warning("the status page cannot listen on %s:%s: %s", self._host, self._port, error)
                await asyncio.sleep(BIND_AGAIN_S)
                continue
            self.bound_port = server.sockets[0].getsockname()[1]
            try:
                await server.serve_forever()
            finally:
                server.close()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self._clients >= CLIENTS_LIMIT:
                self._counters.count("status_page_busy")
                return
            self._clients += 1
            try:
                async with asyncio.timeout(PATIENCE_S):
                    peer = str((writer.get_extra_info("peername") or ("",))[0])
                    writer.write(await self._answer(reader, bool(self._proxy) and peer == self._proxy))
                    await writer.drain()
            finally:
                self._clients -= 1
        except (OSError, TimeoutError):
            self._counters.count("status_page_broken")
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, by_proxy: bool) -> bytes:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return self._reply(431, "text/plain", "too long\n")
        except asyncio.IncompleteReadError:
            return self._reply(400, "text/plain", "not a request\n")
        lines = head.decode("latin-1").split("\r\n")
        words = lines[0].split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return self._reply(400, "text/plain", "not a request\n")
        if words[0] not in ("GET", "HEAD"):
            return self._reply(405, "text/plain", "only GET\n")
        hosts = [line.split(":", 1)[1].strip() for line in lines[1:] if line.lower().startswith("host:")]
        if len(hosts) != 1 or not (by_proxy or is_of_the_house(hosts[0])):
            return self._reply(403, "text/plain", "call me by an address or a name of the house\n")
        answer = self._answers.get(words[1].split("?", 1)[0])
        if answer is None:
            return self._reply(404, "text/plain", "there is nothing here\n")
        try:
            found = answer()
        except Exception:  # a fault in what is shown must not reach the agent
            self._counters.count("status_page_failed")
            _LOG.exception("the status page failed")
            return self._reply(500, "text/plain", "failed\n")
        return self._reply(*found, is_head=words[0] == "HEAD")

    def _reply(self, code: int, kind: str, text: str, is_head: bool = False) -> bytes:
        self._counters.count("status_page_answered" if code < 400 or code == 503 else "status_page_refused")
        body = text.encode()
        allow = "Allow: GET, HEAD\r\n" if code == 405 else ""
        head = f"HTTP/1.1 {code} {_WORDS[code]}\r\nContent-Type: {kind}; charset=utf-8\r\n"
        head += f"Content-Length: {len(body)}\r\n{allow}{_HEADERS}\r\n"
        return head.encode() + (b"" if is_head else body)


def is_of_the_house(host: str) -> bool:
    """Whether a Host header is an address, a name without a dot, or ends like names of a house do."""
    name = host.rsplit(":", 1)[0] if not host.endswith("]") and host.rsplit(":", 1)[-1].isdecimal() else host
    name = name.removeprefix("[").removesuffix("]").lower().removesuffix(".")
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return (
            bool(name)
            and all(c.isalnum() or c in ".-_" for c in name)
            and ("." not in name or name.endswith(HOUSE_SUFFIXES))
        )
    return True


def health_text(alive: bool, document: object) -> Answer:
    """The answer to `/health`: 503 only where a restart or an installer is needed."""
    return (200 if alive else 503), "application/json", json.dumps(document) + "\n"
