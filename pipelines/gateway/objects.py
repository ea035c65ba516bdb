"""The object store of refused payloads: content-addressed, atomic, idempotent, encrypted where it is personal."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from pipelines.runtime.errors import LakeError
from pipelines.runtime.files import replace_file
from pipelines.runtime.secret_files import secret_text
from pipelines.runtime.settings import Settings

_NAME = "objects-key-v{version}"
_ENCRYPTED = ".enc"


@dataclass(frozen=True)
class StoredObject:
    """Where refused bytes lie: `ref` is relative to the store's root, `size_bytes` counts the clear bytes."""

    ref: str
    size_bytes: int


@dataclass(frozen=True)
class ObjectStore:
    """Files below `root`, named by their content; `keys` are Fernet keys, the newest first."""

    root: Path
    keys: tuple[bytes, ...] = field(repr=False)

    def put(self, dataset: str, data: bytes, *, protected: bool) -> StoredObject:
        """Store bytes once and return their reference; the same bytes give the same reference.

        A protected object is encrypted, and its name is a keyed digest: a plain hash of a short personal text could
        be found by trying.
        """
        ref = f"{dataset}/{self._digest(data, protected=protected)}{_ENCRYPTED if protected else ''}"
        path = self.root / ref
        if not path.is_file():
            replace_file(path, self.cipher.encrypt(data) if protected else data, durable=True)
        return StoredObject(ref, len(data))

    def get(self, ref: str) -> bytes:
        """Read the clear bytes of a reference, for a replay or a steward.

        Raises:
            LakeError: no such object, one outside the store, or one whose key is gone.
        """
        path = (self.root / ref).resolve()
        if not path.is_relative_to(self.root.resolve()) or not path.is_file():
            raise LakeError(f"There is no refused object {ref!r} under {self.root}.", "Check the reference.")
        data = path.read_bytes()
        if not ref.endswith(_ENCRYPTED):
            return data
        return self.decrypt(data)

    def decrypt(self, token: bytes) -> bytes:
        """The clear bytes of a refused object, dead letter or quarantined row of a protected dataset.

        Raises:
            LakeError: its key is gone.
        """
        try:
            return self.cipher.decrypt(token)
        except InvalidToken:
            raise LakeError(
                "The refused bytes were encrypted with a key that is not here.",
                "Restore the file objects-key-v… of their time into the secrets folder.",
            ) from None

    @property
    def cipher(self) -> MultiFernet:
        """What encrypts with the newest key and decrypts with any."""
        return MultiFernet([Fernet(key) for key in self.keys])

    def _digest(self, data: bytes, *, protected: bool) -> str:
        if protected:
            # The oldest key names objects for ever, so that a rotation does not store the same bytes twice.
            return hmac.new(self.keys[-1], data, hashlib.sha256).hexdigest()
        return hashlib.sha256(data).hexdigest()


def open_store(settings: Settings) -> ObjectStore:
    """The store of the namespace; its first key is made on first use (mode 0600, outside the lake)."""
    versions = {1}
    for path in settings.secrets_dir.glob(_NAME.format(version="*")):
        suffix = path.name.removeprefix(_NAME.format(version=""))
        if suffix.isdigit():
            versions.add(int(suffix))
    texts = [secret_text(settings, _NAME.format(version=v)) for v in sorted(versions, reverse=True)]
    # 32 random bytes as URL-safe text without padding; Fernet wants the padding.
    return ObjectStore(settings.object_root, tuple(t.encode("ascii") + b"=" * (-len(t) % 4) for t in texts))


def rotate(settings: Settings) -> int:
    """Make the next version of the object key and return its number; older ones stay, to read what they wrote."""
    version = 1 + len(open_store(settings).keys)
    secret_text(settings, _NAME.format(version=version))
    return version
