"""Readers of files that a stranger may have made. Every claim of such a file is checked; none of it is executed."""
