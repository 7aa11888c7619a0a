/* media.c - see media.h. Files are read through callbacks of ours: FFmpeg opens nothing by itself, so that what a file
 * names (a playlist's entries, addresses) is never opened. */
#include "config.h"

#include "video/media.h"

#ifdef HAVE_FFMPEG

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"

enum { IO_BYTES = 1 << 16, LOOK_MS = 100 };

/* ---- reading ---- */

static int is_late(void *arg) {
  const sonde_media *m = arg;
  return sonde_clock_seconds() > m->deadline;
}

/* A pipe may say nothing for ever. */
static int wait_for_data(sonde_media *m) {
  struct pollfd p = {m->fd, POLLIN, 0};
  while (!is_late(m)) {
    int ready = poll(&p, 1, LOOK_MS);
    if (ready > 0) return 0;
    if (ready < 0 && errno != EINTR) return AVERROR(errno);
  }
  return AVERROR_EXIT;
}

/* Whether, of what cannot be gone back in, these next bytes show an MP4 file (ISO/IEC 14496-12) whose pictures come
 * before the index that says where they are. */
static int index_is_behind(sonde_media *m, const uint8_t *p, int64_t n) {
  static const char passed[][5] = {"ftyp", "styp", "free", "skip", "wide", "uuid"};
  while (m->looking && n > 0) {
    if (m->skip > 0) {
      int64_t k = m->skip < n ? m->skip : n;
      p += k, n -= k, m->skip -= k;
      continue;
    }
    m->head[m->head_bytes++] = *p++, n--;
    if (m->head_bytes < (int)sizeof m->head) continue;
    const uint8_t *h = m->head;
    int64_t size = (int64_t)h[0] << 24 | h[1] << 16 | h[2] << 8 | h[3];
    m->head_bytes = m->looking = 0;
    m->skip = size - (int64_t)sizeof m->head;
    if (!memcmp(h + 4, "mdat", 4)) return m->behind = 1;
    for (size_t k = 0; m->skip >= 0 && k < sizeof passed / sizeof *passed; k++)
      m->looking |= !memcmp(h + 4, passed[k], 4);
  }
  return 0;
}

static int read_bytes(void *arg, uint8_t *to, int n) {
  sonde_media *m = arg;
  double start = sonde_clock_seconds();
  for (;;) {
    int rc = m->io->seekable ? 0 : wait_for_data(m);
    if (rc) return rc;
    ssize_t got = read(m->fd, to, (size_t)n);
    if (got > 0) return index_is_behind(m, to, got) ? AVERROR(ESPIPE) : (int)got;
    if (got < 0 && errno != EINTR && errno != EAGAIN) return AVERROR(errno);
    if (got == 0 && sonde_clock_seconds() - start >= m->follow) return AVERROR_EOF;
    if (got == 0) poll(NULL, 0, LOOK_MS / 2);
  }
}

static int64_t seek_bytes(void *arg, int64_t offset, int whence) {
  sonde_media *m = arg;
  struct stat st;
  if (whence & AVSEEK_SIZE) return fstat(m->fd, &st) ? AVERROR(errno) : st.st_size;
  int64_t at = lseek(m->fd, offset, whence & ~AVSEEK_FORCE);
  return at < 0 ? AVERROR(errno) : at;
}

static int open_nothing(AVFormatContext *s, AVIOContext **pb, const char *url, int flags, AVDictionary **options) {
  (void)s, (void)pb, (void)url, (void)flags, (void)options;
  return AVERROR(EPERM);
}

/* ---- opening ---- */

static int fail_with(sonde_media *m, int code, const char *what, int rc, sonde_error *err) {
  char text[AV_ERROR_MAX_STRING_SIZE] = "";
  if (is_late(m))
    return sonde_fail(err, SONDE_ELIMIT, "'%s': nothing could be decoded within %g seconds", m->path, m->patience);
  if (m->behind)
    return sonde_fail(err, SONDE_EUNSUP, "'%s' is MP4 with its index (moov) behind the pictures, which cannot be read "
                      "while it comes in: give the complete file, or write it with -movflags frag_keyframe+empty_moov, "
                      "as Matroska or as MPEG-TS", m->path);
  m->ff->av_strerror(rc, text, sizeof text);
  return sonde_fail(err, code, "'%s' %s (%s)", m->path, what, text);
}

/* Streams are known after a second of them at most: who watches a camera waits for it. */
static void start_soon(sonde_media *m) {
  m->looking = 1;
  m->format->max_analyze_duration = AV_TIME_BASE;
}

