/* tokenize.c - tiles of documents, encoded in parallel and concatenated in order. */
#include "config.h"

#include <string.h>
#include "base/mem.h"
#include "text/tokenize.h"

enum { TILE_BYTES = 256 << 10 };

int64_t sonde_text_tiles(const sonde_text *texts, int64_t n, int64_t *first) {
  int64_t tiles = 0, bytes = 0;
  for (int64_t i = 0; i < n; i++) {
    if (bytes == 0) first[tiles++] = i;
    bytes += texts[i].n;
    if (bytes >= TILE_BYTES) bytes = 0;
  }
  first[tiles] = n;
  return tiles;
}

typedef struct job {
  const sonde_text *texts;
  int64_t *first, *length;     /* of text i in tokens, the end-of-text token included */
  sonde_ids *ids;              /* of each tile */
  sonde_encoder **encoder;     /* of each worker */
  sonde_error *err;            /* of each worker */
  int32_t eot;
  int flags;
} job;

static void encode_tile(void *arg, int64_t tile, int worker) {
  const job *j = arg;
  sonde_ids *ids = &j->ids[tile];
  sonde_error *err = &j->err[worker];
  for (int64_t i = j->first[tile]; i < j->first[tile + 1] && !err->code; i++) {
    int64_t from = ids->n;
    int rc = sonde_encode(j->encoder[worker], j->texts[i].data, j->texts[i].n,
                          j->flags | SONDE_ENCODE_BARE, ids, err);
    if (!rc && sonde_ids_push(ids, j->eot)) sonde_fail(err, SONDE_ENOMEM, "encoding: out of memory");
    j->length[i] = ids->n - from;
  }
}

static int join(const job *j, int64_t tiles, int64_t n, sonde_ids *out, int64_t *offsets, sonde_error *err) {
  int64_t total = out->n;
  for (int64_t k = 0; k < tiles; k++) total += j->ids[k].n;
  int32_t *grown = sonde_grow(out->id, (size_t)out->cap * sizeof *grown, (size_t)(total + 1) * sizeof *grown);
  if (!grown) return sonde_fail(err, SONDE_ENOMEM, "encoding: out of memory");
  out->id = grown;
  out->cap = total + 1;
  offsets[0] = out->n;
  for (int64_t i = 0; i < n; i++) offsets[i + 1] = offsets[i] + j->length[i];
  for (int64_t k = 0; k < tiles; k++) {
    memcpy(out->id + out->n, j->ids[k].id, (size_t)j->ids[k].n * sizeof *grown);
    out->n += j->ids[k].n;
  }
  return 0;
}

int sonde_tokenize(sonde_tokenizer *t, const sonde_text *texts, int64_t n, int flags, sonde_pool *pool, sonde_ids *out,
                   int64_t *offsets, sonde_error *err) {
  int threads = sonde_pool_threads(pool), rc = 0;
  int64_t tiles = 0;
  job j = {.texts = texts, .eot = sonde_tokenizer_eot(t), .flags = flags};
  if (j.eot < 0)
    return sonde_fail(err, SONDE_EINVAL,
                      "the tokenizer has no end-of-text token (" SONDE_EOT
                      " or </s>) to part documents; name one with the option "
                      "end_of_text");
  j.first = sonde_alloc((size_t)(n + 2) * sizeof *j.first);
  j.length = sonde_alloc((size_t)(n + 1) * sizeof *j.length);
  j.encoder = sonde_alloc((size_t)threads * sizeof *j.encoder);
  j.err = sonde_alloc((size_t)threads * sizeof *j.err);
  if (j.first && j.length && j.encoder && j.err) {
    tiles = sonde_text_tiles(texts, n, j.first);
    j.ids = sonde_alloc((size_t)(tiles + 1) * sizeof *j.ids);
  }
  if (!j.ids) rc = sonde_fail(err, SONDE_ENOMEM, "encoding: out of memory");
  for (int k = 0; k < threads && !rc; k++)
    if (!(j.encoder[k] = sonde_encoder_new(t, err))) rc = err->code;
  if (!rc) sonde_pool_run(pool, tiles, encode_tile, &j);
  for (int k = 0; k < threads && !rc; k++)
    if (j.err[k].code) rc = sonde_fail(err, j.err[k].code, "%s", j.err[k].text);
  if (!rc) rc = join(&j, tiles, n, out, offsets, err);
  for (int k = 0; k < threads && j.encoder; k++) sonde_encoder_free(j.encoder[k]);
  for (int64_t k = 0; k < tiles && j.ids; k++) sonde_ids_free(&j.ids[k]);
  sonde_release(j.first);
  sonde_release(j.length);
  sonde_release(j.encoder);
  sonde_release(j.err);
  sonde_release(j.ids);
  return rc;
}
