# Records: run folders, locks, metrics, the result database.
libsonde_la_SOURCES += %D%/lock.c %D%/lock.h %D%/metrics.c %D%/metrics.h
