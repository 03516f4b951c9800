"""The entry point of `pattern-metrics` and `python -m pattern_metrics`. Handles signals before it imports."""

import os
import signal
import sys
from types import FrameType

INTERRUPTED = 128 + signal.SIGINT


def main() -> None:
    """Run the command. A signal that comes before the command has begun ends it at once, without a traceback.

    This is a clean stop, because a worker has nothing to finish yet. It handles later signals itself.
    """
    is_worker = _command(sys.argv[1:]) == "consume" and "--check" not in sys.argv
    numbers = _stop_signals() if is_worker else [signal.SIGINT]

    def end(_number: int, _frame: FrameType | None) -> None:
        os._exit(0 if is_worker else INTERRUPTED)

    before = {number: signal.getsignal(number) for number in numbers}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, end)
    if _command(sys.argv[1:]) == "publish" and "--outbox" in sys.argv:
        from pattern_metrics.publisher.outbox.hook import store

        code = store(sys.argv[1:])  # a shell hook waits for it
        if code is not None:
            os._exit(code)  # a tidy end would move the outbox's log into its database, and sync it
    from pattern_metrics.consumer.cli.app import main as run_command_line

    if not is_worker:
        signal.signal(signal.SIGINT, before[signal.SIGINT])
    try:
        run_command_line()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _stop_signals() -> list[signal.Signals]:
    numbers = [signal.SIGINT, signal.SIGTERM]
    if sys.platform != "win32":
        numbers.append(signal.SIGHUP)
    return numbers


def _command(arguments: list[str]) -> str | None:
    """Return the command's name, which only --env-file may precede."""
    while arguments and arguments[0].partition("=")[0] == "--env-file":
        arguments = arguments[1 if "=" in arguments[0] else 2 :]
    return arguments[0] if arguments else None


if __name__ == "__main__":
    main()
