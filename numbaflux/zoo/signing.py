"""Signatures by model-signing with elliptic keys: the two functions that know this library, and key pairs for it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from ..hdf5_json import parse_json
from ..hdf5_objects import line
from ..op import Error, FileFormatError, PlanError, expect
from .levels import Refused, refuse

CURVES = ("secp256r1", "secp384r1", "secp521r1")
MAX_PEM = 16 << 10  # bytes


def key_id(pem: str) -> str:
    """The name of a public key: SHA-256 of its PEM, as model-signing has it in its bundles."""
    return hashlib.sha256(pem.encode()).hexdigest()


def new_pair(private: Path) -> str:
    """Write a new private key, for its owner alone, and beside it the public one, .pub; returns the public one."""
    ec, serialization = _cryptography()
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public = _pem(key.public_key())
    for path, data, mode in ((private, pem, 0o600), (beside(private), public.encode(), 0o644)):
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
            file.write(data)
    return public


def beside(private: Path) -> Path:
    """Where the public half of a private key is written."""
    return private.with_name(f"{private.name}.pub")


def public_key(pem: str | bytes, where: str) -> str:
    """A public key in its one form as PEM; FileFormatError for other keys, private ones among them."""
    _, serialization = _cryptography()
    data = pem.encode() if isinstance(pem, str) else pem
    try:
        key = serialization.load_pem_public_key(data)
    except Exception:  # of whatever kind: the library was given what nobody vouches for
        key = None
    good = len(data) <= MAX_PEM and getattr(getattr(key, "curve", None), "name", "") in CURVES
    expect(good, where, "key", f"a public key of the curves {', '.join(CURVES)} as PEM", "another",
           "numbaflux zoo keys new FILE makes a pair", FileFormatError)  # fmt: skip
    return _pem(key)


def sign(data: bytes, private: Path) -> tuple[str, dict[str, Any]]:
    """The public half of a private key, and model-signing's bundle of its signature over these bytes."""
    ec, serialization = _cryptography()
    signing, _, hashing = _model_signing()
    try:
        key = serialization.load_pem_private_key(private.read_bytes()[:MAX_PEM], None)
    except (ValueError, TypeError):
        key = None
    good = isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in CURVES
    expect(good, "zoo", "key", f"a private key of the curves {', '.join(CURVES)} as PEM, without password",
           private.name, "numbaflux zoo keys new FILE makes one", FileFormatError)  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        manifest, bundle = Path(folder, "manifest.json"), Path(folder, "bundle.json")
        manifest.write_bytes(data)
        signer = signing.Config().set_hashing_config(_files(hashing)).use_elliptic_key_signer(private_key=private)
        signer.sign(manifest, bundle)
        made: dict[str, Any] = json.loads(bundle.read_bytes())
    return _pem(key.public_key()), made


def check(data: bytes, bundle: dict[str, Any], pem: str, what: str) -> None:
    """Refused unless the bundle holds a signature over these bytes by the private half of this key."""
    _, verifying, hashing = _model_signing()
    try:
        refuse(public_key(pem, what) == pem, f"the key of {what}", "in the one form of PEM", "another")
        hint = bundle["verificationMaterial"]["publicKey"]["hint"]
        signed = parse_json(base64.b64decode(bundle["dsseEnvelope"]["payload"], validate=True).decode(), "the payload")
        named = [one["digest"] for one in signed["predicate"]["resources"]]
    except (KeyError, TypeError, ValueError):
        raise Refused(f"the signature of {what} must be a key and a bundle of model-signing, got others") from None
    refuse(hint == key_id(pem), f"the signature of {what}", "by the key that stands beside it", "another key")
    refuse(named == [hashlib.sha256(data).hexdigest()], f"the signature of {what}", "over what the index says", "other")
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in ("manifest.json", "bundle.json", "key.pub")]
        for path, text in zip(paths, (data, json.dumps(bundle).encode(), pem.encode()), strict=True):
            path.write_bytes(text)
        verifier = verifying.Config().set_hashing_config(_files(hashing)).use_elliptic_key_verifier(public_key=paths[2])
        try:
            verifier.verify(paths[0], paths[1])
        except Exception as error:  # the library raises many kinds for a bundle that nobody vouches for
            raise Refused(line(f"the signature of {what}", f"does not fit ({type(error).__name__})")) from None


def _files(hashing: Any) -> Any:
    """A file is its SHA-256; nothing that a bundle says changes that."""
    return hashing.Config().use_file_serialization(hashing_algorithm="sha256", allow_symlinks=False)


def _pem(key: Any) -> str:
    _, serialization = _cryptography()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return str(key.public_bytes(serialization.Encoding.PEM, form).decode())


def _cryptography() -> tuple[Any, Any]:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError as error:
        raise _absent(error) from None
    return ec, serialization


def _model_signing() -> tuple[Any, Any, Any]:
    try:
        from model_signing import hashing, signing, verifying
    except ImportError as error:
        raise _absent(error) from None
    return signing, verifying, hashing


def _absent(error: ImportError) -> Error:
    return PlanError(
        f"zoo: keys and signatures must be read by model-signing, got none ({error.name}); pip install numbaflux[sign]"
    )
