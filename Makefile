# Each target is one command that works by itself in the prepared environment (.venv first on PATH).

PYTHON ?= python3
ENV ?= dev
SERVICE ?= ai
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PYTHONPATH := $(CURDIR):$(CURDIR)/layers/common/python:$(CURDIR)/localstack
export UV_PYTHON_DOWNLOADS := never
# Loading the CDK library is most of a synth: keep V8's compiled code of it.
export NODE_COMPILE_CACHE := $(CURDIR)/.local/node
# Nor is Python to compile its packages anew in every process, as some images have it.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help environment up down status logs reset test unit e2e check lint format types architecture \
	lock contracts catalogue synth diff bootstrap deploy image-proof bench

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "%-13s %s\n", $$1, $$2 }' Makefile

environment: ## make .venv and node_modules match the locks
	@$(PYTHON) localstack/prepare.py

up: ## start the whole system on this machine [MODEL=<Ollama model>] [CLOUD=localstack]
	@$(PYTHON) localstack/up.py $(if $(MODEL),--model $(MODEL)) $(if $(CLOUD),--cloud $(CLOUD))

down: environment ## stop it; its state is kept
	@python -m localcloud down

status: environment ## what runs, and where
	@python -m localcloud status

logs: environment ## logs of one service: SERVICE=ai [FOLLOW=1]
	@python -m localcloud logs $(SERVICE) $(if $(FOLLOW),--follow)

reset: environment ## stop it and remove its state [YES=1: without asking]
	@python -m localcloud reset $(if $(YES),--yes)

test: environment ## every test, the local cloud's included
	python -m pytest tests --numprocesses 2 --no-loadscope-reorder

unit: environment ## the tests that need neither network nor a cloud
	python -m pytest tests/unit tests/contract tests/architecture

e2e: environment ## the tests through one deployed local cloud
	python -m pytest tests/e2e

check: lint types architecture synth ## everything that reads the code without running it

lint: environment ## ruff, and whether locks, contracts and the list of models are current
	ruff check . && ruff format --check . && hadolint images/browser/Dockerfile && python scripts/lock.py --check && python scripts/export_contracts.py --check && python scripts/catalogue.py --check

format: environment ## let ruff rewrite what it can
	ruff check --fix . ; ruff format .

types: environment ## mypy, strict
	mypy

architecture: environment ## the rules of the house
	python -m pytest tests/architecture

lock: environment ## compile every lock file from pyproject [UPGRADE=1: newest releases]
	python scripts/lock.py $(if $(UPGRADE),--upgrade)

contracts: environment ## regenerate OpenAPI and JSON Schemas from the models
	python scripts/export_contracts.py

catalogue: environment ## regenerate the AI service's models and prices from genai-prices
	python scripts/catalogue.py

synth: environment ## templates of ENV (local, dev, staging, prod), checked by cdk-nag
	npx --no-install cdk synth --quiet -c env=$(ENV)

diff: environment ## what `make deploy` would change
	npx --no-install cdk diff -c env=$(ENV)

bootstrap: environment ## once per AWS account and region, before the first deployment
	npx --no-install cdk bootstrap -c env=$(ENV)

deploy: environment ## put ENV into the AWS account of the current credentials [STACK=ai: one stack]
	npx --no-install cdk deploy $(if $(STACK),santaclaude-$(ENV)-$(STACK),--all) -c env=$(ENV)

image-proof: environment ## the browser's image without a container engine: its steps in a Debian root (root, debootstrap)
	@sh images/browser/prove.sh

bench: environment ## the figures of docs/figures.md, each beside its limit
	python -m bench
