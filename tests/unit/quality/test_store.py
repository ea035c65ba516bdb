"""The gate's decision and what is stored, without any engine."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from catalogue import city

from pipelines.contracts.targets.great_expectations import suite
from pipelines.quality import gate, report, store
from pipelines.quality.gate import judge
from pipelines.quality.model import READABLE, Decision, RuleResult, Verdict, decide
from pipelines.runtime.errors import LakeError
from pipelines.runtime.settings import Settings
from pipelines.warehouse.manifest import RunManifest

HOME = Path(__file__).resolve().parents[3]
REGISTRY = city().only("demo")
NOW = datetime(2025, 11, 4, 5, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path):
    return Settings.load({"LAKE_HOME": str(HOME), "LAKE_STATE": str(tmp_path)})


def verdict(**changes):
    dataset = REGISTRY.dataset("med_price")
    base = Verdict(
        run_id="r1",
        layer="silver",
        dataset="med_price",
        version=3,
        verdict="failed",
        failed_rules=("price_vnd.range",),
        warned_rules=(),
        waived_rules=(),
        row_count=10,
        suite_sha256=suite(dataset, REGISTRY).sha256,
        contract_version="1.0.0",
        reused_from=None,
        judged_at=NOW,
        duration_s=1.5,
    )
    return replace(base, **changes)


RESULT = RuleResult(
    "price_vnd.range", "error", False, "Giá trong khoảng", "Price in range", 10, 1, None, None, ('{"a":1}',)
)


def decision(rule, until):
    return Decision("d", "med_price", rule, "lý do", until, "A", NOW)


def test_the_gate_fails_on_errors_only_and_waivers_cover_rule_by_rule():
    def gate(failed, decisions=(), exists=True):
        return decide(exists=exists, failed_rules=failed, dataset="med_price", decisions=decisions, day=NOW.date())

    today, yesterday = NOW.date(), NOW.date() - timedelta(days=1)
    assert gate(()) == ("passed", ())
    assert gate((), exists=False) == ("missing", ())
    assert gate(("a", "b"), [decision("a", today)]) == ("failed", ("a",))
    assert gate(("a", "b"), [decision("a", today), decision("b", today)]) == ("waived", ("a", "b"))
    assert gate(("a",), [decision("a", yesterday)]) == ("failed", ())
    assert gate((READABLE,), [decision(READABLE, today)]) == ("failed", ())


def test_verdicts_come_back_as_they_were_saved(settings):
    given = [verdict(), verdict(run_id="r2", version=None, verdict="missing", failed_rules=(), row_count=None)]
    store.save(settings, [(given[0], [RESULT]), (given[1], [])])
    assert store.verdicts(settings) == given
    (row,) = store.read(settings, "result")
    assert (row["run_id"], row["version"], row["sample_keys"]) == ("r1", 3, ['{"a":1}'])


def test_results_that_a_crash_left_are_replaced_not_doubled(settings):
    rows = [{"run_id": "r1", "layer": "silver", "dataset": "med_price", "version": 3, "rule": "old", "success": False}]
    store.append(settings, "result", rows)
    store.save(settings, [(verdict(), [RESULT])])
    assert [row["rule"] for row in store.read(settings, "result")] == ["price_vnd.range"]


def test_last_good_is_the_newest_version_whose_last_verdict_is_good(settings):
    assert store.last_good(settings, "med_price") is None
    later = NOW + timedelta(hours=1)
    found = [
        verdict(run_id="a", version=1, verdict="passed", failed_rules=()),
        verdict(run_id="b", version=2, verdict="waived"),
        verdict(run_id="c", version=3, verdict="failed"),
    ]
    store.save(settings, [(item, []) for item in found])
    assert store.last_good(settings, "med_price") == 2
    store.save(settings, [(verdict(run_id="d", version=2, verdict="failed", judged_at=later), [])])
    assert store.last_good(settings, "med_price") == 1
    assert store.last_good(settings, "road_asset") is None


def manifest(run_id, version):
    return RunManifest(run_id, "city", NOW.isoformat(), {"silver.med_price": version})


def test_a_known_version_is_judged_without_an_engine_and_waivers_are_asked_again(settings):
    import pyarrow as pa
    from deltalake import write_deltalake

    # The content does not matter: the version was judged before.
    write_deltalake(str(settings.table_path("silver", "med_price")), pa.table({"a": [1]}))
    store.save(settings, [(verdict(version=0), [RESULT])])

    def med_price(run_id):
        found = judge(settings, REGISTRY, manifest(run_id, 0), "silver", domain="health")
        return next(v for v in found if v.dataset == "med_price")

    assert (med_price("r2").verdict, med_price("r2").reused_from) == ("failed", "r1")
    until = datetime.now(UTC).date()
    store.waive(settings, dataset="med_price", rule="price_vnd.range", reason="đã kiểm tra", until=until, by="B")
    assert med_price("r2").verdict == "waived"
    assert med_price("r2").verdict == "waived"
    # r1, r2 failed, r2 waived: judging again wrote nothing.
    assert len(store.verdicts(settings)) == 3
    (entry,) = report.entries(settings, run_id="r2")
    assert [row["rule"] for row in entry.broken] == ["price_vnd.range"]
    assert report.to_json([entry])[0]["verdict"] == "waived"


class BrokenSpark:
    """A session that cannot read; it counts how often it was ended."""

    def __init__(self):
        self.ended = 0
        self.read = self.conf = self

    def set(self, _name, _value):
        pass

    def unset(self, _name):
        pass

    def format(self, _name):
        return self

    def option(self, _name, _value):
        return self

    def load(self, _path):
        from pyspark.errors import AnalysisException

        raise AnalysisException("the log is gone")

    def stop(self):
        self.ended += 1


def test_the_gate_ends_the_session_that_it_opened_and_no_other(settings, monkeypatch):
    import pyarrow as pa
    from deltalake import write_deltalake

    write_deltalake(str(settings.table_path("silver", "med_price")), pa.table({"a": [1]}))
    own, given = BrokenSpark(), BrokenSpark()
    monkeypatch.setattr(gate, "session", lambda _settings: own)
    (found,) = judge(settings, REGISTRY, manifest("r1", 0), "silver", domain="health", spark=given)
    assert (found.failed_rules, own.ended, given.ended) == ((READABLE,), 0, 0)
    judge(settings, REGISTRY, manifest("r2", 1), "silver", domain="health")
    assert own.ended == 1


def test_missing_tables_are_missing_and_say_so(settings):
    found = judge(settings, REGISTRY, manifest("r9", 7), "silver", domain="health")
    assert [(v.dataset, v.verdict) for v in found] == [("med_price", "missing")]
    assert found[0].sentence == "silver.med_price: chưa có bảng, không có gì để công bố."
    assert judge(settings, REGISTRY, manifest("r9", 7), "silver", domain="health") == found
    with pytest.raises(LakeError, match="Allowed: silver, gold"):
        judge(settings, REGISTRY, manifest("r9", 7), "bronze")


def test_a_waiver_needs_a_reason_a_name_and_a_day_to_come(settings):
    until = NOW.date()
    with pytest.raises(LakeError, match="--reason"):
        store.waive(settings, dataset="med_price", rule="x", reason=" ", until=until, by="A", now=NOW)
    with pytest.raises(LakeError, match="đã qua"):
        store.waive(settings, dataset="med_price", rule="x", reason="y", until=date(2025, 1, 1), by="A", now=NOW)
    given = store.waive(settings, dataset="med_price", rule="x", reason="y", until=until, by="A", now=NOW)
    assert store.decisions(settings) == [given]
