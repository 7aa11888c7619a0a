# The test harness: every test prints TAP, and automake's driver counts it, so that a crash, a missing plan or too
# few results is an error even when the exit status is 0.

include tests/harness/local.mk
include tests/drive/local.mk
include tests/fuzz/local.mk
include tests/base/local.mk
include tests/cpu/local.mk
include tests/graph/local.mk
include tests/ops/local.mk
include tests/io/local.mk
include tests/text/local.mk
include tests/plugin/local.mk
include tests/record/local.mk
include tests/train/local.mk
include tests/script/local.mk
include tests/cli/local.mk
include tests/lua/local.mk
include tests/report/local.mk
include tests/norms/local.mk
include tests/prune/local.mk
include tests/sparse/local.mk
include tests/probes/local.mk
include tests/serve/local.mk
include tests/video/local.mk
include tests/logs/local.mk
include tests/distill/local.mk
include tests/reference/local.mk

# For the C tests; a program with an LDADD of its own repeats it.
AM_TEST_LIBS = libsonde_core.la $(CMOCKA_LIBS)
LDADD = $(AM_TEST_LIBS)

TEST_EXTENSIONS = .lua .bats
LOG_DRIVER = env AM_TAP_AWK='$(AWK)' $(SHELL) $(top_srcdir)/build-aux/tap-driver.sh
LUA_LOG_DRIVER = $(LOG_DRIVER)
LUA_LOG_COMPILER = $(abs_top_builddir)/sonde
AM_LUA_LOG_FLAGS = run
BATS_LOG_DRIVER = $(LOG_DRIVER)
BATS_LOG_COMPILER = $(BATS)
AM_BATS_LOG_FLAGS = --formatter tap

# Test programs stand in folders of their own, so the look-up beside the program does not help them. Leak checks
# are off where another program loads the library (LuaJIT frees nothing at its end). What is cached stays in the build
# tree: a test neither needs nor fills the user's own.
AM_TESTS_ENVIRONMENT = SONDE_PLUGIN_PATH=`$(SED) -n 's/^plugin //p' '$(abs_top_builddir)/sonde-paths' | tr '\n' ':'`; \
  export SONDE_PLUGIN_PATH; SONDE_LUA_PATH='$(abs_top_srcdir)/lua'; export SONDE_LUA_PATH; \
  SONDE='$(abs_top_builddir)/sonde'; export SONDE; abs_srcdir='$(abs_top_srcdir)'; export abs_srcdir; \
  abs_builddir='$(abs_top_builddir)'; export abs_builddir; LUAJIT='$(LUAJIT)'; export LUAJIT; CC='$(CC)'; export CC; \
  LUA_CFLAGS='$(LUA_CFLAGS)'; export LUA_CFLAGS; CMOCKA_MESSAGE_OUTPUT=TAP; export CMOCKA_MESSAGE_OUTPUT; TERM=dumb; \
  export TERM; SONDE_CACHE='$(abs_top_builddir)/tests/cache'; export SONDE_CACHE;

EXTRA_DIST += $(lua_tests) $(bats_tests)

mostlyclean-local:
	-rm -rf tests/cache

# What .ci/run leaves out under the sanitizers: tests whose time is mostly starts of the program (each checks for leaks
# at its end), while the code behind them has tests of its own. `make check` runs all in any tree.
slow_with_sanitizers = tests/cli/docs.bats tests/cli/json.bats tests/plugin/command.bats tests/plugin/old_header.bats \
  tests/probes/command.bats tests/prune/command.bats tests/report/experiment.bats tests/train/goes_on.bats \
  tests/train/kill_test

if CAN_CHECK
check-sanitized:
	chosen=`for t in $(TESTS); do case ' $(slow_with_sanitizers) ' in *" $$t "*) ;; *) echo $$t ;; esac; done`; \
	$(MAKE) check TESTS="`echo $$chosen`"

check_PROGRAMS = $(c_tests) $(check_helpers)
TESTS = $(c_tests) $(lua_tests) $(bats_tests)
else
check-local:
	@echo "make check needs what configure did not find; on Debian: apt install $(CHECK_MISSING);" \
	  "elsewhere run configure again afterwards" >&2; exit 1
endif
