/* motion.c - see motion.h. */
#include "config.h"

#include "video/motion.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum { WINDOW = 8, REFINE = 2, FLAT = 16, STRUCTURED = 48 };   /* FLAT, STRUCTURED: 1/16 grey level a pixel */

typedef struct picture { uint8_t *full, *half; } picture;
typedef struct match { int u, v, sad, cost; } match;

/* Sum of absolute differences of two blocks whose rows are `stride` bytes apart. */
typedef int (*sad_fn)(const uint8_t *a, const uint8_t *b, int stride);

struct sonde_matcher {
  sonde_matcher_opts opts;
  int width, height;            /* of the pictures */
  int wide, high;               /* whole blocks */
  int columns, rows, has_reference;
  picture current, reference;
  struct match *coarse;         /* of each block */
};

/* ---- sums of absolute differences ---- */

static inline int sad_scalar(const uint8_t *a, const uint8_t *b, int stride, int side) {
  int sum = 0;
  for (int y = 0; y < side; y++, a += stride, b += stride)
    for (int x = 0; x < side; x++) sum += abs(a[x] - b[x]);
  return sum;
}

static int sad8_scalar(const uint8_t *a, const uint8_t *b, int stride) { return sad_scalar(a, b, stride, 8); }
static int sad16_scalar(const uint8_t *a, const uint8_t *b, int stride) { return sad_scalar(a, b, stride, 16); }

#ifdef __SSE2__

static inline int total(__m128i sums) { return _mm_cvtsi128_si32(sums) + _mm_extract_epi16(sums, 4); }

/* Two rows of eight. */
static inline __m128i rows8(const uint8_t *p, int stride) {
  return _mm_unpacklo_epi64(_mm_loadl_epi64((const __m128i *)p), _mm_loadl_epi64((const __m128i *)(p + stride)));
}

static int sad8_sse2(const uint8_t *a, const uint8_t *b, int stride) {
  __m128i sum = _mm_setzero_si128();
  for (int y = 0; y < 8; y += 2)
    sum = _mm_add_epi64(sum, _mm_sad_epu8(rows8(a + y * stride, stride), rows8(b + y * stride, stride)));
  return total(sum);
}

static int sad16_sse2(const uint8_t *a, const uint8_t *b, int stride) {
  __m128i sum = _mm_setzero_si128();
  for (int y = 0; y < 16; y++, a += stride, b += stride)
    sum = _mm_add_epi64(sum, _mm_sad_epu8(_mm_loadu_si128((const __m128i *)a), _mm_loadu_si128((const __m128i *)b)));
  return total(sum);
}

#else
#define sad8_sse2 sad8_scalar
#define sad16_sse2 sad16_scalar
#endif

/* ---- pictures ---- */

static int picture_new(picture *p, size_t pixels) {
  p->full = sonde_alloc(pixels);
  p->half = sonde_alloc(pixels / 4);
  return p->full && p->half ? 0 : SONDE_ENOMEM;
}

static void picture_free(picture *p) {
  sonde_release(p->full);
  sonde_release(p->half);
}

int sonde_matcher_check(const sonde_matcher_opts *o, sonde_error *err) {
  if ((o->block == 8 || o->block == 16) && o->radius >= 1 && o->radius <= 32) return 0;
  return sonde_fail(err, SONDE_EINVAL, "motion is matched in blocks of 8 or 16 pixels with a radius of 1 to 32, not in "
                    "blocks of %d with a radius of %d", o->block, o->radius);
}

sonde_matcher *sonde_matcher_new(int width, int height, const sonde_matcher_opts *opts, sonde_error *err) {
  if (sonde_matcher_check(opts, err)) return NULL;
  if (width < 16 || height < 16 || width > 1 << 14 || height > 1 << 14) {
    sonde_fail(err, SONDE_EINVAL, "motion is matched in pictures from 16 x 16 pixels, not in %d x %d", width, height);
    return NULL;
  }
  sonde_matcher *m = sonde_alloc(sizeof *m);
  if (m) {
    int b = opts->block, wide = (width + b - 1) / b * b, high = (height + b - 1) / b * b;
    *m = (sonde_matcher){.opts = *opts, .width = width, .height = height, .wide = wide, .high = high,
                         .columns = wide / b, .rows = high / b};
    size_t pixels = (size_t)wide * (size_t)high;
    m->coarse = sonde_alloc((size_t)(m->columns * m->rows) * sizeof *m->coarse);
    if (m->coarse && !picture_new(&m->current, pixels) && !picture_new(&m->reference, pixels)) return m;
  }
  sonde_fail(err, SONDE_ENOMEM, "no memory to match motion in %d x %d pixels", width, height);
  sonde_matcher_free(m);
  return NULL;
}

void sonde_matcher_free(sonde_matcher *m) {
  if (!m) return;
  picture_free(&m->current);
  picture_free(&m->reference);
  sonde_release(m->coarse);
  sonde_release(m);
}

