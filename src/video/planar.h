/* planar.h - the motion of the camera, from displacements of blocks: a robust fit of one smooth field to the picture.
 *
 * A plane that a camera moves past has, to first order in time, the displacements
 *
 *   u = a0 + a1 x + a2 y + a6 x^2 + a7 x y
 *   v = a3 + a4 x + a5 y + a6 x y + a7 y^2
 *
 * (Longuet-Higgins and Prazdny 1980; Bergen, Anandan, Hanna and Hingorani, Hierarchical model-based motion estimation,
 * ECCV 1992, eq. 11). The affine model is the same with a6 = a7 = 0. x and y are measured from the picture's centre in
 * halves of its width. The a are found by iteratively reweighted least squares (as Odobez and Bouthemy 1995), residual
 * r_i = |(u_i, v_i) - model|, with Tukey's biweight
 *
 *   w_i = s_i (1 - (r_i / (4.685 sigma))^2)^2 for r_i < 4.685 sigma, else 0,   sigma = max(1.4826 median_i r_i, floor)
 *
 * where s_i is the structure of a block and the median counts each block by it. The first residuals are those of the
 * candidate with the least median (Rousseeuw, Least median of squares regression, 1984) among the plain least-squares
 * fit and affine fits to 48 samples of four blocks, so that a lorry over a third of the picture is no camera motion.
 * The floor keeps a picture that the
 * model fits exactly (a standing camera) from having outliers of rounding. Blocks that keep a small weight are moved by
 * something else: other road users, or what stands close by (parallax). */
#ifndef SONDE_VIDEO_PLANAR_H
#define SONDE_VIDEO_PLANAR_H

/* One displacement: (x, y) in half widths from the centre, (u, v) in pixels, weight 0..1. */
typedef struct sonde_flow { float x, y, u, v, weight; } sonde_flow;

typedef struct sonde_planar_opts {
  int affine;             /* 1: six parameters */
  double floor;           /* of sigma, in pixels */
} sonde_planar_opts;

enum { SONDE_PLANAR = 8 };

typedef struct sonde_planar {
  double a[SONDE_PLANAR];
  double sigma;           /* pixels */
  double median;          /* of the residuals, pixels */
  int rounds;
} sonde_planar;

/* Fits n displacements. With fewer blocks of full weight than twice the parameters, all parameters are 0. */
sonde_planar sonde_planar_fit(const sonde_flow *flow, int n, const sonde_planar_opts *opts);

/* The model's displacement at (x, y). */
static inline void sonde_planar_at(const sonde_planar *p, double x, double y, double *u, double *v) {
  const double *a = p->a;
  *u = a[0] + a[1] * x + a[2] * y + a[6] * x * x + a[7] * x * y;
  *v = a[3] + a[4] * x + a[5] * y + a[6] * x * y + a[7] * y * y;
}

/* du/dx + dv/dy there, in pixels per half width. */
static inline double sonde_planar_divergence(const sonde_planar *p, double x, double y) {
  return p->a[1] + p->a[5] + 3 * (p->a[6] * x + p->a[7] * y);
}

#endif
