/* shard.c - token shards: our own with a checked header, llm.c's, and bare ids. */
#include "config.h"

#include <stdio.h>
#include <string.h>
#include <zlib.h>
#include "base/file.h"
#include "base/mem.h"
#include "base/sha256.h"
#include "text/shard.h"

typedef struct header {
  char magic[8];
  uint32_t version, width;
  int64_t tokens, documents, vocab, text_bytes;
  uint8_t tokenizer[32], hash[32];
  uint32_t crc;
  uint8_t zero[140];
} header;
_Static_assert(sizeof(header) == 256, "the header is 256 bytes on disk");

static const char MAGIC[8] = {'S', 'O', 'N', 'D', 'E', 'T', 'O', 'K'};
enum { SHARD_VERSION = 2, LLMC_HEADER = 1024, LLMC_GPT2 = 20240520, LLMC_LLAMA3 = 20240801,
       GPT2_VOCAB = 50257, LLAMA3_VOCAB = 128256 };
#define MAX_VOCAB ((int64_t)1 << 31)

struct sonde_shard {
  sonde_mapping map;
  sonde_stream stream;
  const int64_t *offsets;      /* documents + 1; NULL: not known */
  int64_t documents, text_bytes;
  char tokenizer[65], hash[65];
};

/* ---- ids ----------------------------------------------------------------------------------------------- */

/* Of each part what of [from, from + n) is in it. */
static int read_parts(const sonde_stream *s, int64_t from, int64_t n, int32_t *out, sonde_error *err) {
  for (int32_t k = 0; k < s->parts && n; k++) {
    const sonde_stream *p = &s->part[k];
    int64_t there = p->tokens - from < n ? p->tokens - from : n;
    if (there > 0) {
      int rc = sonde_stream_read(p, from, there, out, err);
      if (rc) return rc;
      out += there;
      n -= there;
    }
    from = from > p->tokens ? from - p->tokens : 0;
  }
  return 0;
}

int sonde_stream_read(const sonde_stream *s, int64_t from, int64_t n, int32_t *out, sonde_error *err) {
  if (from < 0 || n < 0 || from > s->tokens - n)
    return sonde_fail(err, SONDE_EINVAL, "%lld tokens from %lld on, of %lld in the stream", (long long)n,
                      (long long)from, (long long)s->tokens);
  if (s->parts) return read_parts(s, from, n, out, err);
  uint32_t most = 0;
  if (s->width == 2) {
    const uint16_t *p = (const uint16_t *)s->data + from;
    for (int64_t i = 0; i < n; i++) {
      out[i] = p[i];
      most = p[i] > most ? p[i] : most;
    }
  } else {
    const uint32_t *p = (const uint32_t *)s->data + from;
    for (int64_t i = 0; i < n; i++) {
      out[i] = (int32_t)p[i];
      most = p[i] > most ? p[i] : most;
    }
  }
  if (most < s->vocab || !n) return 0;
  return sonde_fail(err, SONDE_EFORMAT, "the token id %d in a corpus whose vocabulary is %lld",
                    (int32_t)most, (long long)s->vocab);
}

/* ---- opening ------------------------------------------------------------------------------------------- */

/* The checksum of the whole file: the header with a zero checksum, and the n bytes that follow. */
static uint32_t checksum(header h, const void *body, size_t n) {
  h.crc = 0;
  return (uint32_t)crc32_z(crc32_z(0, (const Bytef *)&h, sizeof h), body, n);
}

/* Where the offsets begin, and where the file ends; -1 if that overflows. */
static int64_t layout(const header *h, int64_t *end) {
  int64_t bytes, table;
  if (__builtin_mul_overflow(h->tokens, (int64_t)h->width, &bytes) ||
      __builtin_add_overflow(bytes, (int64_t)sizeof *h + 7, &bytes) ||
      __builtin_mul_overflow(h->documents + 1, (int64_t)8, &table) ||
      __builtin_add_overflow(bytes & ~(int64_t)7, table, end))
    return -1;
  return bytes & ~(int64_t)7;
}

static int check_header(const header *h, const sonde_mapping *m, const char *path, sonde_error *err) {
  if (h->version != SHARD_VERSION)
    return sonde_fail(err, SONDE_EFORMAT,
                      "%s: a token shard of version %u; this Sonde reads %d: make it again from its text", path,
                      h->version, SHARD_VERSION);
  int fits = h->width == 4 || (h->width == 2 && h->vocab <= 65536);
  for (size_t i = 0; i < sizeof h->zero; i++) fits &= !h->zero[i];
  if (!fits || h->tokens < 0 || h->documents < 0 || h->documents == INT64_MAX || h->vocab < 1 ||
      h->vocab > MAX_VOCAB || h->text_bytes < 0)
    return sonde_fail(err, SONDE_EFORMAT, "%s: the header of the token shard is damaged", path);
  int64_t end, table = layout(h, &end);
  if (table < 0 || end != m->size)
    return sonde_fail(err, SONDE_EFORMAT,
                      "%s: %lld bytes do not hold %lld tokens in %lld documents: cut short or damaged", path,
                      (long long)m->size, (long long)h->tokens, (long long)h->documents);
  return 0;
}

