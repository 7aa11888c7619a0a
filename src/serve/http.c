/* http.c - see http.h. A request that waits, and a part of an answer that is not there yet, suspend their connection;
 * the computing thread resumes it. One mutex guards the queue and all requests. */
#include "config.h"
#include "serve/http.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

enum { IDLE_SECONDS = 60, STOP_SECONDS = 5, BLOCK = 4096, NOTE = 160 };
enum { OK = 200, TOO_LARGE_STATUS = 413, FAILED = 500, UNAVAILABLE = 503 };

static const char STOPPING[] = "the server is stopping", GONE[] = "the client closed the connection";

typedef enum state { READING, TOO_LARGE, WAITING, ANSWERED, STREAMING } state;

struct sonde_http_request {
  sonde_http *h;
  struct MHD_Connection *connection;
  sonde_http_request *next;        /* in the queue */
  char *method, *path, *type;
  char *in, *out;                  /* the body; what is to be sent */
  size_t n_in, room_in, n_out, room_out, sent;
  state state;
  int status, ended, gone, suspended, socket;
  int refs;                        /* the connection's, and the taker's */
  double since;
  char note[NOTE];
};

struct sonde_http {
  struct MHD_Daemon *daemon;
  pthread_mutex_t lock;
  pthread_cond_t changed;          /* a request came into the queue, or one is over */
  sonde_http_request *first, *last;
  int n_waiting, n_open, quiet;
  int (*is_stopping)(void);
  int port, waiting, n_pages;
  int64_t max_body;
  struct page { char *path, *body; } *page;
};

/* ---- requests ----------------------------------------------------------------------------------------- */

static void free_request(sonde_http_request *r) {
  sonde_release(r->method), sonde_release(r->path), sonde_release(r->type);
  sonde_release(r->in), sonde_release(r->out), sonde_release(r);
}

/* Called with the lock. */
static void unref(sonde_http_request *r) {
  if (--r->refs == 0) free_request(r);
}

static int append(char **to, size_t *n, size_t *room, const char *data, size_t more) {
  if (*n + more > *room) {
    size_t wanted = *n + more + *room;
    char *grown = sonde_grow(*to, *room, wanted);
    if (!grown) return 0;
    *to = grown, *room = wanted;
  }
  if (more) memcpy(*to + *n, data, more);
  *n += more;
  return 1;
}

static sonde_http_request *new_request(sonde_http *h, struct MHD_Connection *c, const char *method, const char *path) {
  sonde_http_request *r = sonde_alloc(sizeof *r);
  if (!r) return NULL;
  r->h = h, r->connection = c, r->refs = 1, r->since = sonde_clock_seconds();
  r->socket = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
  if (!(r->method = sonde_strdup(method)) || !(r->path = sonde_strdup(path))) {
    free_request(r);
    return NULL;
  }
  pthread_mutex_lock(&h->lock);
  h->n_open++;
  pthread_mutex_unlock(&h->lock);
  return r;
}

/* ---- answers, in libmicrohttpd's thread ------------------------------------------------------------------ */

/* Bytes of an answer that is sent in parts. */
static ssize_t next_bytes(void *cls, uint64_t at, char *to, size_t most) {
  (void)at;
  sonde_http_request *r = cls;
  ssize_t n = 0;
  pthread_mutex_lock(&r->h->lock);
  size_t left = r->n_out - r->sent;
  if (left) {
    n = (ssize_t)(left < most ? left : most);
    memcpy(to, r->out + r->sent, (size_t)n);
    r->sent += (size_t)n;
    if (r->sent == r->n_out) r->sent = r->n_out = 0;
  } else if (r->ended) {
    n = MHD_CONTENT_READER_END_OF_STREAM;
  } else {
    r->suspended = 1;
    MHD_suspend_connection(r->connection);
  }
  pthread_mutex_unlock(&r->h->lock);
  return n;
}

static enum MHD_Result respond_with(sonde_http_request *r, struct MHD_Response *response, const char *type) {
  if (!response) return MHD_NO;
  MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
  enum MHD_Result result = MHD_queue_response(r->connection, (unsigned)r->status, response);
  MHD_destroy_response(response);
  return result;
}

static enum MHD_Result respond_text(sonde_http_request *r, int status, const char *text) {
  r->status = status;
  return respond_with(r, MHD_create_response_from_buffer(strlen(text), (void *)text, MHD_RESPMEM_MUST_COPY),
                      "application/json");
}

/* `message` needs no escapes. */
static enum MHD_Result respond_error(sonde_http_request *r, int status, const char *message) {
  char text[400];
  snprintf(text, sizeof text, "{\"error\": {\"message\": \"%s\", \"type\": \"%s\", \"param\": null, \"code\": null}}\n",
           message, status < 500 ? "invalid_request_error" : "server_error");
  return respond_text(r, status, text);
}

