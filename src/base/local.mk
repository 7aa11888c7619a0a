# Base: errors, memory, threads, random numbers, files, log, paths.
libsonde_la_SOURCES += %D%/error.c %D%/error.h
