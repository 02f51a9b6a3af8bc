# The project's whole interface. `make demo` boots Linux to a shell; `make test` builds and runs all tests.

export DOTNET_CLI_TELEMETRY_OPTOUT = 1
export DOTNET_NOLOGO = 1

BUILD = dotnet build Vmm.sln -c Release --nologo -v quiet -clp:NoSummary
SOURCES := $(shell find src -path src/Daemon -prune -o \( -name "*.cs" -o -name "*.csproj" -o -name "*.c" -o -name start.order \) -print) Directory.Build.props Directory.Packages.props global.json

.PHONY: demo test test-distro build publish publish-daemon guest install deb check-package reference deps start-order bench-start bench-boot bench-run bench-machines bench-restore soak-snapshots check-timeline check-page format check-format clean bench bench-allocations bench-peers bench-devices

## demo: run a shell in a machine under Debian's own kernel (a few commands when standard input is no terminal)
demo:
	@scripts/demo

## test: build everything and run every test; without /dev/kvm those that need it run in firmware/kvm-host/run
test: deps
	@scripts/test

build: deps
	$(BUILD)

## publish: the native binary, out/vmm; with PIE=true at random addresses, which makes every start slower
publish: deps out/vmm

# The linker's work is kept by the build whatever this says.
PIE_STAMP = out/.pie-$(or $(PIE),false)
$(PIE_STAMP):
	@mkdir -p out
	@rm -f out/.pie-* out/artifacts/bin/Vmm/release_linux-x64/native/vmm
	@touch $@

out/vmm: $(SOURCES) $(PIE_STAMP)
	dotnet publish src/Vmm -c Release -o out --nologo -v quiet -clp:NoSummary $(if $(PIE),-p:PositionIndependentExecutable=$(PIE))
	@touch $@

## publish-daemon: the long-lived host, out/vmmd (docs/daemon.md)
publish-daemon: deps out/vmmd

out/vmmd: $(shell find src/Daemon -name "*.cs" -o -name "*.csproj") $(wildcard src/Vmm/Control/*.cs) Directory.Build.props Directory.Packages.props global.json
	dotnet publish src/Daemon -c Release -o out/daemon --nologo -v quiet -clp:NoSummary
	@cp out/daemon/vmmd out/vmmd
	@touch $@

## guest: the reference kernel and root file system, out/guest/{vmlinux,bzImage,rootfs.img}
guest:
	@firmware/kernel/build
	@firmware/rootfs/build

## start-order: write src/Vmm/start.order anew, the methods that a start calls (by valgrind; see scripts/start-order)
start-order: publish
	@scripts/start-order

## bench-start: how fast it starts and how small it is, beside QEMU; the README's figures
bench-start: publish guest
	@scripts/bench-start

## bench-boot: bzImage unpacked by vmm beside by the guest, vmm's own part of a start, exits until init
bench-boot: publish guest
	@scripts/bench-boot

## bench-run: what vmm run adds to a boot, its streams beside socat, its shares beside QEMU, eight at once
bench-run: publish guest
	@scripts/bench-run

## bench-restore: a saved machine's way to its next instruction by each --lazy, beside a cold start, and what is read for it
bench-restore: publish guest
	@scripts/bench-restore

## bench-machines: what a name costs, vmm ps and vmmd with a hundred machines, starts through vmmd, vmm exec
bench-machines: publish publish-daemon guest
	@scripts/bench-machines

## soak-snapshots: Linux under load is saved, killed and restored a hundred times, or ROUNDS=N (make test does a few)
soak-snapshots: publish guest
	dotnet build tests/Guest.Tests -c Release --nologo -v quiet -clp:NoSummary
	@ROUNDS=$(or $(ROUNDS),100) dotnet vstest out/artifacts/bin/Guest.Tests/release/Guest.Tests.dll \
		--TestCaseFilter:FullyQualifiedName~SavedUnderLoad --logger:"console;verbosity=detailed"

## check-timeline: boot the reference guest, write its timeline as a page, open it in headless Chromium (a big install)
check-timeline: publish guest
	@scripts/check-timeline

## check-page: vmmd's page in headless Chromium (a big install): stand-ins for machines, and a real one where there is KVM
check-page: deps
	@scripts/check-page

# FILTER=TEXT runs only what has that in its class or name.
BENCH = dotnet out/artifacts/bin/Vmm.Bench/release/Vmm.Bench.dll

## bench: exits, queues, buses, the assist, the machine; a short job, or FULL=1; results in out/bench/
bench: deps
	dotnet build bench/Vmm.Bench -c Release --nologo -v quiet -clp:NoSummary
	@bench/run $(if $(FULL),--full) $(if $(FILTER),--filter "$(FILTER)")

## bench-allocations: the budgets of 0 bytes alone, in seconds (make test checks them, too)
bench-allocations: deps
	dotnet build bench/Vmm.Bench -c Release --nologo -v quiet -clp:NoSummary
	@$(BENCH) allocations $(if $(FILTER),--filter "$(FILTER)")

## bench-peers: vmm beside QEMU and what else is on PATH, in turns; the table goes to out/bench/
bench-peers: publish guest
	@bench/peers/run

## bench-devices: disk and queues from the device's side beside fio, exits per request in a guest, memory of idle devices
bench-devices: build publish guest
	@scripts/bench-devices

## test-distro: boot Debian's stock cloud kernel (or KERNEL=debian-rt) to a shell; a quarter of an hour on PVM
test-distro: publish
	@scripts/test-distro

# Where `make install` puts things; DESTDIR is a directory in front of it, for those who make packages.
PREFIX ?= /usr/local

## install: the binaries, a manual page for each command, completions for bash, zsh and fish (PREFIX=, DESTDIR=)
install: publish publish-daemon
	@scripts/install "$(DESTDIR)$(PREFIX)"

## deb: out/vmm_VERSION_ARCHITECTURE.deb, the same as a Debian package
deb: publish publish-daemon
	@scripts/deb

## check-package: manual pages, completions, lintian; installs the package and removes it again
check-package: publish publish-daemon
	@scripts/check-package

## reference: docs/reference.md and docs/vmm.schema.json, from the descriptions that help prints
reference:
	dotnet build src/Vmm -c Release --nologo -v quiet -clp:NoSummary
	@dotnet out/artifacts/bin/Vmm/release_linux-x64/vmm.dll manual markdown >docs/reference.md.new
	@mv docs/reference.md.new docs/reference.md
	@dotnet out/artifacts/bin/Vmm/release_linux-x64/vmm.dll manual schema >docs/vmm.schema.json.new
	@mv docs/vmm.schema.json.new docs/vmm.schema.json

## deps: install by apt what is missing of what the build needs
deps:
	@scripts/deps

## format: apply the code style
format:
	dotnet format Vmm.sln

## check-format: fail when `make format` would change something
check-format:
	dotnet format Vmm.sln --verify-no-changes

clean:
	rm -rf out
