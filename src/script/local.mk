# The Lua binding. sonde_SOURCES += %D%/x.c %D%/x.h
