"""Signals as a shell gives them to a command that it starts: `nohup` and a shell's `&` let some be ignored."""

import signal

from roberta_lab.config.errors import STOPPING


def as_in_a_shell() -> None:
    """Let no signal be ignored that commands take, here and in processes that are started from here."""
    for number in STOPPING:
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
