/* log.h - messages for the user: stderr, one line each, with a level. Below src/main nothing else prints. */
#ifndef SONDE_BASE_LOG_H
#define SONDE_BASE_LOG_H

enum { SONDE_LOG_QUIET = 0, SONDE_LOG_WARN = 1, SONDE_LOG_INFO = 2 };
void sonde_log_level(int level);                 /* default: SONDE_LOG_INFO */
void sonde_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void sonde_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
