"""The console script, and `python -m roberta_lab`: signals first, for a command takes a moment to load."""

import os
import signal
import sys

_STOPPING = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")  # as in config/errors.py, which is not loaded yet


def _end(number: int, frame: object) -> None:
    """End before anything has begun, in one line."""
    os.write(2, f"roberta-lab: stopped by {signal.Signals(number).name}; nothing was in progress.\n".encode())
    os._exit(128 + number)


def main() -> int:
    """Run the console script. Returns its exit code (`EXIT_CODES` in config/errors.py)."""
    for number in (getattr(signal, name) for name in _STOPPING if hasattr(signal, name)):
        if signal.getsignal(number) != signal.SIG_IGN:  # which `nohup` asks for
            signal.signal(number, _end)
    from roberta_lab.cli.main import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
