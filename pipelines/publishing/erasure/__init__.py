"""Erasure of one person at their request: found, emptied or deleted, never to come back, and certified.

:mod:`find` says where a person's tokens stand, :mod:`carry` takes them out step by step, :mod:`register` remembers how
far that came, :mod:`certificate` says in the end what was done, under a signature. Docs: `docs/operations.md`.
"""
