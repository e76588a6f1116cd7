"""Configuration: the keys of the commands, their checks, and the construction of objects from a configuration."""
