/* features.c - see features.h. */
#include "config.h"

#include "video/features.h"

#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>
#include "base/file.h"
#include "base/mem.h"
#include "base/sha256.h"

static const char MAGIC[8] = "SONDEVID";
enum { FEATURES_VERSION = 1, MAX_COLUMNS = 1 << 24 };

typedef struct header {
  char magic[8];
  uint32_t version, columns;
  int64_t rows;
  int32_t width, height, grid_width, grid_height, thumb_width, thumb_height, thumb_bytes, rotation;
  double rate, duration;
  int64_t damaged;
  double start, end;
  int64_t clip_size, clip_time;
  unsigned char clip[32], options[32];
  char codec[16];
  uint32_t crc;
  char zeros[60];
} header;
_Static_assert(sizeof(header) == 256, "the header has 256 bytes");

struct sonde_features {
  sonde_mapping map;
  sonde_features_info info;
  header head;
};

sonde_feature_opts sonde_feature_defaults(void) {
  return (sonde_feature_opts){.analysis = sonde_analysis_defaults(), .end = INFINITY, .max_rows = 1 << 20};
}

void sonde_feature_opts_hash(const sonde_feature_opts *o, char hex[65]) {
  const sonde_analysis_opts *a = &o->analysis;
  char text[512];
  int n = snprintf(text, sizeof text,
                   "sonde video features %d|%d|%dx%dx%d|%.17g|%.17g|%d|%d|%d|%.17g|%d|%dx%d|%.17g|%.17g|%.17g",
                   FEATURES_VERSION, a->video.width, a->video.thumb_width, a->video.thumb_height, a->video.thumb_rgb,
                   a->video.rate, a->video.image_rate, a->matcher.block, a->matcher.radius, a->planar.affine,
                   a->planar.floor, a->codec, a->grid_width, a->grid_height, a->outlier, o->start, o->end);
  sonde_sha256 s;
  sonde_sha256_init(&s);
  sonde_sha256_add(&s, text, (size_t)n);
  sonde_sha256_hex(&s, hex);
}

/* ---- hashes ---- */

static int not_hidden(const struct dirent *e) { return e->d_name[0] != '.'; }

/* SHA-256 of a file; of a folder, of the names and contents of its files. */
static int hash_clip(const char *clip, char hex[65], sonde_error *err) {
  if (!strcmp(clip, "-")) return sonde_fail(err, SONDE_EUNSUP, "features are kept of files, not of standard input");
  if (!sonde_is_folder(clip)) return sonde_file_sha256(clip, hex, err);
  struct dirent **list;
  int n = scandir(clip, &list, not_hidden, alphasort), rc = 0;
  if (n < 0) return sonde_fail_errno(err, SONDE_EIO, "cannot list '%s'", clip);
  sonde_sha256 s;
  sonde_sha256_init(&s);
  for (int k = 0; k < n; k++) {
    char path[4096], one[65];
    snprintf(path, sizeof path, "%s/%s", clip, list[k]->d_name);
    if (!rc && !sonde_is_folder(path) && !(rc = sonde_file_sha256(path, one, err))) {
      sonde_sha256_add(&s, list[k]->d_name, strlen(list[k]->d_name) + 1);
      sonde_sha256_add(&s, one, 64);
    }
    free(list[k]);
  }
  free(list);
  sonde_sha256_hex(&s, hex);
  return rc;
}

/* What changes when a clip does, as far as the system says; a folder's files are not looked at, so it says nothing. */
static int stamp(const char *clip, header *h, sonde_error *err) {
  struct stat st;
  if (stat(clip, &st)) return sonde_fail_errno(err, SONDE_ENOENT, "cannot read '%s'", clip);
  h->clip_size = S_ISDIR(st.st_mode) ? -1 : st.st_size;
  h->clip_time = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
  return 0;
}

/* ---- reading ---- */

static int in_range(int64_t x, int64_t low, int64_t high) { return x >= low && x <= high; }

static int check_header(const header *h) {
  static const unsigned char unknown[sizeof h->clip];   /* a file that is of no clip could never be told to be stale */
  if (!memcmp(h->clip, unknown, sizeof unknown) || !memcmp(h->options, unknown, sizeof unknown)) return 0;
  if (!in_range(h->columns, SONDE_FIGURES, MAX_COLUMNS) || !in_range(h->rows, 1, (int64_t)1 << 40)) return 0;
  if (!in_range(h->width, 16, 1 << 14) || !in_range(h->height, 16, 1 << 14)) return 0;
  if (!in_range(h->grid_width, 1, 64) || !in_range(h->grid_height, 1, 64)) return 0;
  if (!in_range(h->thumb_width, 0, 1024) || !in_range(h->thumb_height, 0, 1024)) return 0;
  if (h->thumb_bytes != 1 && h->thumb_bytes != 3) return 0;
  if (!in_range(h->rotation, 0, 270) || h->rotation % 90 || h->damaged < 0) return 0;
  if (!(h->rate >= 0 && h->rate < 1e6) || !(h->duration >= 0 && h->duration < 1e12)) return 0;
  if (!memchr(h->codec, 0, sizeof h->codec)) return 0;
  for (size_t k = 0; k < sizeof h->zeros; k++)
    if (h->zeros[k]) return 0;
  int64_t cells = (int64_t)h->grid_width * h->grid_height;
  return h->columns == SONDE_FIGURES + SONDE_FIELDS * SONDE_CELL * cells +
                       (int64_t)h->thumb_width * h->thumb_height * h->thumb_bytes;
}

