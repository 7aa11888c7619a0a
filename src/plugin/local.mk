# Plugins: interface, loader, registry, sites, options, conformance kit.
libsonde_la_SOURCES += \
  %D%/entry.c %D%/host.c %D%/host.h %D%/loader.c %D%/loader.h %D%/options.c %D%/options.h %D%/registry.c \
  %D%/registry.h %D%/site.c %D%/site.h
