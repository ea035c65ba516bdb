"""Replays: the flood of 2025, real traffic loops, synthetic cameras and sample sector tables, each with its truth."""
