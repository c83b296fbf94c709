"""A zoo behind an address: HTTPS alone, from one host, with a bound on bytes and on time."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from ..op import FileFormatError, expect
from .levels import Refused, refuse

if TYPE_CHECKING:
    import http.client

CHUNK = 1 << 16
SILENCE = 20.0  # seconds without a byte
PATIENCE, PACE = 30.0, 1 << 16  # seconds for an answer, and bytes a second after that
REDIRECTS = 3
_PART = r"/[A-Za-z0-9_~-][A-Za-z0-9._~-]*"  # no ".." and nothing hidden
_ADDRESS = re.compile(rf"https://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{{1,5}}))?({_PART})*/?")


class Site:
    """The files of a zoo by their paths below an address. Proxies of the environment are not asked, redirects to other
    hosts not followed; SSL_CERT_FILE names certificates of one's own, as for any program that uses OpenSSL."""

    def __init__(self, address: str) -> None:
        text = "an address such as https://host/path, without user, query and .."
        found = _ADDRESS.fullmatch(address)
        port = int(found[2] or 443) if found else 0
        expect(0 < port < 65536, "zoo", "zoo", text, ascii(address), error=FileFormatError)
        parts = urlsplit(address)
        self.host, self.port, self.path = (parts.hostname or "").lower(), port, parts.path.rstrip("/")

    @property
    def name(self) -> str:
        """What tells this zoo from others."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"https://{host}{'' if self.port == 443 else f':{self.port}'}{self.path}"

    def chunks(self, path: str, limit: int) -> Iterator[bytes]:
        """The bytes of a file, at most limit; Refused for more, and for any answer but the file."""
        target = f"{self.path}/{path}"
        for _ in range(REDIRECTS + 1):
            with self._answer(target, path, PATIENCE + limit / PACE) as answer:
                if answer.status in (301, 302, 303, 307, 308):
                    target = self._redirected(target, answer.getheader("Location") or "", path)
                    continue
                yield from _body(answer, path, limit)
                return
        raise Refused(f"{path} must be there after {REDIRECTS} redirects, got another")

    def _redirected(self, target: str, location: str, path: str) -> str:
        """The path that a redirect names, on this host."""
        try:
            to = Site(urljoin(f"{self.name.removesuffix(self.path)}{target}", location))
        except (FileFormatError, ValueError):
            to = None
        good = bool(location) and to is not None and (to.host, to.port) == (self.host, self.port)
        refuse(good, f"a redirect of {path}", f"to https://{self.host}:{self.port}", location)
        return to.path if to else ""

    @contextlib.contextmanager
    def _answer(self, target: str, path: str, seconds: float) -> Iterator[http.client.HTTPResponse]:
        """The answer to a GET; after so many seconds the connection is cut, whatever comes by then."""
        import http.client
        import socket
        import ssl

        late = threading.Event()
        try:
            with contextlib.ExitStack() as stack:
                raw = stack.enter_context(socket.create_connection((self.host, self.port), SILENCE))
                context = ssl.create_default_context()
                tls = stack.enter_context(context.wrap_socket(raw, server_hostname=self.host))

                def cut() -> None:
                    late.set()
                    with contextlib.suppress(OSError):
                        socket.socket.shutdown(tls, socket.SHUT_RDWR)

                timer = threading.Timer(seconds, cut)
                timer.daemon = True
                timer.start()
                stack.callback(timer.cancel)
                connection = http.client.HTTPSConnection(self.host, self.port, context=context)
                connection.sock, connection.auto_open = tls, 0
                connection.request("GET", target, headers={"Accept-Encoding": "identity", "User-Agent": "numbaflux"})
                with connection.getresponse() as answer:
                    yield answer
                refuse(not late.is_set(), path, f"there within {seconds:.0f} seconds", "a part")
        except (OSError, http.client.HTTPException) as error:
            refuse(not late.is_set(), path, f"there within {seconds:.0f} seconds", "a part")
            reason = "slow" if isinstance(error, TimeoutError) else type(error).__name__
            raise FileFormatError(f"{self.name}/{path} cannot be read ({reason})") from None


def _body(answer: http.client.HTTPResponse, path: str, limit: int) -> Iterator[bytes]:
    refuse(answer.status == 200, path, "in the zoo (status 200)", answer.status)
    coding = answer.getheader("Content-Encoding") or "identity"
    refuse(coding == "identity", path, "sent as it is", coding)
    length, done = answer.length, 0
    refuse(length is None or length <= limit, f"the size of {path}", f"at most {limit} bytes", length)
    while data := answer.read1(CHUNK):
        done += len(data)
        refuse(done <= limit, f"the size of {path}", f"at most {limit} bytes", "more")
        yield data
    refuse(length is None or length == done, f"the size of {path}", f"{length} bytes, as announced", done)
