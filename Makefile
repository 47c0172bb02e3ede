# Needs Python 3.11 or newer with venv, and a package registry; everything else goes into .venv.
.DEFAULT_GOAL := help
.PHONY: help test demo check cover soak soak-sessions bench-sessions fmt wheel clean

# The first interpreter that really runs: a shim of pyenv may stand on PATH and not work.
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 "$$HOME"/.pyenv/versions/3.1[123]*/bin/python3; do \
  "$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo "$$p" && break; done)
RUN = $(or $(PYTHON),$(error Python 3.11 to 3.13 is needed and was not found)) -B
TASK = $(RUN) .ci/tasks.py

help: ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):.*## /\1|/' | awk -F'|' '{printf "  make %-15s %s\n", $$1, $$2}'

test: ## the whole suite, in every environment this machine can make (ONLY=core-3.11 ARGS="-k name")
	@$(TASK) test $(if $(ONLY),--only $(ONLY)) -- $(ARGS)

cover: ## the whole suite, then the coverage of all environments together
	@$(TASK) test --cover $(if $(SUMMARY),--summary $(SUMMARY))

soak: ## cut off 10000 runs on each event loop, and print what they leave (RUNS=500)
	@$(TASK) soak --runs $(or $(RUNS),10000)

soak-sessions: ## kill and pause workers for minutes while clients call them (SECONDS=60)
	@$(TASK) soak-sessions --seconds $(or $(SECONDS),240)

bench-sessions: ## time saving, loading and taking turns beside AgentScope's session classes
	@$(TASK) bench-sessions

check: ## ruff, mypy, pyright
	@$(TASK) check

fmt: ## let ruff format and mend
	@$(TASK) fmt

wheel: ## build the wheel and try it in a clean environment
	@$(RUN) .ci/wheel.py

demo: ## an agent with a local model and a tool, asked over HTTP (KEEP=1 keeps it running)
	@$(TASK) demo $(if $(KEEP),--keep)

clean: ## remove environments, caches and what builds leave
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.* htmlcov build dist
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
