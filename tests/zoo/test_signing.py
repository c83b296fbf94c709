"""Signatures of model-signing: other tools agree with them, and nothing in a hostile one comes through."""

import base64
import copy
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

import numbaflux as nf
from numbaflux.zoo import signing
from numbaflux.zoo.index import FILE, parse
from tests.sources import ROOT

DATA = b'{"name": "digits"}'


@pytest.fixture
def signed(alice):
    """The public key and a bundle over DATA."""
    return signing.sign(DATA, alice.private)


def test_signature_fits_its_bytes_alone(signed, mallory):
    key, bundle = signed
    signing.check(DATA, bundle, key, "it")
    with pytest.raises(nf.zoo.Refused, match="the signature of it must be over what the index says"):
        signing.check(DATA + b" ", bundle, key, "it")
    with pytest.raises(nf.zoo.Refused, match="by the key that stands beside it"):
        signing.check(DATA, bundle, mallory.public.read_text(), "it")


def test_command_of_model_signing_agrees(zoo, alice, tmp_path):
    """What a third party does who has no numbaflux."""
    entry = parse((zoo / FILE).read_bytes())[0]
    manifest, bundle = tmp_path / "manifest.json", tmp_path / "bundle.json"
    bundle.write_text(json.dumps(entry.signatures[0].bundle))
    words = [
        sys.executable,
        "-m",
        "model_signing",
        "verify",
        "key",
        "--public_key",
        alice.public,
        "--signature",
        bundle,
    ]
    codes = []
    for data in (entry.signed(), entry.signed().replace(b"1.0.0", b"1.0.1")):
        manifest.write_bytes(data)
        codes.append(subprocess.run([*map(str, words), str(manifest)], capture_output=True, timeout=120).returncode)
    assert codes[0] == 0 and codes[1] != 0


def test_hash_of_the_manifest_alone_is_not_enough(signed, alice):
    """A right payload under a signature over another."""
    key, bundle = signed
    other = signing.sign(b"other", alice.private)[1]
    other["dsseEnvelope"]["payload"] = bundle["dsseEnvelope"]["payload"]
    with pytest.raises(nf.zoo.Refused, match="the signature of it: does not fit"):
        signing.check(DATA, other, key, "it")


def test_signature_over_another_set_of_files_is_refused(signed, alice, tmp_path):
    """The owner of the key signed a folder for somebody else: that is no word about a model of a zoo."""
    from model_signing import signing as library

    (tmp_path / "folder").mkdir()
    for name in ("manifest.json", "more.json"):
        (tmp_path / "folder" / name).write_bytes(DATA)
    library.Config().use_elliptic_key_signer(private_key=alice.private).sign(tmp_path / "folder", tmp_path / "sig")
    with pytest.raises(nf.zoo.Refused, match="over what the index says"):
        signing.check(DATA, json.loads((tmp_path / "sig").read_text()), signed[0], "it")


def leaves(node, path=()):
    """The paths of all values of a bundle."""
    yield path
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in pairs:
        yield from leaves(value, (*path, key))


def hostile(bundle, draw):
    """A bundle with a value replaced or dropped, or a byte of what is signed changed."""
    made = copy.deepcopy(bundle)
    if draw.random() < 0.3:
        where = made["dsseEnvelope"] if draw.random() < 0.5 else made["dsseEnvelope"]["signatures"][0]
        key = "payload" if "payload" in where else "sig"
        data = bytearray(base64.b64decode(where[key]))
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        where[key] = base64.b64encode(data).decode()
        return made
    *above, last = draw.choice([path for path in leaves(made) if path])
    node = made
    for part in above:
        node = node[part]
    if draw.random() < 0.3:
        node.pop(last)
    else:
        node[last] = draw.choice(
            [None, "", "x", 0, -1.5, True, [], {}, [None], {"x": []}, "AAAA", "\x00", "x" * 10_000]
        )
    return made


def test_hostile_bundles_are_refused_or_still_the_same_signature(signed, capsys):
    """300, seeded: no other exception, nothing printed; what still fits is signed as it was."""
    key, bundle = signed
    draw, fitting = random.Random(3), 0
    signature = bundle["dsseEnvelope"]["signatures"][0]["sig"]
    for _ in range(300):
        made = hostile(bundle, draw)
        try:
            signing.check(DATA, made, key, "it")
        except nf.zoo.Refused as error:
            assert str(error).isprintable() and len(str(error)) < 300
            continue
        envelope = made["dsseEnvelope"]
        assert (
            envelope["payload"] == bundle["dsseEnvelope"]["payload"] and envelope["signatures"][0]["sig"] == signature
        )
        fitting += made != bundle
    assert fitting < 60 and capsys.readouterr() == ("", "")


def pem(key, private=False):
    kind = serialization.Encoding.PEM
    if private:
        form = serialization.PrivateFormat.PKCS8
        return key.private_bytes(kind, form, serialization.NoEncryption())
    return key.public_key().public_bytes(kind, serialization.PublicFormat.SubjectPublicKeyInfo)


def other_keys():
    """Keys that must not be taken: other kinds, a curve that model-signing does not have, private ones, no key."""
    made = ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256K1())
    made += (rsa.generate_private_key(65537, 2048),)
    yield from ((pem(key), pem(key, True)) for key in made)
    good = ec.generate_private_key(ec.SECP256R1())
    encrypted = serialization.BestAvailableEncryption(b"secret")
    form = serialization.PrivateFormat.PKCS8
    yield pem(good, True), good.private_bytes(serialization.Encoding.PEM, form, encrypted)
    yield b"", pem(good)
    yield b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", b"x" * 100_000


@pytest.mark.parametrize("public, private", list(other_keys()))
def test_other_keys_are_refused(public, private, tmp_path):
    (tmp_path / "k.pub").write_bytes(public)
    (tmp_path / "k.pem").write_bytes(private)
    with pytest.raises(nf.FileFormatError, match="k.pub: key must be a public key of the curves secp256r1"):
        nf.zoo.keys.add(tmp_path / "k.pub", "somebody")
    with pytest.raises(nf.FileFormatError, match="zoo: key must be a private key of the curves"):
        signing.sign(DATA, tmp_path / "k.pem")


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_every_curve_of_model_signing_works(curve, tmp_path):
    (tmp_path / "k.pem").write_bytes(pem(ec.generate_private_key(curve), True))
    key, bundle = signing.sign(DATA, tmp_path / "k.pem")
    signing.check(DATA, bundle, key, "it")
    assert signing.public_key(key, "k") == key


def test_without_the_packages_the_error_says_what_to_install(zoo, tmp_path):
    """At the level of digests none of them is needed."""
    code = (
        "import sys\nsys.modules |= {'cryptography': None, 'model_signing': None}\n"
        "import numbaflux as nf\nfrom numbaflux.zoo import dates\nnow = dates.moment('2026-12-02T00:00:00Z', '')\n"
        "dates.now = lambda: now\nprint(len(nf.zoo.verify(sys.argv[1])))\n"
        "try: nf.zoo.verify(sys.argv[1], trust='signed')\nexcept nf.PlanError as error: print(error)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, zoo], capture_output=True, text=True, env=environment, timeout=120
    )
    first, second = done.stdout.splitlines()
    assert first == "2" and second.endswith("; pip install numbaflux[sign]") and done.stderr == ""
    assert Path(zoo).is_dir()
