"""Watched folders as a front of the core: a file that is dropped there is read in bounded pieces and gets a receipt."""
