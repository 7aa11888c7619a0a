# Tests of src/video. Videos are made when they are needed, by libavcodec.
c_tests += %D%/analyse_test %D%/decode_test %D%/features_test %D%/motion_test %D%/planar_test
%C%_analyse_test_SOURCES = %D%/analyse_test.c %D%/picture.h
%C%_decode_test_SOURCES = %D%/decode_test.c %D%/make_video.c %D%/make_video.h %D%/picture.h
%C%_decode_test_CFLAGS = $(AM_CFLAGS) $(FFMPEG_CFLAGS)
%C%_decode_test_LDADD = $(LDADD) $(FFMPEG_LIBS)
%C%_features_test_SOURCES = %D%/features_test.c %D%/make_video.c %D%/make_video.h %D%/picture.h
%C%_features_test_CFLAGS = $(AM_CFLAGS) $(FFMPEG_CFLAGS)
%C%_features_test_LDADD = $(LDADD) $(FFMPEG_LIBS)
%C%_motion_test_SOURCES = %D%/motion_test.c %D%/picture.h
%C%_planar_test_SOURCES = %D%/planar_test.c %D%/picture.h
lua_tests += %D%/clips.lua %D%/feed.lua %D%/metrics.lua %D%/reading.lua
bats_tests += %D%/make.bats %D%/watch.bats
EXTRA_DIST += %D%/made.lua
