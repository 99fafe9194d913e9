"""`make bench`, or `python -m bench [part ...]`: prints each figure beside its limit."""

import argparse
import sys

from bench import (
    ai_money,
    anthropic_stream,
    audit_cold,
    audit_hot,
    audit_ingest,
    audit_log,
    browser,
    browser_pool,
    cold_start,
    commands,
    gateway,
    messaging_consume,
    messaging_loss,
    messaging_progress,
    messaging_publish,
    messaging_redrive,
    openai_stream,
    packages,
    webhooks,
)

PARTS = {
    "cold_start": cold_start.measure,
    "packages": packages.measure,
    "openai_stream": openai_stream.measure,
    "anthropic_stream": anthropic_stream.measure,
    "gateway": gateway.measure,
    "ai_money": ai_money.measure,
    "audit_ingest": audit_ingest.measure,
    "audit_hot": audit_hot.measure,
    "audit_cold": audit_cold.measure,
    "audit_log": audit_log.measure,
    "messaging_publish": messaging_publish.measure,
    "messaging_consume": messaging_consume.measure,
    "messaging_loss": messaging_loss.measure,
    "messaging_progress": messaging_progress.measure,
    "messaging_redrive": messaging_redrive.measure,
    "webhooks": webhooks.measure,
    "browser": browser.measure,
    "browser_pool": browser_pool.measure,
    "synth": commands.measure_synth,
    "unit": commands.measure_unit,
    "up": commands.measure_up,
}


def main() -> int:
    """Measure the parts asked for, or all; 1 when a figure is beyond its bound."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("part", nargs="*", choices=[*PARTS, []], help="default: all")
    missed = False
    for part in parser.parse_args().part or PARTS:
        for figure in PARTS[part]():
            print(figure.line(), flush=True)
            missed = missed or figure.missed
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
