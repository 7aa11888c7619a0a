# Tests of src/plugin. c_tests += %D%/x_test, %C%_x_test_SOURCES = %D%/x_test.c