int sonde_matcher_columns(const sonde_matcher *m) { return m->columns; }
int sonde_matcher_rows(const sonde_matcher *m) { return m->rows; }

static void halve(const sonde_matcher *m, picture *p) {
  int w = m->wide / 2;
  for (int y = 0; y < m->high / 2; y++) {
    const uint8_t *a = p->full + (size_t)(2 * y) * (size_t)m->wide, *b = a + m->wide;
    uint8_t *to = p->half + (size_t)y * (size_t)w;
    for (int x = 0; x < w; x++) to[x] = (uint8_t)((a[2 * x] + a[2 * x + 1] + b[2 * x] + b[2 * x + 1] + 2) >> 2);
  }
}

static int64_t row_difference(const uint8_t *a, const uint8_t *b, int n) {
  int32_t sum = 0;
  for (int x = 0; x < n; x++) sum += abs(a[x] - b[x]);
  return sum;
}

int sonde_matcher_take(sonde_matcher *m, const uint8_t *luma) {
  int64_t sum = 0;
  size_t wide = (size_t)m->wide, width = (size_t)m->width;
  for (int y = 0; y < m->high; y++) {
    uint8_t *row = m->current.full + (size_t)y * wide;
    const uint8_t *from = luma + (size_t)(y < m->height ? y : m->height - 1) * width;
    memcpy(row, from, width);
    memset(row + width, from[width - 1], wide - width);
    if (m->has_reference && y < m->height) sum += row_difference(row, m->reference.full + (size_t)y * wide, m->width);
  }
  halve(m, &m->current);
  return m->has_reference ? (int)(sum * 256 / ((int64_t)m->width * m->height)) : -1;
}

void sonde_matcher_keep(sonde_matcher *m) {
  picture p = m->reference;
  m->reference = m->current;
  m->current = p;
  m->has_reference = 1;
}

/* ---- matching ---- */

static inline int clamp(int x, int low, int high) { return x < low ? low : x > high ? high : x; }

/* The functions below are compiled once for each pair of sums, which are then part of their loops. */
#define INLINE static inline __attribute__((always_inline))

/* The best displacement, at half size, of the window around a block. No displacement is the first candidate, and wins
 * against those that cost the same. */
INLINE match search(const sonde_matcher *m, int bx, int by, sad_fn window) {
  int w = m->wide / 2, h = m->high / 2, around = (WINDOW - m->opts.block / 2) / 2, r = m->opts.radius;
  int x = clamp(bx / 2 - around, 0, w - WINDOW), y = clamp(by / 2 - around, 0, h - WINDOW);
  const uint8_t *at = m->current.half + y * w + x;
  int left = clamp(x - r, 0, w - WINDOW), right = clamp(x + r, 0, w - WINDOW);
  int top = clamp(y - r, 0, h - WINDOW), bottom = clamp(y + r, 0, h - WINDOW);
  match best = {0, 0, 0, window(at, m->reference.half + y * w + x, w)};
  for (int py = top; py <= bottom; py++)
    for (int px = left; px <= right; px++) {
      int u = x - px, v = y - py;
      int cost = window(at, m->reference.half + py * w + px, w) + 2 * (abs(u) + abs(v));
      if (cost < best.cost) best = (match){u, v, 0, cost};
    }
  return best;
}

/* Sum of a block at full size that comes from (u, v); -1 outside of the picture. */
INLINE int sad_at(const sonde_matcher *m, int bx, int by, int u, int v, sad_fn block) {
  int x = bx - u, y = by - v, b = m->opts.block;
  if (x < 0 || y < 0 || x > m->wide - b || y > m->high - b) return -1;
  return block(m->current.full + by * m->wide + bx, m->reference.full + y * m->wide + x, m->wide);
}

INLINE void try_at(const sonde_matcher *m, int bx, int by, int u, int v, sad_fn block, match *best) {
  int sad = sad_at(m, bx, by, u, v, block), cost = sad + abs(u) + abs(v);
  if (sad >= 0 && cost < best->cost) *best = (match){u, v, sad, cost};
}

INLINE void try_around(const sonde_matcher *m, int bx, int by, int u0, int v0, int reach, sad_fn block, match *best) {
  for (int v = v0 - reach; v <= v0 + reach; v++)
    for (int u = u0 - reach; u <= u0 + reach; u++) try_at(m, bx, by, u, v, block, best);
}

/* Around the best of what was found at half size for the block and the four beside it: the window there is wider than
 * the block, and at the edge of something that moves it follows what is behind. Then around no motion: one pixel is
 * half a pixel there, where a pattern that repeats may fit better elsewhere. */
