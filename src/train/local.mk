# Training: schedules, the optimizer driver, checkpoints, the trainer.
libsonde_la_SOURCES += %D%/checkpoint.c %D%/checkpoint.h %D%/feed.c %D%/feed.h %D%/feed_samples.c %D%/feed_teacher.c \
  %D%/gather.c %D%/gather.h %D%/loop.c %D%/optimizer.c \
  %D%/optimizer.h %D%/schedule.c %D%/schedule.h %D%/trainer.c %D%/trainer.h %D%/trainer_state.h \
  %D%/teacher_cache.c %D%/teacher_cache.h %D%/tree.c %D%/tree.h
libsonde_la_SOURCES += %D%/decode.c %D%/decode.h %D%/sample.c %D%/sample.h
