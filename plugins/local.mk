# Plugins that are installed: sondeplugin_LTLIBRARIES += %D%/norm/x.la, and per plugin
# %C%_norm_x_la_SOURCES, %C%_norm_x_la_CPPFLAGS = $(MODCPPFLAGS), %C%_norm_x_la_LDFLAGS = $(MODFLAGS).