static enum MHD_Result respond_too_large(sonde_http_request *r) {
  char text[160];
  snprintf(text, sizeof text, "the body of a request has at most %lld bytes here; send fewer prompts at once",
           (long long)r->h->max_body);
  return respond_error(r, TOO_LARGE_STATUS, text);
}

static enum MHD_Result respond(sonde_http_request *r) {
  if (r->state == STREAMING)
    return respond_with(r, MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, next_bytes, r, NULL), r->type);
  return respond_with(r, MHD_create_response_from_buffer(r->n_out, r->out ? r->out : "", MHD_RESPMEM_MUST_COPY),
                      r->type ? r->type : "application/json");
}

/* ---- requests, in libmicrohttpd's thread ----------------------------------------------------------------- */

static const char *page_of(const sonde_http *h, const char *method, const char *path) {
  if (strcmp(method, MHD_HTTP_METHOD_GET) && strcmp(method, MHD_HTTP_METHOD_HEAD)) return NULL;
  for (int k = 0; k < h->n_pages; k++)
    if (!strcmp(h->page[k].path, path)) return h->page[k].body;
  return NULL;
}

static int is_stopping(sonde_http *h) {
  pthread_mutex_lock(&h->lock);
  int quiet = h->quiet;
  pthread_mutex_unlock(&h->lock);
  return quiet || (h->is_stopping && h->is_stopping());
}

/* A whole request goes into the queue; its connection is suspended until it has an answer. */
static enum MHD_Result enqueue(sonde_http_request *r) {
  sonde_http *h = r->h;
  pthread_mutex_lock(&h->lock);
  int refused = h->quiet || h->n_waiting >= h->waiting;
  if (!refused) {
    r->state = WAITING;
    r->refs++;
    r->suspended = 1;
    if (h->last) h->last->next = r;
    else h->first = r;
    h->last = r;
    h->n_waiting++;
    MHD_suspend_connection(r->connection);
    pthread_cond_broadcast(&h->changed);
  }
  pthread_mutex_unlock(&h->lock);
  if (!refused) return MHD_YES;
  return respond_error(r, UNAVAILABLE, is_stopping(h) ? STOPPING : "too many requests are waiting; try again later");
}

static enum MHD_Result on_whole(sonde_http_request *r) {
  if (r->state == ANSWERED || r->state == STREAMING) return respond(r);
  if (is_stopping(r->h)) return respond_error(r, UNAVAILABLE, STOPPING);
  if (r->state == TOO_LARGE) return respond_too_large(r);
  const char *page = page_of(r->h, r->method, r->path);
  if (page) return respond_text(r, OK, page);
  return enqueue(r);
}

/* libmicrohttpd calls this with the headers, with each part of the body, at its end, and after a resume. */
static enum MHD_Result on_request(void *cls, struct MHD_Connection *c, const char *path, const char *method,
                                  const char *version, const char *data, size_t *n, void **request) {
  (void)version;
  sonde_http *h = cls;
  sonde_http_request *r = *request;
  if (!r) {
    *request = r = new_request(h, c, method, path);
    if (!r) return MHD_NO;
    const char *length = MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
    /* Without its body, then: the connection is closed behind the answer. */
    if (length && strtoll(length, NULL, 10) > h->max_body) return respond_too_large(r);
    return MHD_YES;
  }
  if (!*n) return on_whole(r);
  if (r->state == READING && (int64_t)(r->n_in + *n) > h->max_body) r->state = TOO_LARGE;
  if (r->state == READING && !append(&r->in, &r->n_in, &r->room_in, data, *n)) return MHD_NO;
  *n = 0;
  return MHD_YES;
}

/* Why the rest of an answer was not sent; "": all of it was. */
static const char *cut_by(enum MHD_RequestTerminationCode code) {
  switch (code) {
    case MHD_REQUEST_TERMINATED_COMPLETED_OK: return "";
    case MHD_REQUEST_TERMINATED_TIMEOUT_REACHED: return "cut off: the client did not read it";
    case MHD_REQUEST_TERMINATED_DAEMON_SHUTDOWN: return "cut off: the server stopped before the client had read it";
    default: return GONE;
  }
}

static void log_line(const sonde_http_request *r, const char *cut) {
  if (!r->status) return;        /* the client was gone before it had sent everything */
  if (!strcmp(r->note, cut)) cut = "";
  sonde_info("%s %s %d, %.3f s%s%s%s%s", r->method, r->path, r->status, sonde_clock_seconds() - r->since,
             *r->note ? ", " : "", r->note, *cut ? ", " : "", cut);
}