static int check_documents(const sonde_shard *s, const char *path, sonde_error *err) {
  int ok = s->offsets[0] == 0 && s->offsets[s->documents] == s->stream.tokens;
  for (int64_t i = 0; i < s->documents && ok; i++) ok = s->offsets[i] <= s->offsets[i + 1];
  return ok ? 0 : sonde_fail(err, SONDE_EFORMAT, "%s: the document offsets are not in order", path);
}

static int open_own(sonde_shard *s, const char *path, sonde_error *err) {
  header h;
  const char *data = s->map.data;
  if (s->map.size < (int64_t)sizeof h)
    return sonde_fail(err, SONDE_EFORMAT, "%s: %lld bytes are too few for a token shard", path,
                      (long long)s->map.size);
  memcpy(&h, data, sizeof h);
  int rc = check_header(&h, &s->map, path, err);
  if (rc) return rc;
  if (checksum(h, data + sizeof h, (size_t)s->map.size - sizeof h) != h.crc)
    return sonde_fail(err, SONDE_EFORMAT, "%s: the checksum does not match: the file is damaged", path);
  int64_t end;
  s->stream = (sonde_stream){.data = data + sizeof h, .width = (int32_t)h.width, .tokens = h.tokens, .vocab = h.vocab};
  s->offsets = (const int64_t *)(data + layout(&h, &end));
  s->documents = h.documents;
  s->text_bytes = h.text_bytes;
  sonde_sha256_to_hex(h.tokenizer, s->tokenizer);
  sonde_sha256_to_hex(h.hash, s->hash);
  return check_documents(s, path, err);
}

/* Files without a checksum: an id beyond the vocabulary is found now, not in the middle of a training. */
static int check_ids(const sonde_stream *s, const char *path, sonde_error *err) {
  int32_t id[1024];
  for (int64_t i = 0; i < s->tokens; i += 1024) {
    sonde_error why = {0};
    int64_t n = s->tokens - i < 1024 ? s->tokens - i : 1024;
    if (!sonde_stream_read(s, i, n, id, &why)) continue;
    for (int64_t k = 0; k < n; k++)
      if ((uint32_t)id[k] >= s->vocab)
        return sonde_fail(err, SONDE_EINVAL, "%s: token %lld is the id %u, and the vocabulary is said to be %lld", path,
                          (long long)(i + k), (uint32_t)id[k], (long long)s->vocab);
    return sonde_fail(err, why.code, "%s: %s", path, why.text);
  }
  return 0;
}

static int open_llmc(sonde_shard *s, const int32_t *head, const char *path, sonde_error *err) {
  int llama = head[0] == LLMC_LLAMA3, width = llama ? 4 : 2;
  if (head[1] != (llama ? 7 : 1) || head[2] < 0 || s->map.size != LLMC_HEADER + (int64_t)head[2] * width)
    return sonde_fail(err, SONDE_EFORMAT,
                      "%s: an llm.c shard of version %d whose %lld bytes do not hold %d tokens", path,
                      head[1], (long long)s->map.size, head[2]);
  s->stream = (sonde_stream){.data = (const char *)s->map.data + LLMC_HEADER, .width = width, .tokens = head[2],
                             .vocab = llama ? LLAMA3_VOCAB : GPT2_VOCAB};
  return check_ids(&s->stream, path, err);
}

/* u32 ids below 2^18, as u16: every other one is the upper half of its number. */
static int looks_wide(const sonde_mapping *m) {
  const uint16_t *p = m->data;
  int64_t n = m->size / 2, lower = 0;
  if (n < 128 || n % 2) return 0;
  for (int64_t i = 0; i < n; i += 2) {
    if (p[i + 1] > 3) return 0;
    lower += p[i] > 3;
  }
  return lower > n / 4;
}

static int open_bare(sonde_shard *s, int64_t vocab, const char *path, sonde_error *err) {
  size_t n = strlen(path);
  if (n < 4 || strcmp(path + n - 4, ".bin"))
    return sonde_fail(err, SONDE_EFORMAT, "%s: not a token shard", path);
  if (vocab < 1 || vocab > 65536)
    return sonde_fail(
        err, SONDE_EINVAL,
        "%s: bare u16 tokens do not say their vocabulary: give it with the option vocab (1 to 65536; GPT-2's "
        "is 50257), or their tokenizer",
        path);
  if (s->map.size % 2)
    return sonde_fail(err, SONDE_EFORMAT, "%s: an odd number of bytes cannot be u16 tokens", path);
  if (looks_wide(&s->map))
    return sonde_fail(err, SONDE_EFORMAT, "%s: these are u32 tokens; bare files are read as u16", path);
  s->stream = (sonde_stream){.data = s->map.data, .width = 2, .tokens = s->map.size / 2, .vocab = vocab};
  return check_ids(&s->stream, path, err);
}

