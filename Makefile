# SPDX-License-Identifier: Apache-2.0
# xmpp-sidecar: one makefile for everything.  "make help" lists the targets.

MODE ?= release
MODES := debug release asan fuzz
ifeq ($(filter $(MODE),$(MODES)),)
$(error MODE must be one of $(MODES))
endif

CC ?= cc
PREFIX ?= /usr
SYSCONFDIR ?= /etc
UNITDIR ?= $(PREFIX)/lib/systemd/system
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
TMPFILESDIR ?= $(PREFIX)/lib/tmpfiles.d
PYTHON ?= /usr/bin/python3
VERSION := 0.1.0
JOBS ?= $(shell nproc)# for what people ask for; one by one with JOBS=1
FILES ?= $(shell expr 3 \* $(JOBS))# of integration tests at once: they mostly wait

SERVERS := ejabberd prosody openfire generic
B := build/$(MODE)
LAYERS := base store archive apns component config sidecar
PKGS := libevent_core libevent_extra expat libpq libnghttp2 openssl libcurl \
        libcjson yaml-0.1 libidn libsystemd

WARN := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wstrict-prototypes \
        -Wmissing-prototypes -Wold-style-definition -Wformat=2 -Wundef -Wvla -Wcast-qual \
        -Wwrite-strings -Wpointer-arith -Wimplicit-fallthrough -Werror
# clang looks into OpenSSL's macros, gcc does not.
ifneq ($(findstring clang,$(CC)),)
WARN += -Wno-cast-qual
endif
OPT_debug := -O0 -g3 -DSIDECAR_FAILPOINTS
OPT_release := -O2 -g -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIE
LD_release := -pie -Wl,-z,relro,-z,now
OPT_asan := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all \
            -DSIDECAR_FAILPOINTS -Wno-maybe-uninitialized # which instrumented code makes the compiler see everywhere
LD_asan := -fsanitize=address,undefined
OPT_fuzz := -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
LD_fuzz := -fsanitize=fuzzer,address,undefined

PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
PKG_LIBS := $(shell pkg-config --libs $(PKGS) 2>/dev/null)
ALL_CFLAGS = -std=c17 -D_GNU_SOURCE -I. -DSIDECAR_VERSION='"$(VERSION)"' $(WARN) $(OPT_$(MODE)) \
             $(PKG_CFLAGS) $(CFLAGS)
ALL_LIBS = $(LD_$(MODE)) $(PKG_LIBS) $(LDFLAGS)

