"""Training: Algorithm 1, the games it plays, the state of a run, and what is due while it goes on."""
