# The two commands: `make bench` runs the benchmark, `make test` the tests. Both set up everything they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SYSTEM_STAMP := $(VENV)/.system

# What the tests talk to, and what building needs. `make system` installs it, where it may.
PACKAGES := gcc libc6-dev pkg-config libvirt-dev qemu-system-x86 libspice-server-dev libspice-protocol-dev \
	libusbredirparser-dev libcacard-dev gir1.2-spiceclientglib-2.0 python3-gi tshark dpkg-dev libvirt-daemon \
	libvirt-daemon-driver-qemu libvirt-clients openssh-client openssh-server netcat-openbsd sasl2-bin libsasl2-modules \
	gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-libav
BUILD_PACKAGES := gcc libc6-dev pkg-config libvirt-dev

FUZZ_PACKAGES := clang libclang-rt-14-dev

export UV_SYSTEM_CERTS := 1
export PYTHONDONTWRITEBYTECODE := 1

.PHONY: install system bench test check coverage sanitize fuzz clean

install: $(STAMP)

$(STAMP): pyproject.toml setup.py build_codec.py constraints.txt $(wildcard src/_spice_codec/*)
	@NEEDED=1 sh tests/system_packages.sh $(BUILD_PACKAGES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(VENV) --constraint constraints.txt --group dev --editable ".[libvirt,testing,lz4,video,vision,ocr]"
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
	$(BIN)/lint-imports --no-cache

coverage: install system
	$(BIN)/python -m pytest --cov --cov-report=term-missing:skip-covered tests/unit tests/property

# The C under AddressSanitizer and UndefinedBehaviorSanitizer; `fuzz` adds libFuzzer, for two minutes or SECONDS_TO_FUZZ.
sanitize: install
	sh tests/fuzz/run.sh

fuzz: install
	@NEEDED=1 sh tests/system_packages.sh $(FUZZ_PACKAGES)
	SECONDS_TO_FUZZ=$${SECONDS_TO_FUZZ:-120} sh tests/fuzz/run.sh

clean:
	rm -rf $(VENV) build dist src/*.egg-info src/*.so
