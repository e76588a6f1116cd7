"""Words as people type them: options with dashes, whole numbers with an exponent, paths below the home folder."""

import os
import re
import sys
from dataclasses import fields
from typing import NoReturn

from gan_cli.config.schema import COMMANDS
from gan_cli.errors import UserError

WHOLE = {f.name for keys in COMMANDS.values() for f in fields(keys) if "int" in str(f.type)} | {"dataset.size"}


def refuse_option(message: str) -> NoReturn:
    """UserError for an option that Hydra doesn't know, as ``--batch_size 64``: keys are written ``batch_size=64``."""
    words = sys.argv[1:]
    unknown = next((word for word in words if re.match(r"--?[A-Za-z]", word) and word.split("=")[0] in message), "")
    name, _, value = unknown.lstrip("-").partition("=")
    following = words[words.index(unknown) + 1 :] if unknown else []
    if not value and following and "=" not in following[0] and not following[0].startswith("-"):
        value = following[0]
    if not name:
        raise UserError(message)
    raise UserError(f"no option {unknown.split('=')[0]}: write {name.replace('-', '_')}={value or '…'}, without dashes")


def whole(word: str) -> str:
    """``word`` with whole numbers written out: ``steps=1e4`` -> ``steps=10000``."""
    key, equals, value = word.partition("=")
    parts = [
        str(int(float(part))) if re.fullmatch(r"\d+(\.\d+)?[eE]\+?\d{1,2}", part) and float(part).is_integer() else part
        for part in value.split(",")
    ]
    return f"{key}={','.join(parts)}" if equals and key in WHOLE else word


def below_home(word: str) -> str:
    """``word`` with the home folder written out: ``dataset.root=~/faces`` -> ``dataset.root="/home/ann/faces"``.

    Shells leave such a tilde as it is after a key with a dot, and Hydra refuses it.
    """
    key, _, value = word.partition("=")
    if not re.fullmatch(r"~[\w.-]*(/[^,\"'\\]*)?", value) or (path := os.path.expanduser(value)) == value:
        return word
    return f'{key}="{path}"'
