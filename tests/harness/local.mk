# Tests of the test harness, of the headers, and of the source tree.
bats_tests += %D%/tap.bats %D%/headers.bats %D%/layers.bats %D%/source.bats \
  %D%/uninstalled.bats

# The public header as LuaJIT's ffi.cdef takes it: no directives, no attributes, nothing of the system's headers.
check_DATA += sonde.cdef
CLEANFILES += sonde.cdef
sonde.cdef: src/sonde.h
	$(AM_V_GEN)rm -rf $@.stub && mkdir $@.stub && : > $@.stub/stdint.h && : > $@.stub/stddef.h && \
	$(CC) -E -P -nostdinc -I$@.stub -DSONDE_API= $(srcdir)/src/sonde.h > $@.tmp && rm -rf $@.stub && mv $@.tmp $@
EXTRA_DIST += %D%/fresh.sh %D%/installcheck.sh %D%/lint.sh %D%/helpers.bash
