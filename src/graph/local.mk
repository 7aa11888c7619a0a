# Graph: tracing, gradients, planning, running.
libsonde_la_SOURCES += \
  %D%/accumulate.c %D%/autocast.c %D%/ctx.c %D%/device.c %D%/dump.c %D%/exec.c %D%/exec.h \
  %D%/fuse.c %D%/fused.c %D%/fused.h %D%/remote.c \
  %D%/grad.c %D%/graph.c %D%/graph.h %D%/lower.c %D%/memory.c %D%/ops.h %D%/pack.c %D%/pack.h %D%/params.c \
  %D%/params.h %D%/plan.c %D%/plan.h %D%/recompute.c %D%/refresh.c %D%/refresh.h %D%/simplify.c %D%/views.c \
  %D%/views.h %D%/watch.c
