# Video: decoding and coding (FFmpeg's libraries are opened at run time; without their headers it says so), motion,
# features, clips of the driving simulator.
libsonde_la_SOURCES += %D%/analyse.c %D%/analyse.h %D%/decode.c %D%/decode.h %D%/encode.c %D%/encode.h %D%/features.c \
  %D%/features.h %D%/ffmpeg.c %D%/ffmpeg.h %D%/make.c %D%/make.h %D%/media.c %D%/media.h %D%/motion.c %D%/motion.h \
  %D%/planar.c %D%/planar.h %D%/sweep.c %D%/sweep.h
