# The HTTP server: part of the program, where libmicrohttpd is installed.
if HAVE_MICROHTTPD
sonde_SOURCES += %D%/http.c %D%/http.h
endif
