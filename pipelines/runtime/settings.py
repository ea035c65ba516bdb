"""Where things are and under which namespace a process works.

Everything that depends on the environment is read once, in `Settings.load`, and passed on as an argument.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pipelines.runtime.errors import LakeError

DEFAULT_NAMESPACE = "city"
_NAMESPACE = re.compile(r"[a-z][a-z0-9_]{0,30}")
_HOME_MARK = "pyproject.toml"


class SettingsError(LakeError):
    """A setting that cannot be used; the text names the variable, what is allowed and what to do."""


@dataclass(frozen=True)
class Settings:
    """Paths and names of one namespace of the lakehouse.

    `home` is the project root (schemas/ dags/ dbt_project/ infra/), `state` holds everything that running it leaves
    behind (services, logs, keys, downloads), `lake_root` the tables, `dist` the downloaded servers and jars.
    """

    home: Path
    state: Path
    namespace: str
    lake_root: Path
    dist: Path

    @classmethod
    def load(cls, env: Mapping[str, str] | None = None) -> "Settings":
        """Read LAKE_HOME, LAKE_STATE, LAKE_NAMESPACE, LAKE_URI and LAKE_DIST from `env` (default: the environment).

        Raises SettingsError when a value cannot be used.
        """
        values = os.environ if env is None else env
        home = Path(values["LAKE_HOME"]).resolve() if values.get("LAKE_HOME") else _find_home()
        if not (home / _HOME_MARK).is_file():
            raise SettingsError(
                f"The project root {home} holds no {_HOME_MARK}. Set LAKE_HOME to the folder with the clone."
            )
        state = Path(values["LAKE_STATE"]).absolute() if values.get("LAKE_STATE") else home / ".lake"
        namespace = values.get("LAKE_NAMESPACE") or DEFAULT_NAMESPACE
        _check_namespace(namespace)
        lake_root = _file_path(values["LAKE_URI"]) if values.get("LAKE_URI") else state / "lake"
        dist = Path(values["LAKE_DIST"]).absolute() if values.get("LAKE_DIST") else state / "dist"
        return cls(home=home, state=state, namespace=namespace, lake_root=lake_root, dist=dist)

    def with_namespace(self, namespace: str) -> "Settings":
        """Return the same settings for another namespace; raises SettingsError when the name is not allowed."""
        _check_namespace(namespace)
        return replace(self, namespace=namespace)

    def environment(self) -> dict[str, str]:
        """Return the variables that make `Settings.load` in a child process give the same settings."""
        return {
            "LAKE_HOME": str(self.home),
            "LAKE_STATE": str(self.state),
            "LAKE_NAMESPACE": self.namespace,
            "LAKE_URI": str(self.lake_root),
            "LAKE_DIST": str(self.dist),
        }

    @property
    def profile(self) -> str | None:
        """The part of the catalogue that this namespace holds (see schemas/profiles.yaml); None is all of it."""
        try:
            return self._profile_file.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            return None

    def set_profile(self, name: str | None) -> None:
        """Remember what this namespace holds, for every command and daemon that works in it; None forgets it."""
        if name is None:
            self._profile_file.unlink(missing_ok=True)
            return
        self._profile_file.parent.mkdir(parents=True, exist_ok=True)
        self._profile_file.write_text(f"{name}\n", encoding="ascii")

    @property
    def _profile_file(self) -> Path:
        return self.state / "profiles" / self.namespace

    @property
    def sector_sample(self) -> str | None:
        """The connection of the sample database that stands for every source of the sector in this namespace; None
        where each source is read by its own, as in the city's."""
        try:
            return self._sample_file.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            return None

    def set_sector_sample(self, connection: str | None) -> None:
        """Remember that this namespace reads the sample, for every command and task that works in it; None forgets it.

        Raises:
            SettingsError: the namespace holds the city's observed data.
        """
        if connection is None:
            self._sample_file.unlink(missing_ok=True)
            return
        if self.namespace == DEFAULT_NAMESPACE:
            raise SettingsError(
                f"The namespace {DEFAULT_NAMESPACE!r} holds observed data and does not read the sample. "
                "Set LAKE_NAMESPACE to an exercise, for example to 'demo'."
            )
        self._sample_file.parent.mkdir(parents=True, exist_ok=True)
        self._sample_file.write_text(f"{connection}\n", encoding="ascii")

    @property
    def _sample_file(self) -> Path:
        return self.state / "sector_samples" / self.namespace

    def topic(self, name: str) -> str:
        """Return the Kafka topic of the namespace: `raw.river_stage` gives `city.raw.river_stage`."""
        return f"{self.namespace}.{name}"

    def group(self, name: str) -> str:
        """Return the consumer or job name of the namespace: `flood` gives `city.flood`."""
        return f"{self.namespace}.{name}"

    def table_path(self, layer: str, dataset: str) -> Path:
        """Return the folder of one Delta table."""
        return self.lake_root / self.namespace / layer / dataset

    @property
    def catalog(self) -> str:
        """The Trino catalog of the namespace: `lake` for the city, `lake_<namespace>` for any other."""
        return "lake" if self.namespace == DEFAULT_NAMESPACE else f"lake_{self.namespace}"

    @property
    def gold_schema(self) -> str:
        """The Spark database of gold: `gold` for the city, `<namespace>_gold` for any other."""
        return "gold" if self.namespace == DEFAULT_NAMESPACE else f"{self.namespace}_gold"

    @property
    def object_root(self) -> Path:
        """The folder of payloads that were refused before they reached a topic."""
        return self.lake_root / self.namespace / "_objects"

    @property
    def secrets_dir(self) -> Path:
        """The folder of key files (each of mode 0600, made on first use)."""
        return self.state / "secrets"

    @property
    def capture_secrets(self) -> Path:
        """The folder of what Kafka Connect signs in with: a folder for each source and namespace that is captured."""
        return self.secrets_dir / "capture"


def _check_namespace(namespace: str) -> None:
    if not _NAMESPACE.fullmatch(namespace):
        raise SettingsError(
            f"The namespace {namespace!r} is not allowed: a lower-case letter, then up to 30 lower-case letters, "
            "digits or underscores. Set LAKE_NAMESPACE, for example to 'drill_2025'."
        )


def _file_path(uri: str) -> Path:
    """Return the local path of a file URI or plain path; any other scheme raises SettingsError."""
    parts = urlsplit(uri)
    if parts.scheme == "":
        return Path(uri).absolute()
    if parts.scheme == "file" and parts.netloc in {"", "localhost"}:
        return Path(unquote(parts.path)).absolute()
    raise SettingsError(
        f"LAKE_URI={uri} has the scheme {parts.scheme!r}; this installation keeps its tables in the file system. "
        "Set LAKE_URI to a folder (a path or file:///path)."
    )


def _find_home() -> Path:
    """Return the nearest folder above the current one that is this project, else the folder of this clone."""
    clone = Path(__file__).resolve().parents[2]
    for folder in [Path.cwd(), *Path.cwd().parents]:
        if (folder / _HOME_MARK).is_file() and (folder / "pipelines" / "runtime").is_dir():
            return folder
    return clone
