/* formulas.h - the elementwise ops, each as one formula: compiled for the CPU (simd_vec.c), and the text that a
 * definition carries for devices that generate code (sonde_op_def.formula). x, y, z are the elements of the inputs;
 * f0 and f1 of "affine" are its attributes. In gradients the last input is the upstream gradient, and x of tanh_grad
 * and sigmoid_grad is the result. NaN comes through everywhere: where a comparison decides, it is written so that the
 * NaN is what is kept.
 *
 * Functions a formula may use: expf-like exp_one, tanh_one and erf_one (simd_vector.h), logf, sqrtf, fabsf, erff, sinf,
 * cosf, and sigmoid_of, silu_slope, gelu_slope, gelu_tanh_argument and gelu_tanh_slope (simd_vec.c); constants:
 * INV_SQRT2. */
#ifndef SONDE_CPU_FORMULAS_H
#define SONDE_CPU_FORMULAS_H

#define SONDE_FORMULAS(UNARY, BINARY, TERNARY) \
  UNARY(neg, -x)                                                \
  UNARY(exp, exp_one(x))                                        \
  UNARY(log, logf(x))                                           \
  UNARY(sqrt, sqrtf(x))                                         \
  UNARY(rsqrt, 1.0f / sqrtf(x))                                 \
  UNARY(square, x * x)                                          \
  UNARY(reciprocal, 1.0f / x)                                   \
  UNARY(abs, fabsf(x))                                          \
  UNARY(sign, x > 0 ? 1.0f : x < 0 ? -1.0f : x)                 \
  UNARY(tanh, tanh_one(x))                                      \
  UNARY(erf, erf_one(x))                                        \
  UNARY(sigmoid, sigmoid_of(x))                                 \
  UNARY(silu, x * sigmoid_of(x))                                \
  UNARY(gelu, 0.5f * x * (1.0f + erff(x * INV_SQRT2)))          \
  UNARY(gelu_tanh, x * sigmoid_of(gelu_tanh_argument(x)))       \
  UNARY(relu, x < 0 ? 0.0f : x)                                 \
  UNARY(relu2, x < 0 ? 0.0f : x * x)                            \
  UNARY(sin, sinf(x))                                           \
  UNARY(cos, cosf(x))                                           \
  BINARY(add, x + y)                                            \
  BINARY(sub, x - y)                                            \
  BINARY(mul, x * y)                                            \
  BINARY(div, x / y)                                            \
  BINARY(max, x > y || x != x ? x : y)                          \
  BINARY(min, x < y || x != x ? x : y)                          \
  BINARY(greater, x > y ? 1.0f : 0.0f)                          \
  TERNARY(where, x != 0 ? y : z)                                \
  BINARY(swiglu, x * sigmoid_of(x) * y)                         \
  BINARY(silu_grad, y * silu_slope(x))                          \
  BINARY(gelu_grad, y * gelu_slope(x))                          \
  BINARY(gelu_tanh_grad, y * gelu_tanh_slope(x))                \
  BINARY(tanh_grad, y * (1.0f - x * x))                         \
  BINARY(sigmoid_grad, y * x * (1.0f - x))                      \
  BINARY(relu_grad, x > 0 ? y : x != x ? x : 0.0f)              \
  BINARY(relu2_grad, x > 0 ? 2.0f * x * y : x != x ? x : 0.0f)  \
  TERNARY(swiglu_dgate, z * y * silu_slope(x))                  \
  BINARY(swiglu_dup, x * sigmoid_of(x) * y)

#define SONDE_AFFINE(AFFINE) AFFINE(affine, f0 * x + f1)

#endif
