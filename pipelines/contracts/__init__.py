"""Contracts: the one definition of every dataset, and the targets compiled from it.

Modules, each importing only those before it: ``errors``, ``names``, ``logical_types``, ``model``, ``source``,
``registry``, ``validators``, ``targets``. Beside the targets stand two lines of their own: how contracts evolve
(``changes``, ``published``), and how one begins (``draft``, ``naming``, ``scaffold``, ``odcs_reader``).
"""
