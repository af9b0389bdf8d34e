# The two commands: `make bench` runs the benchmark, `make test` the tests. Both set up everything they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SYSTEM_STAMP := $(VENV)/.system

# What the tests talk to, and what building needs. `make system` installs it, where it may.
PACKAGES := gcc libc6-dev pkg-config libvirt-dev qemu-system-x86 libspice-protocol-dev libusbredirparser-dev libcacard-dev \
	gir1.2-spiceclientglib-2.0 python3-gi tshark dpkg-dev
BUILD_PACKAGES := gcc libc6-dev pkg-config libvirt-dev

export UV_SYSTEM_CERTS := 1
export PYTHONDONTWRITEBYTECODE := 1

.PHONY: install system bench test check coverage fuzz sanitize clean

install: $(STAMP)

$(STAMP): pyproject.toml setup.py build_codec.py constraints.txt $(wildcard src/_spice_codec/*)
	@NEEDED=1 sh tests/system_packages.sh $(BUILD_PACKAGES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(VENV) --constraint constraints.txt --group dev --editable ".[libvirt,testing,lz4]"
	@touch $@

system:
	@sh tests/system_packages.sh $(PACKAGES)

bench: install
	$(BIN)/atp bench

test: install system
	$(BIN)/python -m pytest

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

coverage: install system
	$(BIN)/python -m pytest --cov --cov-report=term-missing:skip-covered tests/unit tests/property

# The C codec under AddressSanitizer and UndefinedBehaviorSanitizer, over all vectors and two minutes of fuzzing.
sanitize fuzz:
	sh tests/fuzz/run.sh

clean:
	rm -rf $(VENV) build dist src/*.egg-info src/*.so
