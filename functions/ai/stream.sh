#!/bin/sh
# The streaming function's handler: the web adapter runs it and waits for /_lwa/ready.
set -eu
export PYTHONPATH="${PYTHONPATH:+$PYTHONPATH:}${LAMBDA_TASK_ROOT:+$LAMBDA_TASK_ROOT:}/opt/python"
# Idle connections outlive the adapter's pool, whichever way a freeze bends the clocks.
exec python -m uvicorn functions.ai.entrypoints.stream:app \
    --host 127.0.0.1 --port "${AWS_LWA_PORT:-8080}" \
    --loop asyncio --http httptools --ws none --lifespan on \
    --timeout-keep-alive 75 --timeout-graceful-shutdown 5 \
    --no-access-log --no-server-header --log-level warning
