/* tokenizer.c - a loaded tokenizer: life, look-ups, decoding. */
#include "config.h"

#include <string.h>
#include "base/file.h"
#include "text/tokenizer_internal.h"

sonde_tokenizer *sonde_tokenizer_ref(sonde_tokenizer *t) {
  if (t) __atomic_add_fetch(&t->refs, 1, __ATOMIC_RELAXED);
  return t;
}

void sonde_tokenizer_free(sonde_tokenizer *t) {
  if (!t || __atomic_sub_fetch(&t->refs, 1, __ATOMIC_ACQ_REL)) return;
  sonde_norms_free(&t->norms);
  sonde_stages_free(&t->stages);
  sonde_decoder_free(&t->decoder);
  sonde_intern_free(&t->spelling);
  sonde_release(t->spelling_id);
  sonde_trie_free(&t->trie);
  sonde_release(t->score);
  sonde_map_free(t->by_name);
  sonde_bytes_free(&t->idle);
  sonde_release(t->before);
  sonde_release(t->after);
  sonde_release(t->merge);
  sonde_release(t->token);
  sonde_release(t->json);
  sonde_arena_free(t->arena);
  sonde_release(t);
}

int sonde_tokenizer_save(const sonde_tokenizer *t, const char *path, sonde_error *err) {
  return sonde_file_write(path, t->json, t->json_bytes, err);
}

int64_t sonde_tokenizer_vocab(const sonde_tokenizer *t) {
  return t->vocab;
}

int sonde_tokenizer_idle(sonde_tokenizer *t, const char *name) {
  if (t->idle.n && sonde_bytes_add(&t->idle, ", ", 2)) return SONDE_ENOMEM;
  return sonde_bytes_add(&t->idle, name, (int64_t)strlen(name));
}

const char *sonde_tokenizer_unused(const sonde_tokenizer *t) {
  return t->idle.data ? t->idle.data : "";
}

const char *sonde_tokenizer_hash(const sonde_tokenizer *t) {
  return t->hash;
}

static int same_bytes(const char *a, int64_t n, const char *b, int64_t m) {
  return !a == !b && (!a || (n == m && !memcmp(a, b, (size_t)n)));
}

static int same_added(const sonde_added *a, const sonde_added *b) {
  return a && b && a->id == b->id && a->special == b->special && a->single_word == b->single_word &&
         a->strip_left == b->strip_left && a->strip_right == b->strip_right && a->normalized == b->normalized;
}

static int same_models(const sonde_tokenizer *a, const sonde_tokenizer *b) {
  int same = a->model == b->model && a->byte_level == b->byte_level && a->vocab == b->vocab &&
             a->whole_first == b->whole_first && a->unknown == b->unknown && a->fuse_unknown == b->fuse_unknown &&
             a->longest_word == b->longest_word && (!a->continuing || !strcmp(a->continuing, b->continuing)) &&
             (a->byte_level || a->byte_fallback == b->byte_fallback);
  for (int64_t id = 0; id < a->vocab && same; id++)
    same = same_bytes(a->token[id].bytes, a->token[id].n, b->token[id].bytes, b->token[id].n) &&
           (!a->score || a->score[id] == b->score[id]);
  return same;
}

static int same_merges(const sonde_tokenizer *a, const sonde_tokenizer *b) {
  int64_t merges = 0;
  int same = 1;
  for (int64_t i = 0; i < a->merge_slots && same; i++) {
    const sonde_merge *m = &a->merge[i], *other = m->rank < 0 ? m : sonde_find_merge(b, m->a, m->b);
    same = other && other->rank == m->rank;
    merges += m->rank >= 0;
  }
  for (int64_t i = 0; i < b->merge_slots && same; i++) merges -= b->merge[i].rank >= 0;
  return same && !merges;
}

int sonde_tokenizer_same(const sonde_tokenizer *a, const sonde_tokenizer *b) {
  if (!strcmp(a->hash, b->hash)) return 1;
  int same = same_models(a, b) && sonde_norms_same(&a->norms, &b->norms) && sonde_stages_same(&a->stages, &b->stages) &&
             sonde_map_count(a->by_name) == sonde_map_count(b->by_name);
  for (int64_t i = 0; i < sonde_map_count(a->by_name) && same; i++)
    same = same_added(sonde_map_value(a->by_name, i), sonde_map_get(b->by_name, sonde_map_key(a->by_name, i)));
  return same && same_merges(a, b);
}

