# Tensors: dtypes, shapes, buffers.
libsonde_la_SOURCES += %D%/tensor.c %D%/tensor.h %D%/bf16.h
