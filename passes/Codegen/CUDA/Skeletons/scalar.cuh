// scalar.cuh - Elements, arithmetic on them, arguments of kernels
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
#ifndef FERRITE_SCALAR_CUH
#define FERRITE_SCALAR_CUH

#include "ferrite/device.cuh"

namespace ferrite {

//===-- arguments ----------------------------------------------------------===//

/// A FerriteArg of abi.h.
union Arg {
  void *ptr;
  i64 size;
};

/// A CUtensorMap of the driver.
struct alignas(64) TensorMap {
  u64 opaque[16];
};

template <int ARGS, int MAPS>
struct Params {
  Arg a[ARGS];
  i64 *fault;
  i64 launch; ///< its number + 1
  i64 units;
  TensorMap maps[MAPS];
};
template <int ARGS>
struct Params<ARGS, 0> {
  Arg a[ARGS];
  i64 *fault;
  i64 launch;
  i64 units;
};

//===-- elements as they are stored ----------------------------------------===//

struct f16 {
  u16 bits;
  f16() = default;
  FERRITE_DEVICE explicit f16(float v) : bits(f16OfFloat(v)) {}
  FERRITE_DEVICE operator float() const { return floatOfF16(bits); }
  FERRITE_DEVICE static f16 ofBits(u16 bits) {
    f16 v;
    v.bits = bits;
    return v;
  }
};
struct bf16 {
  u16 bits;
  bf16() = default;
  FERRITE_DEVICE explicit bf16(float v) : bits(bf16OfFloat(v)) {}
  FERRITE_DEVICE operator float() const { return floatOfBF16(bits); }
  FERRITE_DEVICE static bf16 ofBits(u16 bits) {
    bf16 v;
    v.bits = bits;
    return v;
  }
};
struct bool8 {
  u8 byte;
  bool8() = default;
  FERRITE_DEVICE explicit bool8(bool v) : byte(v) {}
  FERRITE_DEVICE operator bool() const { return byte != 0; }
};

/// Which of the two a short float is.
template <class T>
struct FloatOf {
  static constexpr bool isHalf = false;
};
template <>
struct FloatOf<f16> {
  static constexpr bool isHalf = true;
};

/// The type of an element's value in a body.
template <class T>
struct ValueOf {
  typedef T type;
};
template <>
struct ValueOf<f16> {
  typedef float type;
};
template <>
struct ValueOf<bf16> {
  typedef float type;
};
template <>
struct ValueOf<bool8> {
  typedef bool type;
};
template <>
struct ValueOf<u8> {
  typedef i8 type;
};
template <>
struct ValueOf<u16> {
  typedef i16 type;
};
template <>
struct ValueOf<u32> {
  typedef int type;
};
template <>
struct ValueOf<u64> {
  typedef i64 type;
};

template <class T>
FERRITE_DEVICE typename ValueOf<T>::type load(const T *p) {
  return (typename ValueOf<T>::type)*p;
}
template <class T, class V>
FERRITE_DEVICE void store(T *p, V v) {
  *p = T((typename ValueOf<T>::type)v);
}

/// Two neighbours at once, where `aligned` says that they are one word.
template <class T, class V>
FERRITE_DEVICE void storePair(T *p, V first, V second, bool aligned) {
  if (sizeof(T) == 2 && aligned) {
    struct alignas(4) Pair {
      T all[2];
    };
    typedef typename ValueOf<T>::type Value;
    const Pair pair = {{T((Value)first), T((Value)second)}};
    *(Pair *)p = pair;
    return;
  }
  store(p, first);
  store(p + 1, second);
}

FERRITE_DEVICE float roundF16(float v) { return floatOfF16(f16OfFloat(v)); }
FERRITE_DEVICE float roundBF16(float v) { return floatOfBF16(bf16OfFloat(v)); }

//===-- functions of bodies ------------------------------------------------===//

#define FERRITE_FUNCTION(NAME, FLOAT, DOUBLE)                                  \
  FERRITE_DEVICE float NAME(float v) { return FLOAT(v); }                      \
  FERRITE_DEVICE double NAME(double v) { return DOUBLE(v); }
FERRITE_FUNCTION(exp, ::expf, ::exp)
FERRITE_FUNCTION(expm1, ::expm1f, ::expm1)
FERRITE_FUNCTION(log, ::logf, ::log)
FERRITE_FUNCTION(log1p, ::log1pf, ::log1p)
FERRITE_FUNCTION(erf, ::erff, ::erf)
FERRITE_FUNCTION(sin, ::sinf, ::sin)
FERRITE_FUNCTION(cos, ::cosf, ::cos)
FERRITE_FUNCTION(tan, ::tanf, ::tan)
FERRITE_FUNCTION(asin, ::asinf, ::asin)
FERRITE_FUNCTION(acos, ::acosf, ::acos)
FERRITE_FUNCTION(atan, ::atanf, ::atan)
FERRITE_FUNCTION(sinh, ::sinhf, ::sinh)
FERRITE_FUNCTION(cosh, ::coshf, ::cosh)
FERRITE_FUNCTION(tanh, ::tanhf, ::tanh)
FERRITE_FUNCTION(asinh, ::asinhf, ::asinh)
FERRITE_FUNCTION(acosh, ::acoshf, ::acosh)
FERRITE_FUNCTION(atanh, ::atanhf, ::atanh)
FERRITE_FUNCTION(sqrt, ::sqrtf, ::sqrt)
FERRITE_FUNCTION(rsqrt, 1.0f / ::sqrtf, 1.0 / ::sqrt)
FERRITE_FUNCTION(floor, ::floorf, ::floor)
FERRITE_FUNCTION(ceil, ::ceilf, ::ceil)
FERRITE_FUNCTION(roundEven, ::rintf, ::rint)
FERRITE_FUNCTION(round, ::roundf, ::round)
FERRITE_FUNCTION(trunc, ::truncf, ::trunc)
FERRITE_FUNCTION(abs, ::fabsf, ::fabs)
#undef FERRITE_FUNCTION

FERRITE_DEVICE float pow(float a, float b) { return ::powf(a, b); }
FERRITE_DEVICE double pow(double a, double b) { return ::pow(a, b); }
FERRITE_DEVICE float remainder(float a, float b) { return ::fmodf(a, b); }
FERRITE_DEVICE double remainder(double a, double b) { return ::fmod(a, b); }
FERRITE_DEVICE float fma(float a, float b, float c) { return ::fmaf(a, b, c); }
FERRITE_DEVICE double fma(double a, double b, double c) {
  return ::fma(a, b, c);
}
/// Integers wrap.
FERRITE_DEVICE int fma(int a, int b, int c) {
  return (int)((u32)a * (u32)b + (u32)c);
}
FERRITE_DEVICE i64 fma(i64 a, i64 b, i64 c) {
  return (i64)((u64)a * (u64)b + (u64)c);
}
FERRITE_DEVICE float copySign(float a, float b) { return ::copysignf(a, b); }
FERRITE_DEVICE double copySign(double a, double b) { return ::copysign(a, b); }
FERRITE_DEVICE float maxNumber(float a, float b) { return ::fmaxf(a, b); }
FERRITE_DEVICE double maxNumber(double a, double b) { return ::fmax(a, b); }
FERRITE_DEVICE float minNumber(float a, float b) { return ::fminf(a, b); }
FERRITE_DEVICE double minNumber(double a, double b) { return ::fmin(a, b); }

template <class T>
FERRITE_DEVICE bool isNaN(T v) {
  return v != v;
}
template <class T>
FERRITE_DEVICE bool isInf(T v) {
  return abs(v) == (T)FERRITE_INFINITY;
}
template <class T>
FERRITE_DEVICE bool isFinite(T v) {
  return abs(v) < (T)FERRITE_INFINITY;
}
/// NaN where either is.
template <class T>
FERRITE_DEVICE T maximum(T a, T b) {
  return a != a ? a : b != b ? b : a > b ? a : b;
}
template <class T>
FERRITE_DEVICE T minimum(T a, T b) {
  return a != a ? a : b != b ? b : a < b ? a : b;
}
template <class T>
FERRITE_DEVICE T maxInteger(T a, T b) {
  return a > b ? a : b;
}
template <class T>
FERRITE_DEVICE T minInteger(T a, T b) {
  return a < b ? a : b;
}

FERRITE_DEVICE u8 unsignedOf(bool v) { return v; }
FERRITE_DEVICE u8 unsignedOf(i8 v) { return (u8)v; }
FERRITE_DEVICE u16 unsignedOf(i16 v) { return (u16)v; }
FERRITE_DEVICE u32 unsignedOf(int v) { return (u32)v; }
FERRITE_DEVICE u64 unsignedOf(i64 v) { return (u64)v; }

template <class T>
FERRITE_DEVICE T absInteger(T v) {
  return v < 0 ? (T)(0 - unsignedOf(v)) : v;
}
/// As the CPU's kernels: by 0 is by 1, and so is the least integer by -1.
template <class T>
FERRITE_DEVICE T guarded(T a, T b) {
  if (b == 0)
    return 1;
  return (T)-1 < 0 && b == (T)-1 && a == (T)((T)1 << (sizeof(T) * 8 - 1)) ? 1
                                                                          : b;
}
template <class T>
FERRITE_DEVICE T divide(T a, T b) {
  return (T)(a / guarded(a, b));
}
template <class T>
FERRITE_DEVICE T rest(T a, T b) {
  return (T)(a % guarded(a, b));
}
template <class T>
FERRITE_DEVICE T floorDivide(T a, T b) {
  b = guarded(a, b);
  T q = (T)(a / b);
  return q * b != a && (a ^ b) < 0 ? (T)(q - 1) : q;
}
template <class T>
FERRITE_DEVICE T ceilDivide(T a, T b) {
  b = guarded(a, b);
  T q = (T)(a / b);
  return q * b != a && (a ^ b) >= 0 ? (T)(q + 1) : q;
}
/// Towards zero; what does not fit gives any value, as in a body.
template <class To, class From>
FERRITE_DEVICE To toInteger(From v) {
  return v >= (From)-9.3e18 && v <= (From)1.9e19
             ? (v < 0 ? (To)(i64)v : (To)(u64)v)
             : (To)0;
}

//===-- indices ------------------------------------------------------------===//

/// An index that the model computed, made good for `size` elements: a negative
/// one counts from the end. One still outside is clamped and fails the run.
template <class P>
FERRITE_DEVICE i64 position(const P &p, i64 index, i64 size) {
  i64 at = index < 0 ? index + size : index;
  if (at >= 0 && at < size)
    return at;
  setFault(p.fault, p.launch, index);
  return at < 0 || size == 0 ? 0 : size - 1;
}

FERRITE_DEVICE i64 minOf(i64 a, i64 b) { return a < b ? a : b; }
FERRITE_DEVICE i64 maxOf(i64 a, i64 b) { return a > b ? a : b; }

/// a / b of a >= 0 and b > 0. The division of 64 bits is a call, around which
/// registers wait on the stack: what does not fit 32 bits, which is rare, is
/// divided bit by bit.
FERRITE_DEVICE i64 quotient(i64 a, i64 b) {
  if (((u64)a | (u64)b) >> 32 == 0)
    return (u32)a / (u32)b;
  u64 q = 0, rest = 0;
#pragma unroll 1
  for (int i = 62; i >= 0; --i) {
    rest = rest << 1 | ((u64)a >> i & 1);
    if (rest >= (u64)b) {
      rest -= (u64)b;
      q |= 1ull << i;
    }
  }
  return (i64)q;
}

//===-- combining the lanes of a warp: one fixed order ---------------------===//

struct Sum {
  template <class T>
  FERRITE_DEVICE T operator()(T a, T b) const {
    return (T)(a + b);
  }
};
struct Product {
  template <class T>
  FERRITE_DEVICE T operator()(T a, T b) const {
    return (T)(a * b);
  }
};
struct Largest {
  template <class T>
  FERRITE_DEVICE T operator()(T a, T b) const {
    return maximum(a, b);
  }
};
struct Least {
  template <class T>
  FERRITE_DEVICE T operator()(T a, T b) const {
    return minimum(a, b);
  }
};
struct LargestInteger {
  template <class T>
  FERRITE_DEVICE T operator()(T a, T b) const {
    return maxInteger(a, b);
  }
};
struct LargestUnsigned {
  template <class T>
  FERRITE_DEVICE T operator()(T a, T b) const {
    return unsignedOf(a) > unsignedOf(b) ? a : b;
  }
};
struct LeastUnsigned {
  template <class T>
  FERRITE_DEVICE T operator()(T a, T b) const {
    return unsignedOf(a) < unsignedOf(b) ? a : b;
  }
};

/// Two floats as the halves of a word, the first low.
template <class T>
FERRITE_DEVICE u32 packPair(float low, float high) {
  return (u32)T(low).bits | (u32)T(high).bits << 16;
}

/// Of all lanes, in all of them.
template <class Combine, class T>
FERRITE_DEVICE T combineWarp(T v, Combine combine) {
  for (int mask = 16; mask > 0; mask >>= 1)
    v = combine(v, shuffleXor(v, mask));
  return v;
}

} // namespace ferrite
#endif // FERRITE_SCALAR_CUH
