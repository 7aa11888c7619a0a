# Files: JSON, YAML, weights, packed ones.
libsonde_la_SOURCES += %D%/bitmask.c %D%/bitmask.h
libsonde_la_SOURCES += %D%/bytes.c %D%/bytes.h %D%/gguf.c %D%/gguf.h %D%/item.c %D%/item.h %D%/json.c %D%/json.h \
  %D%/json_member.c %D%/llama2c.c %D%/npz.c %D%/npz.h %D%/safetensors.c %D%/safetensors.h %D%/safetensors_internal.h \
  %D%/safetensors_read.c %D%/safetensors_write.c %D%/unpack.c %D%/unpack.h %D%/yaml.c %D%/yaml.h %D%/yaml_scalar.c \
  %D%/yaml_scalar.h %D%/yaml_write.c
