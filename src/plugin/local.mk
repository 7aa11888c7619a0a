# Plugins. libsonde_la_SOURCES += %D%/x.c %D%/x.h
