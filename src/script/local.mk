# The Lua binding: part of the program, not of libsonde.
sonde_SOURCES += %D%/script.h %D%/script.c %D%/handle.c %D%/argument.c %D%/result.c %D%/bind_tensor.c %D%/bind_graph.c \
  %D%/bind_plan.c %D%/bind_params.c %D%/bind_weights.c %D%/bind_module.c %D%/bind_tree.c %D%/bind_files.c \
  %D%/bind_windows.c %D%/bind_terminal.c
sonde_SOURCES += %D%/bind_record.c
sonde_SOURCES += %D%/bind_bench.c
sonde_SOURCES += %D%/bind_text.c
sonde_SOURCES += %D%/bind_plugin.c
sonde_SOURCES += %D%/bind_feed.c %D%/bind_teacher.c %D%/bind_train.c
sonde_SOURCES += %D%/bind_decode.c
sonde_SOURCES += %D%/bind_linalg.c
sonde_SOURCES += %D%/bind_eval.c
sonde_SOURCES += %D%/bind_serve.c
sonde_SOURCES += %D%/bind_clips.c %D%/bind_video.c
sonde_SOURCES += %D%/bind_sparsity.c
sonde_SOURCES += %D%/bind_process.c
