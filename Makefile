.PHONY: dev links check test test-slow demo

dev: links
	pip install -e ".[test,lint]"

links:  # for editors and type checkers; git ignores them
	for f in detector relpn generator eval configs; do ln -sfn ../$$f autoenc_sg/$$f; done

check: links
	ruff check . && ruff format --check . && codespell && mypy

test:
	pytest -n auto

test-slow:
	pytest -m slow

demo:
	autoenc-sg demo
