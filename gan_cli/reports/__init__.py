"""Reports: what a run folder tells, as one page that needs no server, and as JSON."""
