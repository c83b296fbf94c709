"""An HTTPS server of this machine, with a certificate of its own authority; it answers as it is told."""

import contextlib
import datetime
import http.server
import ipaddress
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


def certificate(folder: Path) -> tuple[Path, Path]:
    """Files: the certificate of an authority; that of localhost with its key."""
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in ("authority", "localhost")]
    now = datetime.datetime.now(datetime.UTC)
    made = []
    for key, name, authority in zip(keys, names, (True, False), strict=True):
        builder = (
            x509.CertificateBuilder(names[0], name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=7))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(keys[0].public_key()), critical=False)
            .add_extension(_usage(authority), critical=True)
        )
        if not authority:
            hosts = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            builder = builder.add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        made.append(builder.sign(keys[0], hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    private = keys[1].private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    paths = folder / "authority.pem", folder / "localhost.pem"
    for path, text in zip(paths, (made[0], made[1] + private), strict=True):
        path.write_bytes(text)
    return paths


def _usage(authority: bool) -> x509.KeyUsage:
    words = "content_commitment key_encipherment data_encipherment key_agreement encipher_only decipher_only".split()
    both = {"key_cert_sign": authority, "crl_sign": authority, "digital_signature": True}
    return x509.KeyUsage(**dict.fromkeys(words, False), **both)


class Server(http.server.ThreadingHTTPServer):
    """Serves a folder; answers: path -> a function of the handler, which answers in its place."""

    daemon_threads = True

    def __init__(self, folder: Path, pem: Path | None) -> None:
        self.answers: dict[str, Callable] = {}
        self.asked: list[str] = []
        self.stop = threading.Event()
        owner = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *args) -> None:
                super().__init__(*args, directory=str(folder))

            def do_GET(self) -> None:
                owner.asked.append(self.path)
                with contextlib.suppress(OSError):  # the other side may hang up
                    owner.answers.get(self.path, type(self).served)(self)

            def served(self) -> None:
                super().do_GET()

            def log_message(self, *args) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        if pem is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pem)
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def address(self) -> str:
        return f"https://127.0.0.1:{self.server_port}"

    def __enter__(self) -> "Server":
        self.thread.start()
        return self

    def __exit__(self, *args) -> None:
        self.stop.set()
        self.shutdown()
        self.server_close()
        self.thread.join()

    def handle_error(self, request, client_address) -> None:
        pass  # a client that ends the connection is what these tests are about


def reply(status: int = 200, body: bytes = b"", **headers: str) -> Callable:
    """An answer with this status, body and these headers (Content_Length: as given; of the body unless told)."""

    def answer(handler) -> None:
        handler.send_response(status)
        for name, value in ({"Content_Length": str(len(body))} | headers).items():
            if value:
                handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer
