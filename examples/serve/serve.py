"""A saved classifier behind an HTTP API that bears strangers: POST /v1/predict, GET /healthz.

The model's file must have the given digest. Clients have tokens; each may ask so often, so much at once, so slowly.
Inputs are checked number by number, answers are the likeliest labels with rounded probabilities, errors are fixed
texts, logs hold no data. README.md beside this file tells how to run and what to put around it.
"""

import argparse
import ipaddress
import logging
import os
import resource
import sys
from pathlib import Path

import uvicorn
from guard import Guard, Limits, Tokens
from service import Classifier, Contract, application
from uvicorn.protocols.http.h11_impl import H11Protocol

import numbaflux as nf

CONNECTIONS = 256  # at once; more are answered 503 and closed


class Impatient(H11Protocol):
    """A connection that ends where the head of a request does not come in time; uvicorn alone would wait for ever."""

    seconds = 5.0
    late = None

    def connection_made(self, transport):
        super().connection_made(transport)
        self.watch()

    def data_received(self, data):
        super().data_received(data)
        self.watch()

    def connection_lost(self, exc):
        super().connection_lost(exc)
        self.stop()

    def watch(self):
        if self.cycle is not None and not self.cycle.response_complete:
            self.stop()
        elif self.late is None:
            self.late = self.loop.call_later(self.seconds, self.transport.abort)

    def stop(self):
        if self.late is not None:
            self.late.cancel()
            self.late = None


def shape(text):
    """Lengths of the axes of one input: 8,8,1."""
    lengths = tuple(int(part) for part in text.split(","))
    if not 1 <= len(lengths) <= 4 or min(lengths) < 1:
        raise ValueError
    return lengths


def positive(kind):
    def number(text):
        value = kind(text)
        if not 0 < value < 1e9:
            raise ValueError
        return value

    number.__name__ = "positive number"  # argparse says: invalid positive number value
    return number


def arguments():
    parser = argparse.ArgumentParser(
        description="Serve a saved classifier over HTTP, to clients with tokens.", allow_abbrev=False
    )
    model = parser.add_argument_group("the model")
    model.add_argument("model", type=Path, help="file of nf.save: inputs (n, SHAPE), outputs (n, classes) of scores")
    model.add_argument("--sha256", required=True, metavar="HEX", help="of the file, got by a way you trust")
    model.add_argument("--shape", required=True, type=shape, help="of one input, as 8,8,1")
    model.add_argument("--range", required=True, nargs=2, type=float, metavar=("LOW", "HIGH"), help="of its numbers")
    model.add_argument("--top", type=positive(int), default=1, help="labels told of an input (%(default)s)")
    model.add_argument("--decimals", type=int, choices=range(7), default=2, metavar="0-6", help="of probabilities (2)")
    clients = parser.add_argument_group("clients")
    clients.add_argument("--tokens", type=Path, metavar="FILE", help="lines NAME TOKEN, mode 600; else $SERVE_TOKEN")
    clients.add_argument("--rate", type=positive(float), default=10.0, help="requests a second of one (%(default)s)")
    clients.add_argument("--burst", type=positive(int), default=20, help="at once before that counts (%(default)s)")
    clients.add_argument("--batch", type=positive(int), default=32, help="inputs of a request (%(default)s)")
    clients.add_argument("--size", type=positive(int), default=1 << 20, help="bytes of a request (%(default)s)")
    clients.add_argument(
        "--seconds", type=positive(float), default=5.0, help="its head and its body may take (%(default)s)"
    )
    clients.add_argument("--at-once", type=positive(int), default=2, help="computed at the same time (%(default)s)")
    place = parser.add_argument_group("the place")
    place.add_argument("--host", default="127.0.0.1", help="another than loopback needs one of the next two options")
    place.add_argument("--port", type=int, choices=range(65536), default=8000, metavar="N", help="0: any that is free")
    place.add_argument("--certificate", type=Path, metavar="PEM", help="for TLS, its key within")
    place.add_argument("--behind", metavar="NETWORK", help="of the proxy that ends TLS and tells clients' addresses")
    place.add_argument(
        "--openapi", action="store_true", help="show the schema at /openapi.json, to clients with tokens"
    )
    options = parser.parse_args()
    if not options.range[0] < options.range[1] or not all(abs(end) < 3e38 for end in options.range):
        parser.error("--range: LOW must be below HIGH, both finite in float32")
    if not local(options.host) and not (options.certificate or options.behind):
        parser.error(
            "--host: tokens would travel in the clear; give --certificate, or --behind the proxy that ends TLS"
        )
    if options.behind == "*":
        parser.error("--behind: name the proxy's address or network; * lets clients forge theirs")
    return options


def local(host):
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def tokens(path):
    if path:
        return Tokens.read(path)
    token = os.environ.pop("SERVE_TOKEN", "")
    if len(token) < 32:
        raise ValueError("tokens are needed: --tokens FILE, or SERVE_TOKEN of 32 characters or more")
    return Tokens({token: "default"})


def guarded(options):
    """The application behind its guard. ValueError, OSError, nf.Error: what it is made of is not good."""
    contract = Contract(options.shape, *options.range, options.batch, options.top, options.decimals)
    known = tokens(options.tokens)
    classifier = Classifier(nf.load(options.model, sha256=options.sha256), contract)
    app = application(classifier, options.at_once, options.openapi)
    return Guard(app, known, Limits(options.rate, options.burst, options.size, options.seconds))


def main():
    options = arguments()
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a dump would hold requests and tokens
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    try:
        app = guarded(options)
    except (ValueError, OSError, nf.Error) as error:
        print(f"serve.py: {error}", file=sys.stderr)
        return 2
    Impatient.seconds = options.seconds
    config = uvicorn.Config(
        app, host=options.host, port=options.port, http=Impatient, ws="none", lifespan="off", log_config=None,
        log_level="warning", access_log=False, server_header=False, limit_concurrency=CONNECTIONS,
        h11_max_incomplete_event_size=16384, timeout_keep_alive=options.seconds, timeout_graceful_shutdown=10,
        proxy_headers=bool(options.behind), forwarded_allow_ips=options.behind or "", ssl_certfile=options.certificate,
    )  # fmt: skip
    listening = config.bind_socket()
    listening.listen(CONNECTIONS)  # before it is told, so that who asks at once waits and is not turned away
    print(f"serving on port {listening.getsockname()[1]}", flush=True)
    uvicorn.Server(config).run(sockets=[listening])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