static int open_input(sonde_media *m, sonde_error *err) {
  int64_t size = -1;
  m->fd = !strcmp(m->path, "-") ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3) : sonde_file_open(m->path, &size, err);
  if (m->fd < 0) return err->code ? err->code : sonde_fail_errno(err, SONDE_EIO, "cannot read standard input");
  if (size == 0 && m->follow <= 0) return sonde_fail(err, SONDE_EFORMAT, "'%s' is empty", m->path);
  int is_file = m->follow <= 0 && lseek(m->fd, 0, SEEK_CUR) >= 0;
  unsigned char *buffer = m->ff->av_malloc(IO_BYTES);
  m->io = buffer ? m->ff->avio_alloc_context(buffer, IO_BYTES, 0, m, read_bytes, NULL, is_file ? seek_bytes : NULL)
                 : NULL;
  m->format = m->io ? m->ff->avformat_alloc_context() : NULL;
  if (!m->format) {
    if (!m->io) m->ff->av_free(buffer);
    return sonde_fail(err, SONDE_ENOMEM, "no memory to open '%s'", m->path);
  }
  m->io->seekable = is_file ? AVIO_SEEKABLE_NORMAL : 0;
  m->format->pb = m->io;
  m->format->io_open = open_nothing;
  if (!is_file) start_soon(m);
  m->format->interrupt_callback = (AVIOInterruptCB){is_late, m};
  int rc = m->ff->avformat_open_input(&m->format, NULL, NULL, NULL);   /* frees the context where it fails */
  return rc < 0 ? fail_with(m, SONDE_EFORMAT, "is no video that FFmpeg knows", rc, err) : 0;
}

static int check_size(const sonde_media *m, const AVCodecParameters *par, const sonde_video_opts *opts,
                      sonde_error *err) {
  if (par->codec_type != AVMEDIA_TYPE_VIDEO || par->width <= 0 || par->height <= 0 ||
      par->width <= opts->max_pixels / par->height)
    return 0;
  return sonde_fail(err, SONDE_ELIMIT, "'%s' has pictures of %d x %d; at most %lld pixels are decoded", m->path,
                    par->width, par->height, (long long)opts->max_pixels);
}

/* To know the streams their first frames are decoded, under the same bound of pixels. */
static int read_about(sonde_media *m, const sonde_video_opts *opts, sonde_error *err) {
  unsigned n = m->format->nb_streams;
  for (unsigned k = 0; k < n; k++) {
    int rc = check_size(m, m->format->streams[k]->codecpar, opts, err);
    if (rc) return rc;
  }
  AVDictionary **of_stream = sonde_alloc((n + 1) * sizeof *of_stream);
  if (!of_stream) return sonde_fail(err, SONDE_ENOMEM, "no memory to open '%s'", m->path);
  char pixels[32];
  snprintf(pixels, sizeof pixels, "%lld", (long long)opts->max_pixels);
  for (unsigned k = 0; k < n; k++) m->ff->av_dict_set(&of_stream[k], "max_pixels", pixels, 0);
  int rc = m->ff->avformat_find_stream_info(m->format, n ? of_stream : NULL);
  for (unsigned k = 0; k < n; k++) m->ff->av_dict_free(&of_stream[k]);
  sonde_release(of_stream);
  if (rc < 0) return fail_with(m, SONDE_EFORMAT, "has no streams that can be read", rc, err);
  m->stream = m->ff->av_find_best_stream(m->format, AVMEDIA_TYPE_VIDEO, -1, -1, NULL, 0);
  if (m->stream < 0 || sonde_media_stream(m)->disposition & AV_DISPOSITION_ATTACHED_PIC)
    return sonde_fail(err, SONDE_EFORMAT, "'%s' has no video stream", m->path);
  return 0;
}

static int open_decoder(sonde_media *m, const sonde_video_opts *opts, sonde_error *err) {
  const AVCodecParameters *par = sonde_media_stream(m)->codecpar;
  if (check_size(m, par, opts, err)) return err->code;
  const AVCodec *codec = m->ff->avcodec_find_decoder(par->codec_id);
  if (!codec)
    return sonde_fail(err, SONDE_EUNSUP, "'%s' is coded as %s, which this FFmpeg cannot decode", m->path,
                      m->ff->avcodec_get_name(par->codec_id));
  m->codec = m->ff->avcodec_alloc_context3(codec);
  m->packet = m->ff->av_packet_alloc();
  m->frame = m->ff->av_frame_alloc();
  if (!m->codec || !m->packet || !m->frame) return sonde_fail(err, SONDE_ENOMEM, "no memory to open '%s'", m->path);
  int rc = m->ff->avcodec_parameters_to_context(m->codec, par);
  if (rc < 0) return fail_with(m, SONDE_EFORMAT, "has a damaged description of its video", rc, err);
  m->codec->pkt_timebase = sonde_media_stream(m)->time_base;
  m->codec->max_pixels = opts->max_pixels;
  m->codec->thread_count = opts->threads;
  if (opts->vectors) m->codec->flags2 |= AV_CODEC_FLAG2_EXPORT_MVS;
  rc = m->ff->avcodec_open2(m->codec, codec, NULL);
  return rc < 0 ? fail_with(m, SONDE_EFORMAT, "cannot be decoded", rc, err) : 0;
}

