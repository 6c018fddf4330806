# What people type. Each word does one thing and needs nothing but Rust and a Debian to begin with.
PREFIX  ?= /usr/local
DESTDIR ?=
IMAGE   ?=
RUNS    ?= 15
CARGO   ?= cargo
STATIC   = CARGO_TARGET_DIR=target/static RUSTFLAGS="-C target-feature=+crt-static"
TRIPLE   = x86_64-unknown-linux-gnu

.PHONY: all build static engine test lint demo bench vm install uninstall setup clean

all: build

setup:                ## Debian packages that demo, tests and bench use
	@$(CARGO) xtask setup

# Two builds side by side: what runs beside every container is static and small, the rest is not. Linking the one takes
# one processor for long, compiling the other takes all there are.
build:
	@$(MAKE) --no-print-directory -j2 static engine

engine:
	$(CARGO) build --release -p tare -p tared

static:
	$(STATIC) $(CARGO) build --profile static --target $(TRIPLE) -p tare-runtime-cli -p tare-init
	@mkdir -p target/release
	@install -m755 target/static/$(TRIPLE)/static/tare-runtime target/static/$(TRIPLE)/static/tare-init target/release/

# The end-to-end tests run a debug daemon with the very runtime and init that are installed: static ones.
test: setup static    ## everything, as CI runs it
	$(CARGO) build --workspace --bins
	@install -D -t target/tested target/debug/tare target/debug/tared \
	  target/static/$(TRIPLE)/static/tare-runtime target/static/$(TRIPLE)/static/tare-init
	$(CARGO) xtask images
	TARE_BINARIES=$(CURDIR)/target/tested $(CARGO) test --workspace --no-fail-fast

lint:                 ## formatting, clippy, architecture
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) xtask tidy

# Packages and image are fetched and made while the compiler works. The chores are built as the rest is, which then finds
# half of what it leans on compiled.
demo:                 ## a real image, end to end
	$(CARGO) build --release -p xtask
	@if [ -z "$(IMAGE)" ]; then target/release/xtask setup demo >/dev/null & fi; $(MAKE) build && wait
	@TARE_BINARIES=$(CURDIR)/target/release target/release/xtask demo $(IMAGE)

bench: setup build    ## this build beside every peer that is installed
	@TARE_BINARIES=$(CURDIR)/target/release $(CARGO) xtask bench $(RUNS)

vm:                   ## the runtime's suites in a guest with systemd and cgroup v2, emulated: a minute to make, minutes to run
	@$(CARGO) xtask vm

install: build        ## binaries, systemd units, completions, man pages
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/systemd/system
	install -m755 target/release/tare target/release/tared target/release/tare-runtime target/release/tare-init $(DESTDIR)$(PREFIX)/bin/
	sed 's|@PREFIX@|$(PREFIX)|' docs/systemd/tare.service > $(DESTDIR)$(PREFIX)/lib/systemd/system/tare.service
	install -m644 docs/systemd/tare.socket $(DESTDIR)$(PREFIX)/lib/systemd/system/
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/site-functions \
	  $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/man/man8
	target/release/tare completion bash > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/tare
	target/release/tare completion zsh > $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_tare
	target/release/tare completion fish > $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/tare.fish
	target/release/tare man $(DESTDIR)$(PREFIX)/share/man/man1
	install -m644 docs/man/tare-runtime.8 $(DESTDIR)$(PREFIX)/share/man/man8/
	install -m644 docs/completions/tare-runtime.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/tare-runtime
	install -m644 docs/completions/_tare-runtime $(DESTDIR)$(PREFIX)/share/zsh/site-functions/
	install -m644 docs/completions/tare-runtime.fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/

uninstall:
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/bin/,tare tared tare-runtime tare-init) \
	  $(DESTDIR)$(PREFIX)/lib/systemd/system/tare.service $(DESTDIR)$(PREFIX)/lib/systemd/system/tare.socket \
	  $(DESTDIR)$(PREFIX)/share/bash-completion/completions/tare $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_tare \
	  $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/tare.fish $(DESTDIR)$(PREFIX)/share/man/man1/tare*.1 \
	  $(DESTDIR)$(PREFIX)/share/man/man8/tare-runtime.8 $(DESTDIR)$(PREFIX)/share/bash-completion/completions/tare-runtime \
	  $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_tare-runtime $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/tare-runtime.fish

clean:
	$(CARGO) clean
