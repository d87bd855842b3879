# Aliases only: every command is a sub-command of dev.py.
.PHONY: demo test lint bench

demo test lint bench:
	python3 dev.py $@
