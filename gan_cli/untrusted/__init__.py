"""Readers of files from strangers. Every claim of such a file is checked, and no part of it is executed."""
