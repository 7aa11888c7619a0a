# Records: run folders, locks, metrics, the result database.
libsonde_la_SOURCES += %D%/db.c %D%/db.h %D%/db_internal.h %D%/db_query.c \
  %D%/lock.c %D%/lock.h %D%/metrics.c %D%/metrics.h %D%/origin.c %D%/origin.h \
  %D%/run.c %D%/run.h %D%/scan.c %D%/scan.h %D%/tfevents.c %D%/tfevents.h
nodist_libsonde_la_SOURCES = commit.h

# The git commit that the program is made from, for the provenance of results, with "+changes" when files differ
# from it; empty outside a checkout. The file changes only when this does.
BUILT_SOURCES += commit.h
CLEANFILES += commit.h
.PHONY: look-at-commit
look-at-commit:
commit.h: look-at-commit
	$(AM_V_at)c=`test -e '$(top_srcdir)/.git' && git -C '$(top_srcdir)' rev-parse HEAD 2>/dev/null` || c=; \
	  test -z "$$c" || git -C '$(top_srcdir)' diff --quiet HEAD 2>/dev/null || c="$$c+changes"; \
	  echo "#define SONDE_COMMIT \"$$c\"" > $@.tmp; \
	  if cmp -s $@.tmp $@; then rm -f $@.tmp; else mv $@.tmp $@; fi
