"""The Java module's own tests: decoding, dispositions, alarms, and every form of a scenario, without an engine."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

MODULE = Path(__file__).resolve().parents[3] / "pipelines" / "streaming" / "java"


def test_the_tests_of_the_java_module_pass(tmp_path: Path) -> None:
    maven = shutil.which("mvn")
    assert maven is not None, "Maven is needed to test the Flink functions; install it or run `lake doctor`."
    # In a folder of its own: what other tests build in the module's stays as it is.
    module = Path(shutil.copytree(MODULE, tmp_path / "java", ignore=shutil.ignore_patterns("target")))
    run = subprocess.run([maven, "-B", "test"], cwd=module, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-4000:]
    counted = [int(count) for count in re.findall(r"Tests run: (\d+), Failures: 0, Errors: 0", run.stdout)]
    assert counted and counted[-1] >= 200, "the summary of all classes stands last"
