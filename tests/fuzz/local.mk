# Fuzz targets for every reader of foreign files, and for plans. `make check` runs each on its seeds and on a fixed set
# of mutations (driver.c). Configured with --enable-fuzzing (clang), they are libFuzzer programs: `make fuzz
# FUZZ_SECONDS=60`.
fuzz_targets = %D%/fuzz_cache %D%/fuzz_fcd %D%/fuzz_features %D%/fuzz_json %D%/fuzz_plan %D%/fuzz_safetensors \
  %D%/fuzz_shard %D%/fuzz_text %D%/fuzz_tokenizer %D%/fuzz_yaml

%C%_fuzz_cache_SOURCES = %D%/fuzz_cache.c %D%/fuzz.h
%C%_fuzz_fcd_SOURCES = %D%/fuzz_fcd.c %D%/fuzz.h
%C%_fuzz_features_SOURCES = %D%/fuzz_features.c %D%/fuzz.h
%C%_fuzz_json_SOURCES = %D%/fuzz_json.c %D%/fuzz.h
%C%_fuzz_plan_SOURCES = %D%/fuzz_plan.c %D%/plan_graph.c %D%/plan_graph.h %D%/plan_makers.h %D%/plan_models.c \
	%D%/plan_alone.c %D%/fuzz.h
%C%_fuzz_safetensors_SOURCES = %D%/fuzz_safetensors.c %D%/fuzz.h
%C%_fuzz_shard_SOURCES = %D%/fuzz_shard.c %D%/fuzz.h
%C%_fuzz_text_SOURCES = %D%/fuzz_text.c %D%/fuzz.h
%C%_fuzz_tokenizer_SOURCES = %D%/fuzz_tokenizer.c %D%/fuzz.h
%C%_fuzz_yaml_SOURCES = %D%/fuzz_yaml.c %D%/fuzz.h
%C%_fuzz_cache_LDADD = $(LDADD) $(ZLIB_LIBS)
%C%_fuzz_features_LDADD = $(LDADD) $(ZLIB_LIBS)
%C%_fuzz_shard_LDADD = $(LDADD) $(ZLIB_LIBS)

if FUZZING
check_helpers += $(fuzz_targets)
%C%_fuzz_cache_LDFLAGS = -fsanitize=fuzzer
%C%_fuzz_fcd_LDFLAGS = -fsanitize=fuzzer
%C%_fuzz_features_LDFLAGS = -fsanitize=fuzzer
%C%_fuzz_json_LDFLAGS = -fsanitize=fuzzer
%C%_fuzz_plan_LDFLAGS = -fsanitize=fuzzer
%C%_fuzz_safetensors_LDFLAGS = -fsanitize=fuzzer
%C%_fuzz_shard_LDFLAGS = -fsanitize=fuzzer
%C%_fuzz_text_LDFLAGS = -fsanitize=fuzzer
%C%_fuzz_tokenizer_LDFLAGS = -fsanitize=fuzzer
%C%_fuzz_yaml_LDFLAGS = -fsanitize=fuzzer
else
c_tests += $(fuzz_targets)
%C%_fuzz_cache_SOURCES += %D%/driver.c
%C%_fuzz_fcd_SOURCES += %D%/driver.c
%C%_fuzz_features_SOURCES += %D%/driver.c
%C%_fuzz_json_SOURCES += %D%/driver.c
%C%_fuzz_plan_SOURCES += %D%/driver.c
%C%_fuzz_safetensors_SOURCES += %D%/driver.c
%C%_fuzz_shard_SOURCES += %D%/driver.c
%C%_fuzz_text_SOURCES += %D%/driver.c
%C%_fuzz_tokenizer_SOURCES += %D%/driver.c
%C%_fuzz_yaml_SOURCES += %D%/driver.c
endif

# FUZZ_JOBS of them at a time, each for so many seconds (run.sh).
FUZZ_SECONDS = 60
FUZZ_JOBS = 1
fuzz: $(BUILT_SOURCES)
	@$(MAKE) $(AM_MAKEFLAGS) $(fuzz_targets)
	@printf '%s\n' $(fuzz_targets) | xargs -P $(FUZZ_JOBS) -I TARGET \
	  $(SHELL) $(srcdir)/tests/fuzz/run.sh TARGET $(FUZZ_SECONDS) $(abs_srcdir)/tests/fuzz/seeds
.PHONY: fuzz
CLEANFILES += %D%/*.fuzz.log %D%/*.fuzz.trs fuzz_*.input

EXTRA_DIST += %D%/make_seeds.py %D%/run.sh %D%/seeds
