"""Commands that span packages: contracts, jobs, ledger and the demo. A package's own commands live in that package."""
