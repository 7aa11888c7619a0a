# The program.
sonde_SOURCES += %D%/main.c