sonde_media *sonde_media_open(const char *path, const sonde_video_opts *opts, sonde_error *err) {
  const sonde_ffmpeg *ff = sonde_ffmpeg_get(err);
  if (!ff) return NULL;
  sonde_media *m = sonde_alloc(sizeof *m);
  if (!m) {
    sonde_fail(err, SONDE_ENOMEM, "no memory to open '%s'", path);
    return NULL;
  }
  *m = (sonde_media){.ff = ff, .path = path, .fd = -1, .patience = opts->patience + opts->follow,
                     .follow = opts->follow};
  m->deadline = sonde_clock_seconds() + m->patience;
  err->code = 0;
  if (open_input(m, err) || read_about(m, opts, err) || open_decoder(m, opts, err)) {
    sonde_media_close(m);
    return NULL;
  }
  return m;
}

void sonde_media_close(sonde_media *m) {
  if (!m) return;
  m->ff->av_frame_free(&m->frame);
  m->ff->av_packet_free(&m->packet);
  m->ff->avcodec_free_context(&m->codec);
  m->ff->avformat_close_input(&m->format);
  if (m->io) m->ff->av_freep(&m->io->buffer);
  m->ff->avio_context_free(&m->io);
  if (m->fd >= 0) close(m->fd);
  sonde_release(m);
}

/* ---- frames ---- */

/* Gives the decoder a packet of the stream, or the end. 0, or an error that ends everything. */
static int feed(sonde_media *m, sonde_error *err) {
  int rc = m->ff->av_read_frame(m->format, m->packet);
  if (rc < 0) {
    if (is_late(m)) return fail_with(m, SONDE_ELIMIT, "", rc, err);
    if (rc != AVERROR_EOF) m->damaged++;
    m->draining = 1;
    m->ff->avcodec_send_packet(m->codec, NULL);
    return 0;
  }
  if (m->packet->stream_index == m->stream && m->ff->avcodec_send_packet(m->codec, m->packet) < 0) m->damaged++;
  m->ff->av_packet_unref(m->packet);
  return 0;
}

int sonde_media_next(sonde_media *m, sonde_error *err) {
  m->deadline = sonde_clock_seconds() + m->patience;
  for (;;) {
    if (is_late(m)) return fail_with(m, SONDE_ELIMIT, "", 0, err);
    int rc = m->ff->avcodec_receive_frame(m->codec, m->frame);
    if (rc >= 0 && m->frame->width > 0 && m->frame->height > 0 && m->frame->data[0]) {
      if (m->frame->flags & AV_FRAME_FLAG_CORRUPT || m->frame->decode_error_flags) m->damaged++;
      return 1;
    }
    if (rc == AVERROR_EOF) return 0;
    if (rc != AVERROR(EAGAIN)) m->damaged++;
    if (m->draining && rc < 0) {
      if (rc == AVERROR(EAGAIN)) return 0;
      continue;      /* an error in one frame: those after it may be whole, until the end or the deadline */
    }
    if (rc < 0 && (rc = feed(m, err)) < 0) return rc;
  }
}

double sonde_media_time(const sonde_media *m) {
  const AVStream *s = sonde_media_stream(m);
  int64_t at = m->frame->best_effort_timestamp;
  if (at == AV_NOPTS_VALUE) return NAN;
  int64_t start = s->start_time == AV_NOPTS_VALUE ? 0 : s->start_time;
  return ((double)at - (double)start) * av_q2d(s->time_base);
}

int sonde_media_seek(sonde_media *m, double seconds) {
  const AVStream *s = sonde_media_stream(m);
  double unit = av_q2d(s->time_base), at = unit > 0 ? seconds / unit : 0;
  if (!m->io->seekable || !(fabs(at) < 9e18)) return -1;
  int64_t start = s->start_time == AV_NOPTS_VALUE ? 0 : s->start_time, to;
  m->deadline = sonde_clock_seconds() + m->patience;
  if (__builtin_add_overflow(start, (int64_t)at, &to)) return -1;
  if (m->ff->av_seek_frame(m->format, m->stream, to, AVSEEK_FLAG_BACKWARD) < 0) return -1;
  m->ff->avcodec_flush_buffers(m->codec);
  m->draining = 0;
  return 0;
}

#endif
