"""The quality gate: suites from the contracts judge one Delta version; only a version that passed is published."""
