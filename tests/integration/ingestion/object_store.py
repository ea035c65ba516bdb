"""A real object store that speaks S3 and checks signatures, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from minio import Minio
from minio.error import S3Error
from urllib3.exceptions import HTTPError

from pipelines.runtime.ports import is_free

KEY, SECRET = "nganh", "bí mật/của+sở"
_START_TIMEOUT_S = 90.0


class ObjectStore:
    """SeaweedFS; its data are in `folder`, and one key may do everything."""

    def __init__(self, folder: Path) -> None:
        uses = ("master", "volume", "filer", "s3")
        free = (port for port in range(31_000, 31_500) if is_free(port))
        ports = {name: (next(free), next(free)) for name in uses}
        config = folder / "s3.json"
        identity = {"name": KEY, "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": ["Admin"]}
        config.write_text(json.dumps({"identities": [identity]}), encoding="utf-8")
        data = folder / "data"
        data.mkdir()
        self.port = ports["s3"][0]
        self._log = (folder / "server.log").open("wb")
        options = [f"-{name}.port={plain}" for name, (plain, _) in ports.items()]
        options += [f"-{name}.port.grpc={grpc}" for name, (_, grpc) in ports.items()]
        options += [f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3", f"-s3.config={config}"]
        options += ["-volume.max=4", "-master.volumeSizeLimitMB=64", "-volume.minFreeSpace=100MiB"]
        command = [str(Path(sys.executable).with_name("weed")), "server", *options, "-master.telemetry=false"]
        self._process = subprocess.Popen(command, cwd=folder, stdout=self._log, stderr=subprocess.STDOUT)
        self.client = Minio(f"127.0.0.1:{self.port}", access_key=KEY, secret_key=SECRET, secure=False)
        self._wait(folder / "server.log")

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait(30)
        self._log.close()

    def _wait(self, log: Path) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                self.client.make_bucket("ready")
            except (HTTPError, S3Error, OSError):
                time.sleep(0.1)
                continue
            return
        self.stop()
        raise AssertionError(log.read_text(encoding="utf-8", errors="replace")[-4000:])