SRC := $(filter-out sidecar/main.c,$(foreach l,$(LAYERS),$(wildcard $(l)/*.c)))
OBJ := $(SRC:%.c=$(B)/obj/%.o) $(B)/obj/store/schema_data.o
SCHEMA := $(sort $(wildcard store/schema/*.sql))
# The largest first: most of them take longest.
UNITS := $(patsubst tests/unit/test_%.c,%,$(shell ls -S tests/unit/test_*.c))
LOADGEN := $(wildcard tests/bench/loadgen/*.c)
BENCHES := $(patsubst tests/bench/%.c,$(B)/bench/%,$(wildcard tests/bench/*.c)) $(B)/bench/loadgen
GATEWAY := $(wildcard tests/gateway/*.c)
FUZZERS := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))

# V=1 shows whole commands.
ifdef V
run = $(1)
else
run = @echo "  $(2) $(3)"; $(1)
endif

.DELETE_ON_ERROR:
.SECONDARY:

all: deps-build ## build the program (MODE=release|debug|asan)
	@$(MAKE) --no-print-directory $(B)/xmpp-sidecar

$(B)/xmpp-sidecar: $(B)/obj/sidecar/main.o $(B)/libsidecar.a
	$(call run,$(CC) -o $@ $^ $(ALL_LIBS),LD,$@)

$(B)/libsidecar.a: $(OBJ)
	@rm -f $@
	$(call run,ar rcs $@ $^,AR,$@)

$(B)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(call run,$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<,CC,$<)

# The migrations travel inside the program: one C array per file.  The folder changes when one is
# removed.
$(B)/gen/schema_data.c: $(SCHEMA) store/schema store/schema/embed.sh
	@mkdir -p $(@D)
	sh store/schema/embed.sh $(SCHEMA) >$@
$(B)/obj/store/schema_data.o: $(B)/gen/schema_data.c
	@mkdir -p $(@D)
	$(call run,$(CC) $(ALL_CFLAGS) -c -o $@ $<,CC,$<)

$(B)/unit/loadgen: $(filter-out %/main.o,$(LOADGEN:%.c=$(B)/obj/%.o))
$(B)/unit/%: $(B)/obj/tests/unit/test_%.o $(B)/libsidecar.a
	@mkdir -p $(@D)
	$(call run,$(CC) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(ALL_LIBS) -levent_openssl -lcmocka \
	  -lm,LD,$@)

unit-%: ## build and run one unit test, e.g. make unit-jid
	@$(MAKE) --no-print-directory MODE=asan build/asan/unit/$*
	SIDECAR_ROOT=$(CURDIR) build/asan/unit/$*

$(B)/strict-gateway: $(GATEWAY:%.c=$(B)/obj/%.o)
	$(call run,$(CC) -o $@ $^ $(ALL_LIBS),LD,$@)

# A client of the tests.
$(B)/libstrophe-walk: $(B)/obj/tests/clients/libstrophe_walk.o
	$(call run,$(CC) -o $@ $^ $(ALL_LIBS) -lstrophe,LD,$@)

# One program of several files; its test links them, too.
$(B)/bench/loadgen: $(LOADGEN:%.c=$(B)/obj/%.o) $(B)/libsidecar.a
	@mkdir -p $(@D)
	$(call run,$(CC) -o $@ $^ $(ALL_LIBS) -lm,LD,$@)

$(B)/bench/%: $(B)/obj/tests/bench/%.o $(B)/libsidecar.a
	@mkdir -p $(@D)
	$(call run,$(CC) -o $@ $^ $(ALL_LIBS),LD,$@)

$(B)/replay/%: $(B)/obj/tests/fuzz/fuzz_%.o $(B)/obj/tests/fuzz/replay.o $(B)/libsidecar.a
	@mkdir -p $(@D)
	$(call run,$(CC) -o $@ $^ $(ALL_LIBS),LD,$@)

$(B)/fuzz/%: $(B)/obj/tests/fuzz/fuzz_%.o $(B)/libsidecar.a
	@mkdir -p $(@D)
	$(call run,$(CC) -o $@ $^ $(ALL_LIBS),LD,$@)

deps-build:
	@sh tests/deps.sh build
deps-test:
	@sh tests/deps.sh test

check: deps-test ## layers, headers, unit tests and fuzzing corpus under ASan and UBSan
	@$(MAKE) --no-print-directory -j$(JOBS) MODE=asan check-built
check-built: layers headers conformance $(UNITS:%=$(B)/unit/%) $(FUZZERS:%=$(B)/replay/%)
	@SIDECAR_ROOT=$(CURDIR) JOBS=$$((2 * $(JOBS))) sh tests/unit/run.sh $(UNITS:%=$(B)/unit/%)
	@for f in $(FUZZERS); do $(B)/replay/$$f tests/fuzz/corpus/$$f || exit 1; done; echo "corpus: ok"

conformance: ## every test that docs/conformance.md names exists, and docs/servers.md is true
	@$(PYTHON) tests/conformance.py
	@$(PYTHON) tests/servers.py

layers: ## the direction of includes, and no foreign library in a header
	@sh tests/layers.sh

headers: ## every header compiles on its own
	@for h in $(foreach l,$(LAYERS),$(wildcard $(l)/*.h)); do \
	  printf '#include "%s"\ntypedef int nothing;\n' "$$h" | \
	  $(CC) $(ALL_CFLAGS) -x c -fsyntax-only - || exit 1; done; echo "headers: ok"

integration: deps-test ## tests against real servers
	@$(MAKE) --no-print-directory -j$(JOBS) MODE=asan integration-built
integration-built: $(B)/xmpp-sidecar $(B)/strict-gateway $(B)/libstrophe-walk
	SIDECAR_BUILD=$(CURDIR)/$(B) $(PYTHON) -m pytest -q -n $(FILES) --dist loadgroup \
	  tests/integration $(PYTEST)
	@test -n "$(PYTEST)" || $(PYTHON) tests/servers.py --proven build/abilities.json

test-openfire: deps-test ## the same tests on an installed Openfire: OPENFIRE_HOME=/usr/share/openfire
	@test -n "$(OPENFIRE_HOME)" || { echo "OPENFIRE_HOME= says where it is installed"; exit 2; }
	@$(MAKE) --no-print-directory -j$(JOBS) MODE=asan test-openfire-built
test-openfire-built: $(B)/xmpp-sidecar $(B)/strict-gateway
	OPENFIRE_HOME=$(OPENFIRE_HOME) SIDECAR_BUILD=$(CURDIR)/$(B) $(PYTHON) -m pytest -q -m servers \
	  -k openfire tests/integration $(PYTEST)

SECONDS ?= 600
SEED ?= 0
chaos: deps-test ## random faults under load: SECONDS=600, SEED= of a run to have it again; 40 stories of reading
	@$(MAKE) --no-print-directory MODE=asan chaos-built
STORIES ?= 40
chaos-built: $(B)/xmpp-sidecar $(B)/strict-gateway $(B)/unit/unread_story $(B)/unit/commit_story
	SIDECAR_TEST_SEED=$${STORY:-$$(shuf -i 1-1000000 -n 1)} SIDECAR_TEST_SEEDS=$(STORIES) \
	  SIDECAR_ROOT=$(CURDIR) sh tests/unit/run.sh $(B)/unit/unread_story $(B)/unit/commit_story
	SIDECAR_BUILD=$(CURDIR)/$(B) CHAOS_SECONDS=$(SECONDS) CHAOS_SEED=$(SEED) \
	  $(PYTHON) -m pytest -q -s tests/integration/test_chaos.py -k at_random

SOAK_SECONDS ?= 3600
SOAK_SEED ?= 0
soak: deps-test ## an hour of whatever a gateway does: SOAK_SECONDS=3600, SOAK_SEED= of a run
	@$(MAKE) --no-print-directory MODE=release soak-built
soak-built: $(B)/xmpp-sidecar $(B)/strict-gateway
	SIDECAR_BUILD=$(CURDIR)/$(B) SOAK_SECONDS=$(SOAK_SECONDS) SOAK_SEED=$(SOAK_SEED) \
	  $(PYTHON) -m pytest -q -s tests/integration/test_soak.py::test_soak

browser: ## Converse.js in a headless Chromium pages through the archive; makes docs/converse.png
	@sh tests/deps.sh browser
	@$(MAKE) --no-print-directory -j$(JOBS) MODE=asan browser-built
browser-built: $(B)/xmpp-sidecar $(B)/strict-gateway
	BROWSER=1 SIDECAR_BUILD=$(CURDIR)/$(B) $(PYTHON) -m pytest -q tests/integration/test_converse.py

test: check integration ## every test (installs what is missing)

demo: deps-test ## the whole story on this machine, cleaned up afterwards
	@$(MAKE) --no-print-directory -j$(JOBS) MODE=release demo-built
demo-built: $(B)/xmpp-sidecar $(B)/strict-gateway
	@SIDECAR_BUILD=$(CURDIR)/$(B) $(PYTHON) tests/demo/demo.py

bench: deps-test ## benchmarks as ratios; writes build/bench.json
	@$(MAKE) --no-print-directory MODE=release bench-built
bench-built: $(B)/xmpp-sidecar $(B)/strict-gateway $(BENCHES)
	SIDECAR_BUILD=$(CURDIR)/$(B) $(PYTHON) tests/bench/bench.py $(BENCH)

sustained: ## ten minutes at 80 % of the peak (SUSTAINED_SECONDS=600)
	@$(MAKE) --no-print-directory bench BENCH=sustained

fuzz: ## libFuzzer on everything that reads bytes (FUZZ_SECONDS=60 each)
	@$(MAKE) --no-print-directory MODE=fuzz CC=clang fuzz-built
FUZZ_SECONDS ?= 60
fuzz-built: $(FUZZERS:%=$(B)/fuzz/%)
	@sed -n 's/^ *W(\(".*"\)),$$/\1/p' base/xml_intern.c >$(B)/words.dict
	@for f in $(FUZZERS); do mkdir -p $(B)/corpus/$$f; \
	  $(B)/fuzz/$$f -max_total_time=$(FUZZ_SECONDS) -dict=$(B)/words.dict $(B)/corpus/$$f \
	  tests/fuzz/corpus/$$f || exit 1; done

TIDY := $(filter-out store/schema_data.c,$(SRC)) sidecar/main.c
tidy: ## clang-tidy and cppcheck, one file per run
	@for f in $(TIDY); do clang-tidy --quiet $$f -- $(filter-out -Werror,$(ALL_CFLAGS)) || exit 1; done
	cppcheck --quiet --error-exitcode=1 --enable=warning,portability,performance \
	  --inline-suppr --suppress=missingIncludeSystem -I. $(LAYERS)

FORMATTED = $(shell git ls-files '*.c' '*.h')
format: ## let clang-format decide the layout
	clang-format -i $(FORMATTED)
format-check:
	clang-format --dry-run --Werror $(FORMATTED)

install: all ## DESTDIR= PREFIX= SYSCONFDIR= UNITDIR=
	install -D -m 0755 $(B)/xmpp-sidecar $(DESTDIR)$(PREFIX)/bin/xmpp-sidecar
	install -D -m 0644 systemd/xmpp-sidecar.service $(DESTDIR)$(UNITDIR)/xmpp-sidecar.service
	install -D -m 0644 systemd/xmpp-sidecar.sysusers $(DESTDIR)$(SYSUSERSDIR)/xmpp-sidecar.conf
	install -D -m 0644 systemd/xmpp-sidecar.tmpfiles $(DESTDIR)$(TMPFILESDIR)/xmpp-sidecar.conf
	install -D -m 0640 config/sidecar.yml $(DESTDIR)$(SYSCONFDIR)/xmpp-sidecar/sidecar.yml.example
	for server in $(SERVERS); do install -D -m 0644 \
	  -t $(DESTDIR)$(PREFIX)/share/doc/xmpp-sidecar/$$server config/$$server/* || exit 1; done
	install -D -m 0644 README.md $(DESTDIR)$(PREFIX)/share/doc/xmpp-sidecar/README.md

install-gateway: $(B)/strict-gateway ## the strict stand-in for push services, for app teams
	install -D -m 0755 $(B)/strict-gateway $(DESTDIR)$(PREFIX)/bin/xmpp-sidecar-gateway
	install -D -m 0644 man/xmpp-sidecar-gateway.1 \
	  $(DESTDIR)$(PREFIX)/share/man/man1/xmpp-sidecar-gateway.1

clean: ## remove everything that was built
	rm -rf build

help: ## this text
	@sed -n 's/^\([a-z%-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

.PHONY: all check check-built conformance layers headers integration integration-built \
        test-openfire test-openfire-built browser browser-built chaos chaos-built soak soak-built test demo demo-built \
        bench bench-built sustained fuzz fuzz-built tidy format format-check install install-gateway clean help \
        deps-build deps-test

-include $(shell find $(B) -name '*.d' 2>/dev/null)
