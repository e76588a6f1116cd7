"""Configuration: the keys of the commands, their checks, and the way from a configuration to objects."""