static void on_completed(void *cls, struct MHD_Connection *c, void **request, enum MHD_RequestTerminationCode code) {
  (void)c;
  sonde_http *h = cls;
  sonde_http_request *r = *request;
  if (!r) return;
  pthread_mutex_lock(&h->lock);
  log_line(r, cut_by(code));
  r->gone = 1;
  h->n_open--;
  unref(r);
  pthread_cond_broadcast(&h->changed);
  pthread_mutex_unlock(&h->lock);
}

/* ---- the computing thread -------------------------------------------------------------------------------- */

/* Resumes a connection, if it is suspended, without the lock: libmicrohttpd takes locks of its own. */
static void wake(sonde_http_request *r) {
  pthread_mutex_lock(&r->h->lock);
  int suspended = r->suspended && !r->gone;
  r->suspended = 0;
  pthread_mutex_unlock(&r->h->lock);
  if (suspended) MHD_resume_connection(r->connection);
}

sonde_http_request *sonde_http_take(sonde_http *h, double seconds) {
  struct timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_sec += (time_t)seconds;
  until.tv_nsec += (long)((seconds - (double)(time_t)seconds) * 1e9);
  if (until.tv_nsec >= 1000000000) until.tv_nsec -= 1000000000, until.tv_sec++;
  pthread_mutex_lock(&h->lock);
  int over = 0;
  while (!h->first && !over) over = pthread_cond_timedwait(&h->changed, &h->lock, &until) == ETIMEDOUT;
  sonde_http_request *r = h->first;
  if (r) {
    h->first = r->next;
    if (!h->first) h->last = NULL;
    h->n_waiting--;
  }
  pthread_mutex_unlock(&h->lock);
  return r;
}

const char *sonde_http_method(const sonde_http_request *r) { return r->method; }
const char *sonde_http_path(const sonde_http_request *r) { return r->path; }

const char *sonde_http_body(const sonde_http_request *r, size_t *n) {
  *n = r->n_in;
  return r->in ? r->in : "";
}

static int start_answer(sonde_http_request *r, state kind, int status, const char *type, sonde_error *err) {
  if (r->state != WAITING) return sonde_fail(err, SONDE_EINVAL, "the request has been answered");
  if (!(r->type = sonde_strdup(type))) return sonde_fail(err, SONDE_ENOMEM, "no memory for an answer");
  r->status = status;
  r->state = kind;
  return SONDE_OK;
}

int sonde_http_answer(sonde_http_request *r, int status, const char *type, const char *body, size_t n,
                      sonde_error *err) {
  if (r->state == WAITING && !append(&r->out, &r->n_out, &r->room_out, body, n))
    return sonde_fail(err, SONDE_ENOMEM, "no memory for an answer");
  int code = start_answer(r, ANSWERED, status, type, err);
  if (!code) wake(r);
  return code;
}

int sonde_http_begin(sonde_http_request *r, int status, const char *type, sonde_error *err) {
  int code = start_answer(r, STREAMING, status, type, err);
  if (!code) wake(r);
  return code;
}

int sonde_http_send(sonde_http_request *r, const char *data, size_t n, sonde_error *err) {
  if (r->state != STREAMING) return sonde_fail(err, SONDE_EINVAL, "the answer is not sent in parts");
  pthread_mutex_lock(&r->h->lock);
  int ok = r->gone || append(&r->out, &r->n_out, &r->room_out, data, n);
  pthread_mutex_unlock(&r->h->lock);
  if (!ok) return sonde_fail(err, SONDE_ENOMEM, "no memory for an answer");
  wake(r);
  return SONDE_OK;
}

