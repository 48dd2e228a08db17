# One command per check; CONTRIBUTING.md says when to run which.
BIN := .venv/bin

.PHONY: bench-smoke check check-fast coverage docs format install lint requirements test test-fast test-slow types types-fast

install: # .venv with the pinned and hashed packages; uv takes seconds where pip takes minutes
	test -x $(BIN)/python || python3 -m venv .venv
	if command -v uv >/dev/null; then \
		uv pip install -q -p $(BIN)/python --require-hashes -r requirements-dev.txt; \
	else \
		$(BIN)/pip install -q --require-hashes -r requirements-dev.txt; \
	fi
	$(BIN)/pip install -q --no-deps -e .

check: # what every change must pass
	.ci/run

check-fast: # less than a minute: format, lint, types of the sources, and the tests with the mark fast
	$(BIN)/ruff format --check -q .
	$(BIN)/ruff check -q .
	$(MAKE) --no-print-directory -j2 --output-sync=target types-fast test-fast

format: # rewrite the sources, and mend what the linter can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint:
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types:
	$(BIN)/mypy

types-fast:
	$(BIN)/mypy s3crypt cli examples

test: # nearly all tests, two at a time
	$(BIN)/pytest

test-fast:
	$(BIN)/pytest -q -n0 -m fast

test-slow: # the exhaustive tests, which take minutes
	$(BIN)/pytest -m slow

coverage: # lines and branches that the tests execute; a few tests of limits and imports fail here
	$(BIN)/pip install -q 'coverage>=7.10'
	$(BIN)/coverage erase
	-$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine -q
	$(BIN)/coverage report --skip-covered --sort=cover

docs: # the documentation as a site, in site/
	.ci/site

bench-smoke: # s3crypt against this machine's limits, in a minute or less
	$(BIN)/s3crypt bench

requirements: # requirements-dev.txt anew, from pyproject.toml
	$(BIN)/pip install -q uv
	$(BIN)/uv pip compile -q --upgrade --generate-hashes --no-emit-index-url --no-annotate \
		--no-header --universal -p 3.11 --extra dev pyproject.toml -o requirements-dev.txt
