# Ops, one file a family.
libsonde_la_SOURCES += %D%/cache.c %D%/common.c %D%/common.h %D%/elementwise.c %D%/families.h %D%/reduce.c %D%/view.c \
  %D%/gather.c %D%/softmax.c %D%/dropout.c %D%/matmul.c %D%/norm.c %D%/rope.c %D%/attention.c %D%/attention.h \
  %D%/attention_blocks.c %D%/attention_grad.c %D%/attention_measure.c %D%/attention_tree.c %D%/attention_visible.c \
  %D%/distill.c %D%/documents.c %D%/head.c %D%/head.h \
  %D%/loss.c %D%/pointwise.c %D%/pointwise.h %D%/positions.c %D%/rows.c %D%/rows.h %D%/runtime.c %D%/teacher.c \
  %D%/top.c %D%/top.h %D%/topk.c \
  %D%/experts.c %D%/grouped.c