/* libmicrohttpd does not look at a connection that is suspended; until it is over, its socket is open. */
int sonde_http_gone(sonde_http_request *r) {
  char byte;
  pthread_mutex_lock(&r->h->lock);
  ssize_t n = r->gone ? 0 : recv(r->socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  int gone = n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
  pthread_mutex_unlock(&r->h->lock);
  return gone;
}

void sonde_http_note(sonde_http_request *r, const char *text) {
  pthread_mutex_lock(&r->h->lock);
  snprintf(r->note, sizeof r->note, "%s", text);
  pthread_mutex_unlock(&r->h->lock);
}

void sonde_http_drop(sonde_http_request *r) {
  static const char lost[] = "{\"error\": {\"message\": \"the request was not completed\", \"type\": \"server_error\", "
                             "\"param\": null, \"code\": null}}\n";
  sonde_http *h = r->h;
  sonde_error err = {0};
  if (r->state == WAITING && sonde_http_answer(r, FAILED, "application/json", lost, sizeof lost - 1, &err) != SONDE_OK)
    r->state = ANSWERED, r->status = FAILED;      /* without a body: there is no memory */
  pthread_mutex_lock(&h->lock);
  r->ended = 1;
  pthread_mutex_unlock(&h->lock);
  wake(r);
  pthread_mutex_lock(&h->lock);
  unref(r);
  pthread_mutex_unlock(&h->lock);
}

/* ---- the server ------------------------------------------------------------------------------------------ */

static int listen_at(const sonde_http_opts *o, int *port, sonde_error *err) {
  struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE, .ai_socktype = SOCK_STREAM}, *at;
  char service[16];
  snprintf(service, sizeof service, "%d", o->port);
  if (getaddrinfo(o->host, service, &hints, &at))
    return sonde_fail(err, SONDE_EINVAL, "'%s' is no numeric address, such as 127.0.0.1, 0.0.0.0 or ::1", o->host);
  int one = 1, s = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_storage name;
  socklen_t length = sizeof name;
  int ok = s >= 0 && !setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) &&
           !bind(s, at->ai_addr, at->ai_addrlen) && !listen(s, SOMAXCONN) &&
           !getsockname(s, (struct sockaddr *)&name, &length);
  if (!ok) sonde_fail_errno(err, SONDE_EIO, "cannot listen at %s, port %d", o->host, o->port);
  freeaddrinfo(at);
  if (ok && !getnameinfo((struct sockaddr *)&name, length, NULL, 0, service, sizeof service, NI_NUMERICSERV)) {
    *port = (int)strtol(service, NULL, 10);
    return s;
  }
  if (s >= 0) close(s);
  return ok ? sonde_fail(err, SONDE_EIO, "cannot find out the port of %s", o->host) : SONDE_EIO;
}

static int copy_pages(sonde_http *h, const sonde_http_opts *o) {
  h->page = sonde_alloc((size_t)(o->n_pages + 1) * sizeof *h->page);
  if (!h->page) return 0;
  for (; h->n_pages < o->n_pages; h->n_pages++) {
    struct page *p = &h->page[h->n_pages];
    p->path = sonde_strdup(o->page[h->n_pages].path);
    p->body = sonde_strdup(o->page[h->n_pages].body);
    if (p->path && p->body) continue;
    h->n_pages++;
    return 0;
  }
  return 1;
}

static void free_server(sonde_http *h) {
  for (int k = 0; k < h->n_pages; k++) sonde_release(h->page[k].path), sonde_release(h->page[k].body);
  sonde_release(h->page);
  pthread_cond_destroy(&h->changed);
  pthread_mutex_destroy(&h->lock);
  sonde_release(h);
}

sonde_http *sonde_http_start(const sonde_http_opts *o, sonde_error *err) {
  sonde_http *h = sonde_alloc(sizeof *h);
  if (!h) {
    sonde_fail(err, SONDE_ENOMEM, "no memory for a server");
    return NULL;
  }
  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_mutex_init(&h->lock, NULL);
  pthread_cond_init(&h->changed, &monotonic);
  pthread_condattr_destroy(&monotonic);
  h->max_body = o->max_body, h->waiting = o->waiting, h->is_stopping = o->is_stopping;
  int s = copy_pages(h, o) ? listen_at(o, &h->port, err) : sonde_fail(err, SONDE_ENOMEM, "no memory for a server");
  if (s >= 0)
    h->daemon = MHD_start_daemon(MHD_USE_AUTO | MHD_USE_INTERNAL_POLLING_THREAD | MHD_ALLOW_SUSPEND_RESUME, 0, NULL,
                                 NULL, on_request, h, MHD_OPTION_LISTEN_SOCKET, s, MHD_OPTION_CONNECTION_LIMIT,
                                 (unsigned)o->connections, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_SECONDS,
                                 MHD_OPTION_NOTIFY_COMPLETED, on_completed, h, MHD_OPTION_END);
  if (h->daemon) return h;
  if (s >= 0) close(s), sonde_fail(err, SONDE_EIO, "libmicrohttpd cannot start a server");
  free_server(h);
  return NULL;
}

int sonde_http_port(const sonde_http *h) { return h->port; }

void sonde_http_quiesce(sonde_http *h) {
  pthread_mutex_lock(&h->lock);
  int before = h->quiet;
  h->quiet = 1;
  pthread_mutex_unlock(&h->lock);
  if (before) return;
  int s = MHD_quiesce_daemon(h->daemon);
  if (s != MHD_INVALID_SOCKET) close(s);
}

void sonde_http_stop(sonde_http *h) {
  sonde_http_request *r;
  struct timespec until;
  sonde_http_quiesce(h);
  while ((r = sonde_http_take(h, 0))) sonde_http_drop(r);
  clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_sec += STOP_SECONDS;
  pthread_mutex_lock(&h->lock);
  while (h->n_open && pthread_cond_timedwait(&h->changed, &h->lock, &until) != ETIMEDOUT) {}
  pthread_mutex_unlock(&h->lock);
  MHD_stop_daemon(h->daemon);
  free_server(h);
}
