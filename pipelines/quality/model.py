"""What a judgement is: results of rules, verdicts of versions, decisions of stewards. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

Judgement = Literal["passed", "failed", "waived", "missing"]
GOOD: frozenset[str] = frozenset({"passed", "waived"})
"""Only a version with one of these verdicts may be published."""

READABLE = "readable"
"""The rule that a version can be read at all; it stands before every suite."""

_WORDS = {
    "passed": ("đạt", "passed"),
    "failed": ("không đạt", "failed"),
    "waived": ("được chấp nhận có thời hạn", "waived"),
    "missing": ("thiếu bảng", "missing"),
}


def word(judgement: Judgement) -> str:
    """The verdict in Vietnamese."""
    return _WORDS[judgement][0]


@dataclass(frozen=True)
class RuleResult:
    """What one rule found in one version.

    ``broken_count`` of ``checked_count`` rows break it (None for table rules and rules that could not be evaluated);
    ``problem`` says why a rule could not be evaluated; ``sample_keys`` are JSON objects of at most 20 broken rows'
    keys, personal columns left out.
    """

    rule: str
    severity: str
    success: bool
    text_vi: str
    text_en: str
    checked_count: int | None = None
    broken_count: int | None = None
    observed: str | None = None
    problem: str | None = None
    sample_keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """The judgement of one version of one dataset in one run; ``judged_at`` is UTC.

    ``version`` is None when the table is missing. ``failed_rules`` have severity error, ``warned_rules`` are reported
    only, ``waived_rules`` are those of the failed that a steward accepted. ``reused_from`` names the run that judged
    the same version by the same suite.
    """

    run_id: str
    layer: str
    dataset: str
    version: int | None
    verdict: Judgement
    failed_rules: tuple[str, ...]
    warned_rules: tuple[str, ...]
    waived_rules: tuple[str, ...]
    row_count: int | None
    suite_sha256: str
    contract_version: str
    reused_from: str | None
    judged_at: datetime
    duration_s: float

    @property
    def is_good(self) -> bool:
        """Whether this version may be published."""
        return self.verdict in GOOD

    @property
    def sentence(self) -> str:
        """The verdict as a sentence in Vietnamese."""
        said = f"{self.layer}.{self.dataset}"
        if self.verdict == "missing":
            return f"{said}: chưa có bảng, không có gì để công bố."
        rules = ", ".join(self.failed_rules)
        if self.verdict == "failed":
            return f"{said} bản {self.version}: không đạt ({rules})."
        if self.verdict == "waived":
            return f"{said} bản {self.version}: không đạt {rules}, được chấp nhận có thời hạn."
        warned = f" Cảnh báo: {', '.join(self.warned_rules)}." if self.warned_rules else ""
        return f"{said} bản {self.version}: đạt.{warned}"


@dataclass(frozen=True)
class Decision:
    """A named steward accepts that a rule of a dataset is broken, for a reason, up to and including a day (UTC)."""

    decision_id: str
    dataset: str
    rule: str
    reason: str
    valid_until: date
    decided_by: str
    decided_at: datetime

    def counts_on(self, day: date) -> bool:
        """Whether the decision still holds on this UTC day."""
        return day <= self.valid_until


def decide(
    *, exists: bool, failed_rules: Collection[str], dataset: str, decisions: Sequence[Decision], day: date
) -> tuple[Judgement, tuple[str, ...]]:
    """The gate: from failed rules and decisions to a verdict and the rules that were waived.

    Warnings never fail. A version that cannot be read has nothing to accept and cannot be waived.
    """
    if not exists:
        return "missing", ()
    if not failed_rules:
        return "passed", ()
    accepted = {d.rule for d in decisions if d.dataset == dataset and d.counts_on(day)} - {READABLE}
    waived = tuple(rule for rule in failed_rules if rule in accepted)
    return ("waived" if len(waived) == len(failed_rules) else "failed"), waived
