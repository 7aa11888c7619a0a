# Tests of src/plugin and of the plugins.
c_tests += %D%/options_test
%C%_options_test_SOURCES = %D%/options_test.c
