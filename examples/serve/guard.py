"""What stands before a service: who may ask, how often, how much, how long; fixed errors, and logs without data.

A layer of ASGI around any application. A request is known by its token, or else by its address; its body is read here,
up to a size and a time, and only then does the application see it.
"""

import asyncio
import hashlib
import hmac
import ipaddress
import json
import logging
import os
import re
import secrets
import stat
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

LOG = logging.getLogger("serve")
ERRORS = {  # the whole of what a client learns of a failure
    400: "bad request",
    401: "a token is needed",
    404: "no such page",
    405: "no such method",
    408: "the request came too slowly",
    413: "the request is too large",
    415: "a body of application/json is needed",
    422: "the body does not fit the schema",
    429: "too many requests",
    500: "internal error",
    503: "busy",
}
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
LINE = re.compile(r"([A-Za-z0-9_.-]{1,32}) +([A-Za-z0-9_-]{32,256})")


@dataclass(frozen=True)
class Limits:
    """Requests a second and at once of one client; bytes and seconds of a body."""

    rate: float = 10.0
    burst: int = 20
    size: int = 1 << 20
    seconds: float = 5.0


class Refused(Exception):
    """Ends a request with a status of ERRORS; wait: seconds after which to try again."""

    def __init__(self, status, wait=0.0):
        super().__init__(ERRORS[status])
        self.status = status
        self.headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
        if status in (429, 503):
            self.headers["Retry-After"] = str(max(1, round(wait)))


class Tokens:
    """Names by token. Digests are compared, all of them each time: time tells neither length nor place of a match."""

    def __init__(self, names):
        self.digests = [(hashlib.sha256(token.encode()).digest(), name) for token, name in names.items()]

    @classmethod
    def read(cls, path):
        """From lines `NAME TOKEN` of a file that nobody else can read; # begins a comment. ValueError: it is not so."""
        with Path(path).open() as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode) or mode & 0o077:
                raise ValueError("the file of tokens must be for its owner alone: chmod 600")
            lines = [line.strip() for line in file if line.strip() and not line.startswith("#")]
        matches = [LINE.fullmatch(line) for line in lines]
        if not lines or not all(matches):
            raise ValueError("the file of tokens must have lines NAME TOKEN, tokens of 32 or more of A-Z a-z 0-9 _ -")
        return cls({match[2]: match[1] for match in matches})

    def name(self, token):
        digest, found = hashlib.sha256(token).digest(), None
        for known, name in self.digests:
            if hmac.compare_digest(digest, known):
                found = name
        return found


class Buckets:
    """A token bucket for each client, the last so many of them."""

    def __init__(self, rate, burst, kept=10_000, clock=time.monotonic):
        self.rate, self.burst, self.kept, self.clock = rate, burst, kept, clock
        self.levels = OrderedDict()

    def take(self, client):
        """0, or the seconds after which there will be one again."""
        now = self.clock()
        level, then = self.levels.pop(client, (self.burst, now))
        level = min(self.burst, level + (now - then) * self.rate)
        self.levels[client] = (level - 1 if level >= 1 else level, now)
        while len(self.levels) > self.kept:
            self.levels.popitem(last=False)
        return 0.0 if level >= 1 else (1 - level) / self.rate


def address(scope):
    """Whom a request without a token counts for: an address; of IPv6 a network of 64 bits, which one user has whole."""
    try:
        found = ipaddress.ip_address(scope["client"][0])
    except (TypeError, ValueError):
        return "unknown"
    found = getattr(found, "ipv4_mapped", None) or found
    return str(found if found.version == 4 else ipaddress.ip_network((found, 64), strict=False))


class Guard:
    """Around an application; open: paths that need no token."""

    def __init__(self, app, tokens, limits, open=("/healthz",)):
        self.app, self.tokens, self.limits, self.open = app, tokens, limits, open
        self.buckets = Buckets(limits.rate, limits.burst)

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            raise RuntimeError("only http is served")
        seen = {"id": secrets.token_hex(8), "client": "-", "status": 0}
        start = time.monotonic()

        async def answer(message):
            if message["type"] == "http.response.start":
                seen["status"] = message["status"]
                fixed = HEADERS | {"X-Request-Id": seen["id"]}
                more = [(name.lower().encode(), value.encode()) for name, value in fixed.items()]
                message = message | {"headers": [*message["headers"], *more]}
            await send(message)

        try:
            known = self.admit(scope, seen)
            body = await self.body(scope, receive, self.limits.size if known else 0)
            await self.app(scope, replayed(body, receive), answer)
        except Refused as refused:
            await refuse(refused, answer)
        except Exception as error:  # its text may hold data of the user, its place does not
            seen["error"] = f"{type(error).__name__} {place(error)}"
            if not seen["status"]:
                await refuse(Refused(500), answer)
        finally:
            LOG.info(json.dumps(seen | {"ms": round(1000 * (time.monotonic() - start), 1)}))

    def admit(self, scope, seen):
        """Whether it has a token. A guess costs its address, never who has one: 32 characters are not guessed."""
        scheme, _, token = header(scope, b"authorization").partition(b" ")
        name = self.tokens.name(token.strip()) if scheme.lower() == b"bearer" else None
        wait = self.buckets.take(("name", name) if name else ("address", address(scope)))
        seen["client"] = name or "-"
        refusal = 429 if wait else 401 if not name and scope["path"] not in self.open else None
        if refusal:
            seen["address"] = address(scope)
            raise Refused(refusal, wait)
        return name is not None

    async def body(self, scope, receive, size):
        """All of it; of a stranger there may be none."""
        length = header(scope, b"content-length")
        if length and int(length) > size:
            raise Refused(413)
        found = bytearray()
        try:
            async with asyncio.timeout(self.limits.seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Refused(400)
                    found += message.get("body", b"")
                    if len(found) > size:
                        raise Refused(413)
                    if not message.get("more_body"):
                        return bytes(found)
        except TimeoutError:
            raise Refused(408) from None


def header(scope, name):
    return next((value for key, value in scope["headers"] if key == name), b"")


def replayed(body, receive):
    """What hands an application the body that was read, and then whatever else comes."""
    left = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message():
        return left.pop() if left else await receive()

    return next_message


async def refuse(refused, send):
    text = json.dumps({"error": ERRORS[refused.status]}).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(text)), **refused.headers}
    coded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refused.status, "headers": coded})
    await send({"type": "http.response.body", "body": text})


def place(error):
    """File and line where an error arose."""
    trace = error.__traceback__
    while trace.tb_next:
        trace = trace.tb_next
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
