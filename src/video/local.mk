# Video: decoding (FFmpeg's libraries are opened at run time; without their headers it says so), motion, features.
libsonde_la_SOURCES += %D%/analyse.c %D%/analyse.h %D%/decode.c %D%/decode.h %D%/features.c %D%/features.h %D%/ffmpeg.c \
  %D%/ffmpeg.h %D%/media.c %D%/media.h %D%/motion.c %D%/motion.h %D%/planar.c %D%/planar.h %D%/sweep.c %D%/sweep.h
