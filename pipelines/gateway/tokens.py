"""Keyed tokens instead of personal values.

A token is `v<key version>:<22 characters>`: the first 128 bits of an HMAC-SHA256 over the kind and the normalised
value. Nobody without the key can go back, not even by trying all plates. A token that joins tables is made with one
fixed version for ever, because a new version would cut every history in two; any other is made with the newest key.
Older keys stay, so that a person's tokens of all times can be found again. The keys lie outside the lake.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipelines.gateway.normalise import IDENTIFIERS
from pipelines.runtime.secret_files import secret_text
from pipelines.runtime.settings import Settings

JOIN_VERSION = 1
"""The key version of every token that joins tables; raising it is a migration, not a rotation."""
TOKEN = re.compile(r"v[1-9]\d*:[A-Za-z0-9_-]{22}\Z")
"""What a token looks like: a contract's token column holds this and nothing else."""
_NAME = "token-key-v{version}"
_DIGEST_BYTES = 16


@dataclass(frozen=True)
class Tokeniser:
    """Makes tokens from clear values; holds the keys in memory only (`keys`: version → at least 16 bytes)."""

    keys: Mapping[int, bytes] = field(repr=False)
    join_version: int = JOIN_VERSION

    def __post_init__(self) -> None:
        """Refuse to work without the join key or with a short one."""
        if self.join_version not in self.keys:
            raise ValueError(f"the key of version {self.join_version} is missing; there are {sorted(self.keys)}")
        if any(len(key) < 16 for key in self.keys.values()):
            raise ValueError("a token key has at least 16 bytes")

    @property
    def newest(self) -> int:
        """The version with which tokens are made that join nothing."""
        return max(self.keys)

    def tokens(self, kind: str, value: str) -> tuple[str, ...]:
        """Every token that a value may have, the newest version first: for an authorised search.

        Raises:
            pipelines.gateway.normalise.Invalid: the value is not of its kind.
        """
        return tuple(self.token(kind, value, version) for version in sorted(self.keys, reverse=True))

    def token(self, kind: str, value: str, version: int | None = None) -> str:
        """The token of a clear value of `kind` (plate, phone, name, citizen_id), normalised and checked first.

        `version` is that of the key; by default the one for tokens that join.

        Raises:
            pipelines.gateway.normalise.Invalid: the value is not of its kind; the text does not repeat it.
            KeyError: an unknown kind or key version.
        """
        chosen = self.join_version if version is None else version
        clear = IDENTIFIERS[kind](value)
        digest = hmac.new(self.keys[chosen], f"{kind}\x00{clear}".encode(), hashlib.sha256).digest()
        return f"v{chosen}:{base64.urlsafe_b64encode(digest[:_DIGEST_BYTES]).decode().rstrip('=')}"


def load_tokeniser(settings: Settings) -> Tokeniser:
    """Read every key file of the installation; the first one is made on first use (mode 0600, outside the lake)."""
    keys = {JOIN_VERSION: _key(settings, JOIN_VERSION)}
    for path in sorted(settings.secrets_dir.glob(_NAME.format(version="*"))):
        suffix = path.name.removeprefix(_NAME.format(version=""))
        if suffix.isdigit():
            keys[int(suffix)] = _key(settings, int(suffix))
    return Tokeniser(keys)


def rotate(settings: Settings) -> int:
    """Make the next version of the token key and return its number; older ones stay."""
    version = load_tokeniser(settings).newest + 1
    _key(settings, version)
    return version


def _key(settings: Settings, version: int) -> bytes:
    return secret_text(settings, _NAME.format(version=version)).encode("ascii")
