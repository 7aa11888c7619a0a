# Tests of src/graph.
c_tests += %D%/trace_test %D%/plan_test %D%/autocast_test %D%/growth_test %D%/refresh_test
%C%_trace_test_SOURCES = %D%/trace_test.c %D%/make.h
%C%_plan_test_SOURCES = %D%/plan_test.c %D%/make.h
%C%_autocast_test_SOURCES = %D%/autocast_test.c %D%/make.h
%C%_growth_test_SOURCES = %D%/growth_test.c %D%/make.h
%C%_refresh_test_SOURCES = %D%/refresh_test.c %D%/make.h
