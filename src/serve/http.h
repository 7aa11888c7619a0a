/* http.h - an HTTP server for one computing thread. libmicrohttpd's thread reads requests from any number of
 * connections and writes the answers; whole requests wait in a queue, from which the computing thread takes and answers
 * one at a time. The server knows nothing of what a request means.
 *
 * It answers by itself: the fixed pages, a body over the limit (413), a full queue and requests during the stop (503).
 * These answers are JSON objects {"error": {"message", "type", "param", "code"}}, as OpenAI's API has them. */
#ifndef SONDE_SERVE_HTTP_H
#define SONDE_SERVE_HTTP_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

typedef struct sonde_http sonde_http;
typedef struct sonde_http_request sonde_http_request;

/* What GET and HEAD of a path give, without the queue: also while another request is being computed. JSON. */
typedef struct sonde_http_page { const char *path, *body; } sonde_http_page;

typedef struct sonde_http_opts {
  const char *host;                /* a numeric address to listen at: "127.0.0.1" */
  int port;                        /* 0: a free one */
  int64_t max_body;                /* bytes of a request's body, at most */
  int connections, waiting;        /* open connections, and requests in the queue, at most */
  const sonde_http_page *page;     /* copied */
  int n_pages;
  int (*is_stopping)(void);        /* from any thread: whether requests that arrive now are refused; NULL: not yet */
} sonde_http_opts;

/* Listens and starts to read requests. EIO: the address cannot be used; EINVAL: it is no numeric address. */
sonde_http *sonde_http_start(const sonde_http_opts *opts, sonde_error *err);
int sonde_http_port(const sonde_http *h);

/* Accepts no connection any more, and refuses further requests of the open ones; those in the queue stay there. */
void sonde_http_quiesce(sonde_http *h);

/* Refuses what is in the queue, waits until the answers are sent, but no longer than a few seconds, and frees the
 * server. All requests taken must have been dropped. */
void sonde_http_stop(sonde_http *h);

/* The next request; NULL: none arrived within `seconds`. The caller drops it in the end. */
sonde_http_request *sonde_http_take(sonde_http *h, double seconds);

const char *sonde_http_method(const sonde_http_request *r);                  /* "POST" */
const char *sonde_http_path(const sonde_http_request *r);                    /* "/v1/completions", without a query */
const char *sonde_http_body(const sonde_http_request *r, size_t *n);

/* The one answer to a request: whole, or begun, sent in parts and ended. The texts are copied. ENOMEM; EINVAL: the
 * request has its answer already. */
int sonde_http_answer(sonde_http_request *r, int status, const char *type, const char *body, size_t n,
                      sonde_error *err);
int sonde_http_begin(sonde_http_request *r, int status, const char *type, sonde_error *err);
int sonde_http_send(sonde_http_request *r, const char *data, size_t n, sonde_error *err);

/* Whether the client has closed its connection, or its sending side, so that nobody reads an answer. A system call. */
int sonde_http_gone(sonde_http_request *r);

/* What the log line of the request says behind its status. */
void sonde_http_note(sonde_http_request *r, const char *text);

/* Ends an answer that was begun; a request without one gets status 500. The request is not used any more. */
void sonde_http_drop(sonde_http_request *r);

#endif
