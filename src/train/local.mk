# Training: schedules, the optimizer driver, checkpoints, the trainer.
libsonde_la_SOURCES += %D%/optimizer.c %D%/optimizer.h %D%/schedule.c %D%/schedule.h
