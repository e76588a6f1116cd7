"""The YAML files of gan-cli's commands, shipped as a package so that Hydra finds them wherever it is installed."""
