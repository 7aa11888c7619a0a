# Ops. libsonde_la_SOURCES += %D%/x.c %D%/x.h
libsonde_la_SOURCES += %D%/matmul.c %D%/norm.c %D%/rope.c %D%/attention.c %D%/loss.c %D%/rows.h
