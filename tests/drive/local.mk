# Tests of src/drive: the traffic simulator and its pictures.
drive_tests = %D%/conflict_test %D%/fcd_test %D%/picture_test %D%/raster_test %D%/sim_test
c_tests += $(drive_tests)
%C%_conflict_test_SOURCES = %D%/conflict_test.c
%C%_fcd_test_SOURCES = %D%/fcd_test.c
%C%_picture_test_SOURCES = %D%/picture_test.c
%C%_raster_test_SOURCES = %D%/raster_test.c
%C%_sim_test_SOURCES = %D%/sim_test.c
