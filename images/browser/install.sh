#!/bin/sh
# What the image holds beside the service's own code. `install.sh <requirements>`, as root, in Debian.
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends \
    ca-certificates chromium-headless-shell fonts-liberation fonts-noto-core python3 python3-pip
# Wheels alone, by their hashes. Playwright's has its driver, and no browser.
python3 -m pip install --quiet --no-cache-dir --disable-pip-version-check --root-user-action ignore \
    --require-hashes --only-binary :all: --target /opt/python --requirement "$1"
apt-get purge -y -qq python3-pip
apt-get autoremove -y -qq
rm -rf /var/lib/apt/lists/* /var/cache/apt/*
