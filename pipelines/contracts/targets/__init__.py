"""Targets: one small pure module for each engine or standard that a contract is compiled to."""
