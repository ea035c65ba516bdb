"""Keys and passwords as files of mode 0600 under the state folder, made on first use."""

import os
import secrets
import tempfile
from pathlib import Path

from pipelines.runtime.settings import Settings


def secret_path(settings: Settings, name: str) -> Path:
    """Return the file of the secret `name`, making it with 32 random bytes (URL-safe text) when it is absent."""
    path = settings.secrets_dir / name
    if path.is_file():
        return path
    settings.secrets_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, temporary = tempfile.mkstemp(dir=settings.secrets_dir, prefix=f".{name}.")
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(secrets.token_urlsafe(32))
    try:
        # A link never replaces: of two processes that make the secret at once, both then read the winner's.
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        os.unlink(temporary)
    return path


def secret_text(settings: Settings, name: str) -> str:
    """Return the text of the secret `name`, making it when it is absent."""
    return secret_path(settings, name).read_text(encoding="utf-8").strip()