int32_t sonde_tokenizer_special(const sonde_tokenizer *t, const char *text) {
  const sonde_added *a = sonde_map_get(t->by_name, text);
  return a ? a->id : -1;
}

int32_t sonde_tokenizer_eot(const sonde_tokenizer *t) {
  static const char *const names[] = {SONDE_EOT, "<|end_of_text|>", "</s>", "<eos>"};
  int32_t id = t->end_plus_one - 1;
  for (size_t i = 0; i < sizeof names / sizeof *names && id < 0; i++)
    id = sonde_tokenizer_special(t, names[i]);
  return id;
}

int sonde_tokenizer_end_with(sonde_tokenizer *t, const char *text, sonde_error *err) {
  int32_t id = sonde_tokenizer_special(t, text);
  if (id < 0) return sonde_fail(err, SONDE_EINVAL, "the tokenizer has no added token '%s' to end a text with", text);
  t->end_plus_one = id + 1;
  return 0;
}

const char *sonde_tokenizer_bytes(const sonde_tokenizer *t, int32_t id, int64_t *n) {
  if (id < 0 || id >= t->vocab || !t->token[id].bytes) return NULL;
  *n = t->token[id].n;
  return t->token[id].bytes;
}

/* Tokens through the steps that depend on where they are, up to the one that joins them. `index` counts those that are
 * kept. */
static int decode_tokens(const sonde_tokenizer *t, const int32_t *ids, int64_t n, int flags, sonde_bytes buf[2],
                         sonde_bytes *out, sonde_error *err) {
  int fixed = sonde_decoder_fixed(&t->decoder), fuse = sonde_decoder_fuse(&t->decoder);
  int64_t index = flags & SONDE_DECODE_INSIDE ? 1 : 0;
  for (int64_t i = 0; i < n; i++) {
    int64_t size;
    const char *p = sonde_tokenizer_bytes(t, ids[i], &size);
    if (ids[i] < 0) return sonde_fail(err, SONDE_EINVAL, "the id %d is no token", ids[i]);
    if (!p || (flags & SONDE_DECODE_SKIP_SPECIAL && t->token[ids[i]].special)) continue;
    int rc = sonde_decoder_run(&t->decoder, fixed, fuse, index++, &p, &size, buf, err);
    if (rc) return rc;
    if (sonde_bytes_add(out, p, size)) return sonde_fail(err, SONDE_ENOMEM, "decoding: out of memory");
  }
  return 0;
}

int sonde_decode(const sonde_tokenizer *t, const int32_t *ids, int64_t n, int flags, char **text, int64_t *bytes,
                 sonde_error *err) {
  const sonde_decoder *d = &t->decoder;
  sonde_bytes out = {0}, buf[2] = {{0}, {0}};
  int rc = sonde_bytes_add(&out, "", 0);
  if (rc) sonde_fail(err, rc, "decoding: out of memory");
  if (!rc) rc = decode_tokens(t, ids, n, flags, buf, &out, err);
  const char *p = out.data;
  int64_t size = out.n;
  if (!rc) rc = sonde_decoder_run(d, sonde_decoder_fuse(d), d->n, !!(flags & SONDE_DECODE_INSIDE), &p, &size, buf, err);
  if (!rc && p != out.data) {      /* one of the buffers is the text */
    int which = p == buf[1].data;
    sonde_bytes swap = out;
    out = buf[which];
    buf[which] = swap;
  }
  sonde_bytes_free(&buf[0]);
  sonde_bytes_free(&buf[1]);
  if (rc) {
    sonde_bytes_free(&out);
    return rc;
  }
  *text = out.data;
  *bytes = out.n;
  return 0;
}

void sonde_ids_free(sonde_ids *ids) {
  sonde_release(ids->id);
  *ids = (sonde_ids){0};
}

int sonde_ids_push(sonde_ids *ids, int32_t id) {
  if (ids->n == ids->cap) {
    int64_t cap = 2 * ids->cap + 256;
    int32_t *p = sonde_grow(ids->id, (size_t)ids->cap * sizeof *p, (size_t)cap * sizeof *p);
    if (!p) return SONDE_ENOMEM;
    ids->id = p;
    ids->cap = cap;
  }
  ids->id[ids->n++] = id;
  return SONDE_OK;
}
