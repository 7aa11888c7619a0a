/* origin.h - where a result came from: the program and the machine. */
#ifndef SONDE_RECORD_ORIGIN_H
#define SONDE_RECORD_ORIGIN_H

#include <stddef.h>

const char *sonde_origin_commit(void);              /* git commit the program was built from; "" if from none */
void sonde_origin_machine(char *out, size_t n);     /* "AMD EPYC 9654, 2 cores, Linux 6.1.0" */
void sonde_origin_time(char out[32]);               /* now in UTC: "2025-01-31T12:00:00Z" */

#endif