static uint32_t checksum(header h, const void *body, int64_t bytes) {
  h.crc = 0;
  uLong crc = crc32_z(0, (const unsigned char *)&h, sizeof h);
  return (uint32_t)crc32_z(crc, body, (size_t)bytes);
}

static int open_mapped(sonde_features *f, const char *path, sonde_error *err) {
  header *h = &f->head;
  if (f->map.size < (int64_t)sizeof *h || memcmp(f->map.data, MAGIC, sizeof MAGIC))
    return sonde_fail(err, SONDE_EFORMAT, "'%s' is no file of video features", path);
  memcpy(h, f->map.data, sizeof *h);
  if (h->version != FEATURES_VERSION)
    return sonde_fail(err, SONDE_EFORMAT, "'%s' is of version %u of feature files, this Sonde reads %d; remove it",
                      path, h->version, FEATURES_VERSION);
  int64_t body = f->map.size - (int64_t)sizeof *h;
  if (!check_header(h) || h->rows > body / (4 * (int64_t)h->columns) || h->rows * 4 * (int64_t)h->columns != body)
    return sonde_fail(err, SONDE_EFORMAT, "'%s' has a damaged header, or another length than it says; remove it", path);
  if (checksum(*h, (const char *)f->map.data + sizeof *h, body) != h->crc)
    return sonde_fail(err, SONDE_EFORMAT, "'%s' is damaged: its checksum does not match; remove it", path);
  f->info = (sonde_features_info){
      .rows = h->rows, .damaged = h->damaged, .columns = (int)h->columns, .width = h->width, .height = h->height,
      .grid_width = h->grid_width, .grid_height = h->grid_height, .thumb_width = h->thumb_width,
      .thumb_height = h->thumb_height, .thumb_bytes = h->thumb_bytes, .rotation = h->rotation, .rate = h->rate,
      .duration = h->duration};
  memcpy(f->info.codec, h->codec, sizeof f->info.codec);
  sonde_sha256_to_hex(h->clip, f->info.clip);
  sonde_sha256_to_hex(h->options, f->info.options);
  return 0;
}

sonde_features *sonde_features_open(const char *path, sonde_error *err) {
  sonde_features *f = sonde_alloc(sizeof *f);
  if (!f) {
    sonde_fail(err, SONDE_ENOMEM, "no memory to open '%s'", path);
    return NULL;
  }
  if (!sonde_map_file(path, &f->map, err) && !open_mapped(f, path, err)) return f;
  sonde_features_close(f);
  return NULL;
}

void sonde_features_close(sonde_features *f) {
  if (!f) return;
  sonde_unmap_file(&f->map);
  sonde_release(f);
}

const sonde_features_info *sonde_features_about(const sonde_features *f) { return &f->info; }

const float *sonde_features_row(const sonde_features *f, int64_t row) {
  return (const float *)(const void *)((const char *)f->map.data + sizeof(header)) + row * f->info.columns;
}

int sonde_features_current(const char *path, const char *clip, const sonde_feature_opts *o, sonde_error *err) {
  header now = {0};
  char hex[65];
  int rc = stamp(clip, &now, err);
  if (rc) return rc;
  if (!sonde_path_exists(path)) return 0;
  sonde_error damaged = {0};
  sonde_features *f = sonde_features_open(path, &damaged);
  if (!f) return 0;
  sonde_feature_opts_hash(o, hex);
  int same = !strcmp(hex, f->info.options);
  if (same && (now.clip_size < 0 || now.clip_size != f->head.clip_size || now.clip_time != f->head.clip_time)) {
    rc = hash_clip(clip, hex, err);
    same = !rc && !strcmp(hex, f->info.clip);
  }
  sonde_features_close(f);
  return rc ? rc : same;
}

/* ---- making ---- */

typedef struct maker {
  const sonde_feature_opts *o;
  const char *clip;
  sonde_video *video;
  sonde_analysis *analysis;
  sonde_outfile *file;
  float *row;
  header head;
  uLong crc;              /* of the rows; joined with the header's at the end */
} maker;