INLINE match refine(const sonde_matcher *m, int column, int row, sad_fn block) {
  static const int beside[5][2] = {{0, 0}, {-1, 0}, {1, 0}, {0, -1}, {0, 1}};
  int b = m->opts.block, bx = column * b, by = row * b, sad = sad_at(m, bx, by, 0, 0, block);
  match best = {0, 0, sad, sad};
  for (int k = 0; k < 5; k++) {
    int x = column + beside[k][0], y = row + beside[k][1];
    if (x < 0 || y < 0 || x >= m->columns || y >= m->rows) continue;
    const match *c = &m->coarse[y * m->columns + x];
    try_at(m, bx, by, 2 * c->u, 2 * c->v, block, &best);
  }
  try_around(m, bx, by, best.u, best.v, REFINE, block, &best);
  try_around(m, bx, by, 0, 0, 1, block, &best);
  return best;
}

/* The minimum between pixels of a sum that rises alike on both sides: two lines of opposite slopes through the values
 * at -1, 0 and 1 (the equiangular fit of Shimizu and Okutomi 2001, for absolute differences). In 1/16 pixel, -8..8. */
static int between(int before, int at, int after) {
  int rise = (before > after ? before : after) - at;
  if (before < 0 || after < 0 || at == 0 || rise <= 0) return 0;
  return clamp((before - after) * SONDE_SUBPIXELS / (2 * rise), -SONDE_SUBPIXELS / 2, SONDE_SUBPIXELS / 2);
}

/* Mean differences of neighbours in both directions; the smaller one decides: an edge alone does not say how far a
 * block moved along it. Repeated pixels past the picture's edge have none. */
static int structure(const sonde_matcher *m, int bx, int by) {
  int b = m->opts.block, across = 0, down = 0;
  const uint8_t *p = m->current.full + by * m->wide + bx;
  for (int y = 0; y < b; y++, p += m->wide)
    for (int x = 0; x < b - 1; x++) across += abs(p[x + 1] - p[x]);
  p = m->current.full + by * m->wide + bx;
  for (int y = 0; y < b - 1; y++, p += m->wide)
    for (int x = 0; x < b; x++) down += abs(p[x + m->wide] - p[x]);
  return (across < down ? across : down) * 16 / (b * (b - 1));
}

/* What a block is worth, of its structure and the mean difference that is left where it matched best (both in 1/16 grey
 * level): nothing where it is flat, or where as much is left as neighbouring pixels differ by. Such a block has found
 * no match: it was hidden before, moved out of the search's reach, or changed its shape. */
static int weigh(int structure, int difference) {
  int weight = clamp((structure - FLAT) * SONDE_FULL_WEIGHT / (STRUCTURED - FLAT), 0, SONDE_FULL_WEIGHT);
  return structure > 0 ? weight * clamp(2 * (structure - difference), 0, structure) / structure : 0;
}

typedef struct job { const sonde_matcher *m; sonde_block *blocks; } job;

static void search_row(void *arg, int64_t row, int worker) {
  const sonde_matcher *m = ((const job *)arg)->m;
  int b = m->opts.block;
  (void)worker;
  for (int k = 0; k < m->columns; k++)
    m->coarse[row * m->columns + k] = m->opts.scalar ? search(m, k * b, (int)row * b, sad8_scalar)
                                                     : search(m, k * b, (int)row * b, sad8_sse2);
}

INLINE void refine_blocks(const job *j, int row, sad_fn block) {
  const sonde_matcher *m = j->m;
  int b = m->opts.block, by = row * b;
  for (int k = 0; k < m->columns; k++) {
    int bx = k * b;
    match d = refine(m, k, row, block);
    int across = between(sad_at(m, bx, by, d.u - 1, d.v, block), d.sad, sad_at(m, bx, by, d.u + 1, d.v, block));
    int down = between(sad_at(m, bx, by, d.u, d.v - 1, block), d.sad, sad_at(m, bx, by, d.u, d.v + 1, block));
    int difference = d.sad * 16 / (b * b);
    j->blocks[row * m->columns + k] = (sonde_block){
        .u = (int16_t)(d.u * SONDE_SUBPIXELS + across), .v = (int16_t)(d.v * SONDE_SUBPIXELS + down),
        .weight = (uint16_t)weigh(structure(m, bx, by), difference), .difference = (uint16_t)difference};
  }
}

static void refine_row(void *arg, int64_t row, int worker) {
  const job *j = arg;
  int scalar = j->m->opts.scalar;
  (void)worker;
  if (j->m->opts.block == 8 && scalar) refine_blocks(j, (int)row, sad8_scalar);
  else if (j->m->opts.block == 8) refine_blocks(j, (int)row, sad8_sse2);
  else if (scalar) refine_blocks(j, (int)row, sad16_scalar);
  else refine_blocks(j, (int)row, sad16_sse2);
}

void sonde_matcher_match(sonde_matcher *m, sonde_pool *pool, sonde_block *blocks) {
  job j = {m, blocks};
  static const sonde_tile_fn passes[] = {search_row, refine_row};
  for (int pass = 0; pass < 2; pass++) {
    if (pool) sonde_pool_run(pool, m->rows, passes[pass], &j);
    else for (int row = 0; row < m->rows; row++) passes[pass](&j, row, 0);
  }
}
