# Base: errors, crash messages, memory, threads, random numbers, files, log, paths.
libsonde_la_SOURCES += %D%/clock.h %D%/crash.c %D%/crash.h %D%/error.c %D%/error.h %D%/file.c %D%/file.h %D%/hash.h \
  %D%/log.c %D%/log.h %D%/mem.c %D%/mem.h %D%/mt19937.c %D%/mt19937.h %D%/paths.c %D%/paths.h %D%/pool.c %D%/pool.h \
  %D%/process.c %D%/process.h \
  %D%/rng.c %D%/rng.h %D%/sha256.c %D%/sha256.h %D%/temp.c %D%/temp.h
