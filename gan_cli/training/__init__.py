"""Training: Algorithm 1, the games, the state of a run, and the tasks between steps."""
