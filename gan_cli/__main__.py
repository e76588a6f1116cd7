"""``python -m gan_cli train …``: the commands, where no script of theirs is on the path."""

import sys
from collections.abc import Callable

from gan_cli import cli
from gan_cli.errors import did_you_mean

COMMANDS: dict[str, Callable[[], None]] = {
    "train": cli.train,
    "sample": cli.sample,
    "translate": cli.translate,
    "eval": cli.eval_,
    "project": cli.project,
    "report": cli.report,
    "doctor": cli.doctor,
    "export": cli.export,
}


def main() -> None:
    """Run the command that the first argument names. Status 2, and one line, for another word or for none."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in ("", "-h", "--help"):
        print(f"usage: python -m gan_cli {'|'.join(COMMANDS)} [--help] [KEY=VALUE …]")
        raise SystemExit(0 if name else 2)
    if name not in COMMANDS:
        print(f"python -m gan_cli: no command {name!r}{did_you_mean(name, COMMANDS)}", file=sys.stderr)
        raise SystemExit(2)
    sys.argv = [f"gan-{name}", *sys.argv[2:]]
    COMMANDS[name]()


if __name__ == "__main__":
    main()
