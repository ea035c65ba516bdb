"""The certificate of an erasure: what was done, as JSON under an Ed25519 signature of this installation."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pipelines.runtime.errors import LakeError
from pipelines.runtime.files import replace_file
from pipelines.runtime.secret_files import secret_text
from pipelines.runtime.settings import Settings

_KEY = "certificate-key"


def write(settings: Settings, erasure_id: str, statement: Mapping[str, Any]) -> Path:
    """Sign a statement and write it to the state folder; returns the file."""
    key = _key(settings)
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    signed = {
        "statement": statement,
        "algorithm": "Ed25519 over the statement as JSON with sorted keys and no spaces, UTF-8",
        "public_key": base64.b64encode(public).decode(),
        "signature": base64.b64encode(key.sign(_bytes(statement))).decode(),
    }
    path = settings.state / "erasures" / settings.namespace / f"{erasure_id}.json"
    replace_file(path, json.dumps(signed, ensure_ascii=False, indent=1) + "\n", durable=True)
    return path


def verify(settings: Settings, path: Path) -> Mapping[str, Any]:
    """The statement of a certificate that this installation signed and nobody changed.

    Raises:
        LakeError: it is no certificate, it was changed, or another installation signed it.
    """
    try:
        signed = json.loads(path.read_text(encoding="utf-8"))
        statement: Mapping[str, Any] = signed["statement"]
        signature = base64.b64decode(signed["signature"], validate=True)
        key: Ed25519PublicKey = _key(settings).public_key()
        key.verify(signature, _bytes(statement))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LakeError(f"{path} is no certificate: {error}.", "Name a file that `lake erase` wrote.") from None
    except InvalidSignature:
        raise LakeError(
            f"{path} was changed, or signed by another installation.",
            "Compare its public_key with that of a certificate that is known to be good.",
        ) from None
    return statement


def _bytes(statement: Mapping[str, Any]) -> bytes:
    return json.dumps(statement, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def _key(settings: Settings) -> Ed25519PrivateKey:
    """The key of this installation, made on first use from a secret of 32 bytes."""
    text = secret_text(settings, _KEY)
    return Ed25519PrivateKey.from_private_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
