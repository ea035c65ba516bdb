"""Scenarios at work: their rules on the topic that the job reads, their runs, and dry runs over history."""