static int open_mapped(sonde_shard *s, int64_t vocab, const char *path, sonde_error *err) {
  int32_t head[3] = {0};
  int rc;
  if (s->map.size >= (int64_t)sizeof MAGIC && !memcmp(s->map.data, MAGIC, sizeof MAGIC)) {
    if ((rc = open_own(s, path, err))) return rc;
  } else {
    if (s->map.size >= LLMC_HEADER) memcpy(head, s->map.data, sizeof head);
    int llmc = head[0] == LLMC_GPT2 || head[0] == LLMC_LLAMA3;
    if ((rc = llmc ? open_llmc(s, head, path, err) : open_bare(s, vocab, path, err))) return rc;
  }
  if (!vocab || s->stream.vocab <= vocab) return 0;
  return sonde_fail(err, SONDE_EINVAL, "%s: made with a vocabulary of %lld, more than the %lld that it is opened with",
                    path, (long long)s->stream.vocab, (long long)vocab);
}

sonde_shard *sonde_shard_open(const char *path, int64_t vocab, sonde_error *err) {
  sonde_shard *s = sonde_alloc(sizeof *s);
  if (!s) {
    sonde_fail(err, SONDE_ENOMEM, "%s: out of memory", path);
    return NULL;
  }
  if (!sonde_map_file(path, &s->map, err) && !open_mapped(s, vocab, path, err)) return s;
  sonde_shard_free(s);
  return NULL;
}

void sonde_shard_free(sonde_shard *s) {
  if (!s) return;
  sonde_unmap_file(&s->map);
  sonde_release(s);
}

sonde_stream sonde_shard_stream(const sonde_shard *s) {
  return s->stream;
}

int64_t sonde_shard_documents(const sonde_shard *s) {
  return s->documents;
}

int64_t sonde_shard_document(const sonde_shard *s, int64_t i) {
  return s->offsets && i >= 0 && i <= s->documents ? s->offsets[i] : 0;
}

int64_t sonde_shard_text_bytes(const sonde_shard *s) {
  return s->text_bytes;
}

const char *sonde_shard_tokenizer(const sonde_shard *s) {
  return s->tokenizer;
}

const char *sonde_shard_hash(const sonde_shard *s) {
  return s->hash;
}

/* ---- writing ------------------------------------------------------------------------------------------- */

static int narrow(const char *path, const int32_t *ids, int64_t n, int64_t vocab, int width, void *out,
                  sonde_error *err) {
  for (int64_t i = 0; i < n; i++) {
    if (ids[i] < 0 || ids[i] >= vocab)
      return sonde_fail(err, SONDE_EINVAL, "%s: the token id %d for a vocabulary of %lld", path, ids[i],
                        (long long)vocab);
    if (width == 2)
      ((uint16_t *)out)[i] = (uint16_t)ids[i];
    else
      ((uint32_t *)out)[i] = (uint32_t)ids[i];
  }
  return 0;
}

static int write_both(const char *path, const header *h, const void *body, int64_t bytes, sonde_error *err) {
  sonde_outfile *f = sonde_outfile_open(path, err);
  if (!f) return err->code;
  FILE *out = sonde_outfile_stream(f);
  if (fwrite(h, sizeof *h, 1, out) == 1 && fwrite(body, 1, (size_t)bytes, out) == (size_t)bytes)
    return sonde_outfile_commit(f, err);
  int rc = sonde_fail_errno(err, SONDE_EIO, "cannot write '%s'", path);
  sonde_outfile_abandon(f);
  return rc;
}

int sonde_shard_write(const char *path, const int32_t *ids, int64_t n, const int64_t *offsets,
                      int64_t documents, const sonde_shard_info *info, sonde_error *err) {
  header h = {.version = SHARD_VERSION,
              .width = info->vocab <= 65536 ? 2 : 4,
              .tokens = n,
              .documents = documents,
              .vocab = info->vocab,
              .text_bytes = info->text_bytes};
  sonde_sha256 sha;
  char hex[65];
  int64_t end, table;
  if (info->vocab < 1 || info->vocab > MAX_VOCAB || n < 0 || documents < 0 || (table = layout(&h, &end)) < 0)
    return sonde_fail(err, SONDE_EINVAL, "%s: %lld tokens of a vocabulary of %lld cannot be a shard", path,
                      (long long)n, (long long)info->vocab);
  char *body = sonde_alloc((size_t)(end - (int64_t)sizeof h));
  if (!body) return sonde_fail(err, SONDE_ENOMEM, "%s: out of memory", path);
  int rc = narrow(path, ids, n, info->vocab, (int)h.width, body, err);
  if (!rc) {
    memcpy(h.magic, MAGIC, sizeof h.magic);
    memcpy(body + table - (int64_t)sizeof h, offsets, (size_t)(documents + 1) * sizeof *offsets);
    sonde_sha256_init(&sha);
    sonde_sha256_add(&sha, body, (size_t)(n * h.width));
    sonde_sha256_hex(&sha, hex);
    sonde_sha256_from_hex(hex, h.hash);
    sonde_sha256_from_hex(info->tokenizer, h.tokenizer);
    h.crc = checksum(h, body, (size_t)(end - (int64_t)sizeof h));
    rc = write_both(path, &h, body, end - (int64_t)sizeof h, err);
  }
  sonde_release(body);
  return rc;
}
