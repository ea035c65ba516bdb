"""Contracts: the one definition of every dataset, and the targets compiled from it.

Modules, each importing only those before it: ``errors``, ``names``, ``logical_types``, ``model``, ``source``,
``registry``, ``validators``, ``targets``.
"""
