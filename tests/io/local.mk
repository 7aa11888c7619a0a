# Tests of src/io.
c_tests += %D%/npz_test %D%/json_test %D%/unpack_test %D%/yaml_test %D%/safetensors_test
%C%_json_test_SOURCES = %D%/json_test.c
%C%_npz_test_SOURCES = %D%/npz_test.c
%C%_yaml_test_SOURCES = %D%/yaml_test.c
%C%_safetensors_test_SOURCES = %D%/safetensors_test.c
%C%_unpack_test_SOURCES = %D%/unpack_test.c
%C%_unpack_test_LDADD = $(LDADD) $(ZLIB_LIBS)