static int write_row(maker *k, const char *path, sonde_error *err) {
  size_t bytes = k->head.columns * sizeof(float);
  if (k->head.rows >= k->o->max_rows)
    return sonde_fail(err, SONDE_ELIMIT, "'%s' has more than %lld frames: take a part of it (start, end), or a lower "
                      "rate", k->clip, (long long)k->o->max_rows);
  if (fwrite(k->row, 1, bytes, sonde_outfile_stream(k->file)) != bytes)
    return sonde_fail_errno(err, SONDE_EIO, "cannot write '%s'", path);
  k->crc = crc32_z(k->crc, (const unsigned char *)k->row, bytes);
  k->head.rows++;
  return 0;
}

static int each_frame(maker *k, const char *path, sonde_feature_progress progress, void *arg, sonde_error *err) {
  sonde_frame frame;
  int rc = k->o->start > 0 ? sonde_video_seek(k->video, k->o->start, err) : 0;
  while (!rc && (rc = sonde_video_next(k->video, &frame, err)) > 0) {
    if (frame.time >= k->o->end) return 0;
    sonde_analysis_push(k->analysis, &frame, NULL, k->row);
    rc = write_row(k, path, err);
    progress(arg);
  }
  return rc;
}

static void describe(maker *k) {
  const sonde_analysis_opts *a = &k->o->analysis;
  const sonde_video_info *i = sonde_video_about(k->video);
  header *h = &k->head;
  char hex[65];
  memcpy(h->magic, MAGIC, sizeof MAGIC);
  h->version = FEATURES_VERSION;
  h->grid_width = a->grid_width, h->grid_height = a->grid_height;
  h->thumb_width = a->video.thumb_width, h->thumb_height = a->video.thumb_height;
  h->thumb_bytes = a->video.thumb_rgb ? 3 : 1;
  h->rotation = i->rotation;
  h->rate = i->rate, h->duration = i->duration;
  h->start = k->o->start, h->end = k->o->end;
  snprintf(h->codec, sizeof h->codec, "%.15s", i->codec);
  sonde_feature_opts_hash(k->o, hex);
  sonde_sha256_from_hex(hex, h->options);
}

static int finish(maker *k, const char *path, sonde_error *err) {
  FILE *out = sonde_outfile_stream(k->file);
  k->head.damaged = sonde_video_damaged(k->video);
  uLong crc = crc32_z(0, (const unsigned char *)&k->head, sizeof k->head);
  k->head.crc = (uint32_t)crc32_combine(crc, k->crc, (z_off_t)(k->head.rows * (int64_t)k->head.columns * 4));
  if (fseek(out, 0, SEEK_SET) || fwrite(&k->head, sizeof k->head, 1, out) != 1)
    return sonde_fail_errno(err, SONDE_EIO, "cannot write '%s'", path);
  return 0;
}

static int start(maker *k, const char *path, sonde_error *err) {
  char hex[65];
  int rc = stamp(k->clip, &k->head, err);
  if (rc || (rc = hash_clip(k->clip, hex, err))) return rc;
  sonde_sha256_from_hex(hex, k->head.clip);
  if (!(k->video = sonde_video_open(k->clip, &k->o->analysis.video, err))) return err->code;
  const sonde_video_info *about = sonde_video_about(k->video);
  k->head.width = about->luma_width, k->head.height = about->luma_height;
  if (!(k->analysis = sonde_analysis_new(&k->o->analysis, about->luma_width, about->luma_height, err)))
    return err->code;
  k->head.columns = (uint32_t)sonde_analysis_columns(&k->o->analysis);
  describe(k);
  if (!(k->row = sonde_alloc(k->head.columns * sizeof(float))))
    return sonde_fail(err, SONDE_ENOMEM, "no memory for the features of '%s'", k->clip);
  if (!(k->file = sonde_outfile_open(path, err))) return err->code;
  if (fwrite(&k->head, sizeof k->head, 1, sonde_outfile_stream(k->file)) != 1)
    return sonde_fail_errno(err, SONDE_EIO, "cannot write '%s'", path);
  return 0;
}

int sonde_features_make(const char *path, const char *clip, const sonde_feature_opts *o,
                        sonde_feature_progress progress, void *arg, sonde_error *err) {
  maker k = {.o = o, .clip = clip};
  if (!(o->start >= 0 && o->end > o->start) || o->max_rows < 1)
    return sonde_fail(err, SONDE_EINVAL, "'%s': a part from %g to %g seconds is none", clip, o->start, o->end);
  int rc = start(&k, path, err);
  if (!rc) rc = each_frame(&k, path, progress, arg, err);
  if (!rc && !k.head.rows)
    rc = sonde_fail(err, SONDE_EFORMAT, "'%s' has no frame from %g to %g seconds", clip, o->start, o->end);
  if (!rc) rc = finish(&k, path, err);
  if (!rc) rc = sonde_outfile_commit(k.file, err);
  else if (k.file) sonde_outfile_abandon(k.file);
  sonde_release(k.row);
  sonde_analysis_free(k.analysis);
  sonde_video_close(k.video);
  return rc;
}
