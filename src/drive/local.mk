# A driving simulator: traffic, rasteriser, dash camera. Pictures must be the same with any compiler options, so
# there is no contraction to fused multiply-adds (exact.h).
noinst_LTLIBRARIES += libsonde_drive.la
libsonde_drive_la_SOURCES = %D%/conflict.c %D%/conflict.h %D%/exact.h %D%/fcd.c %D%/fcd.h \
  %D%/fcd_traffic.c %D%/look.c %D%/mesh.c %D%/mesh.h %D%/model.c \
  %D%/model.h %D%/picture.c %D%/picture.h %D%/raster.c %D%/raster.h %D%/scene.c %D%/scene.h %D%/scene_internal.h \
  %D%/scene_road.c %D%/scene_sides.c %D%/sim.c %D%/sim.h %D%/sim_internal.h %D%/sim_layout.c %D%/texture.c \
  %D%/texture.h
libsonde_drive_la_CFLAGS = $(AM_CFLAGS) $(EXPAT_CFLAGS) -ffp-contract=off
libsonde_la_LIBADD += libsonde_drive.la $(EXPAT_LIBS)
