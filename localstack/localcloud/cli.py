"""The command line: `python -m localcloud <command>`."""

import argparse
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from botocore.exceptions import BotoCoreError, ClientError

from localcloud import settings as local_settings
from localcloud.commands import LocalCloud
from localcloud.errors import LocalCloudError, from_os_error
from localcloud.logs import Logs
from localcloud.progress import discard_output, say

_FAILED = 1
_INTERRUPTED = 130
_NO_READER = 141
_EPILOG = """\
Settings come from the environment or from .env: LOCAL_STATE_DIR, LOCAL_CLOUD_PORT,
LOCAL_PROJECTFLOW_PORT, LOCAL_AI_PORT, LOCAL_BROWSER_PORT, LOCAL_AUDIT_PORT, LOCAL_MESSAGING_PORT,
LOCAL_MODEL, LOCAL_OLLAMA_URL, LOCAL_BEDROCK_ENDPOINT_URL. Keys of model providers in .env
(OPENAI_API_KEY, ANTHROPIC_API_KEY, GEMINI_API_KEY) go into the local Secrets Manager.
`up --cloud localstack` reads LOCALSTACK_AUTH_TOKEN."""


def parser() -> argparse.ArgumentParser:
    """The arguments of every command."""
    result = argparse.ArgumentParser(
        prog="localcloud",
        description="The services on this machine: an emulated AWS with the deployed CDK app, and "
        "a front door where callers expect each service.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = result.add_subparsers(dest="command", required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="start what is not running, deploy what has changed")
    up.add_argument(
        "--cloud",
        choices=("ministack", "localstack"),
        default="ministack",
        help="the emulated AWS; localstack needs Docker and a token (default: ministack)",
    )
    up.add_argument(
        "--model", metavar="NAME", help="an Ollama model that answers behind Bedrock (LOCAL_MODEL)"
    )
    commands.add_parser("down", help="stop everything; its state is kept")
    status = "say what runs and where; exit code 3 when it does not all run (from make: 2)"
    commands.add_parser("status", help=status, description=status)
    logs = commands.add_parser("logs", help="show what a service has written")
    logs.add_argument(
        "service",
        metavar="SERVICE",
        help="projectflow, ai, browser, audit, messaging, or cloud, door, deploy, synth",
    )
    logs.add_argument("--follow", "-f", action="store_true", help="go on until Ctrl-C")
    logs.add_argument("--lines", "-n", type=_count, default=100, help="of each log (default: 100)")
    reset = commands.add_parser("reset", help="stop everything and remove all its state")
    reset.add_argument("--yes", "-y", action="store_true", help="do not ask")
    return result


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError
    return number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns its exit code; a failure is one line on standard error."""
    options = parser().parse_args(arguments)
    # A stopped `up` must undo what it has begun, whichever way it is stopped.
    for number in (signal.SIGTERM, signal.SIGHUP):
        # Under nohup the end of the terminal is none of ours.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    try:
        return _run(options)
    except LocalCloudError as error:
        print(f"{options.command}: {error.reason} {error.remedy}", file=sys.stderr)
    except (BotoCoreError, ClientError) as error:
        print(
            f"{options.command}: The emulated AWS failed: {error} `make logs SERVICE=cloud` shows "
            "more; `make down` and `make up` start it anew.",
            file=sys.stderr,
        )
    except BrokenPipeError:
        # Of the logs: whoever reads has enough, as `head` has.
        discard_output()
        return _NO_READER
    except OSError as error:
        known = from_os_error(error)
        print(f"{options.command}: {known.reason} {known.remedy}", file=sys.stderr)
    except KeyboardInterrupt:
        undone = "; what it started is stopped" if options.command == "up" else ""
        print(f"{options.command}: interrupted{undone}.", file=sys.stderr)
        return _INTERRUPTED
    return _FAILED


def _run(options: argparse.Namespace) -> int:
    settings = local_settings.load(model=getattr(options, "model", None))
    if options.command == "logs":
        try:
            Logs(settings, options.service).show(lines=options.lines, follow=options.follow)
        except KeyboardInterrupt:
            if not options.follow:
                raise
        return 0
    cloud = LocalCloud(settings)
    if options.command == "up":
        cloud.up(options.cloud)
    elif options.command == "down":
        say("Stopped; its state is kept." if cloud.down() else "It was not running.")
    elif options.command == "status":
        return cloud.status()
    elif options.command == "reset":
        if not options.yes and not _confirmed(settings):
            say("Nothing was removed.")
            return _FAILED
        cloud.reset()
        say("All state is removed.")
    return 0


def _confirmed(settings: local_settings.LocalSettings) -> bool:
    try:
        answer = input(f"Remove everything in {settings.state}? [y/N] ")
    except EOFError:
        return False
    return answer.strip().lower() in {"y", "yes"}


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
