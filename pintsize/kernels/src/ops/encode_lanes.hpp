// Rows side by side: lane l of a vector belongs to row l, so that every step of an encoder, sums included, is the same
// scalar arithmetic for each row, whatever the instruction set and its number of lanes. Included by the encoders' .cpp files only: it is
// compiled anew for each level, hence the unnamed namespace, and its vectors never cross a translation unit.
#pragma once

#include <cstdint>
#include <cstring>
#include <new>

#ifdef __F16C__
#include <immintrin.h>
#endif

namespace pintsize {
namespace {

#ifdef __AVX512F__
constexpr int kLanes = 16;
#else
constexpr int kLanes = 8;
#endif
typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef int32_t Ints __attribute__((vector_size(4 * kLanes)));

// Scratch memory of vectors. A std::vector of them would be one symbol for all instruction sets.
template <class T>
class Scratch {
 public:
  explicit Scratch(int64_t count)
      : at_(static_cast<T*>(::operator new(count * sizeof(T), std::align_val_t{alignof(T)}))) {}
  ~Scratch() { ::operator delete(at_, std::align_val_t{alignof(T)}); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  T* data() { return at_; }
  T& operator[](int64_t i) { return at_[i]; }

 private:
  T* at_;
};

inline Floats splat(float v) { return Floats{} + v; }
inline Floats minimum(Floats a, Floats b) { return a < b ? a : b; }
inline Floats maximum(Floats a, Floats b) { return a > b ? a : b; }
inline Floats absolute(Floats v) { return reinterpret_cast<Floats>(reinterpret_cast<Ints>(v) & 0x7fffffff); }
// For 0 <= v < 2**31.
inline Floats whole(Floats v) { return __builtin_convertvector(__builtin_convertvector(v, Ints), Floats); }
// To nearest even, for 0 <= v < 2**22.
inline Floats nearest(Floats v) { return (v + 8388608.0f) - 8388608.0f; }

inline uint16_t to_half(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  const uint32_t sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
  if (magnitude >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);  // rounds to infinity
  if (magnitude < 0x38800000u) {  // subnormal: the sum's last place is float16's
    float a;
    std::memcpy(&a, &magnitude, 4);
    a += 0.5f;
    uint32_t sum;
    std::memcpy(&sum, &a, 4);
    return static_cast<uint16_t>(sign | (sum - 0x3f000000u));
  }
  return static_cast<uint16_t>(sign | ((magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13));
}

inline float from_half(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16, rest = h & 0x7fffu;
  if (rest < 0x400u) {
    const float a = static_cast<float>(rest) * 0x1p-24f;
    return sign ? -a : a;
  }
  const uint32_t bits = sign | ((rest >= 0x7c00u ? rest + 0x38000u : rest + 0x1c000u) << 13);
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

// As float16, the bits and the value.
inline Floats half(Floats v, uint16_t* bits) {
  Floats stored;
#if defined(__AVX512F__)
  const __m256i h = _mm512_cvtps_ph(reinterpret_cast<__m512>(v), _MM_FROUND_TO_NEAREST_INT);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(bits), h);
  stored = reinterpret_cast<Floats>(_mm512_cvtph_ps(h));
#elif defined(__F16C__)
  const __m128i h = _mm256_cvtps_ph(reinterpret_cast<__m256>(v), _MM_FROUND_TO_NEAREST_INT);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(bits), h);
  stored = reinterpret_cast<Floats>(_mm256_cvtph_ps(h));
#else
  for (int l = 0; l < kLanes; ++l) {
    bits[l] = to_half(v[l]);
    stored[l] = from_half(bits[l]);
  }
#endif
  return stored;
}

// Four partial sums, of the columns at 0, 1, 2, 3 modulo 4, each in column order; then (s0 + s1) + (s2 + s3).
struct RowSum {
  Floats s0{}, s1{}, s2{}, s3{};
  Floats total() const { return (s0 + s1) + (s2 + s3); }
};

// f(column) summed over [0, columns).
template <class F>
inline Floats row_sum(int64_t columns, F&& f) {
  RowSum sum;
  int64_t c = 0;
  for (; c + 4 <= columns; c += 4) {
    sum.s0 += f(c);
    sum.s1 += f(c + 1);
    sum.s2 += f(c + 2);
    sum.s3 += f(c + 3);
  }
  if (c < columns) sum.s0 += f(c);
  if (c + 1 < columns) sum.s1 += f(c + 1);
  if (c + 2 < columns) sum.s2 += f(c + 2);
  return sum.total();
}

// The largest of f(column) over [0, columns), all of them 0 or more: by four, since a chain waits for each of its links.
template <class F>
inline Floats largest_of(int64_t columns, F&& f) {
  Floats m0{}, m1{}, m2{}, m3{};
  int64_t c = 0;
  for (; c + 4 <= columns; c += 4) {
    m0 = maximum(m0, f(c));
    m1 = maximum(m1, f(c + 1));
    m2 = maximum(m2, f(c + 2));
    m3 = maximum(m3, f(c + 3));
  }
  for (; c < columns; ++c) m0 = maximum(m0, f(c));
  return maximum(maximum(m0, m1), maximum(m2, m3));
}

// Eight columns of eight rows from `row[l] + c` on, turned: lane l of what is written at `out + k * step` is row l's k-th.
inline void turn_eight(const float* const* row, int64_t c, float* out, int64_t step) {
  typedef float Eight __attribute__((vector_size(32)));
  Eight a[8], b[8];
  for (int l = 0; l < 8; ++l) std::memcpy(&a[l], row[l] + c, sizeof(Eight));
  for (int l = 0; l < 8; l += 2) {
    b[l] = __builtin_shufflevector(a[l], a[l + 1], 0, 8, 2, 10, 4, 12, 6, 14);
    b[l + 1] = __builtin_shufflevector(a[l], a[l + 1], 1, 9, 3, 11, 5, 13, 7, 15);
  }
  for (int l = 0; l < 8; l += 4) {
    for (int i = 0; i < 2; ++i) {
      a[l + i] = __builtin_shufflevector(b[l + i], b[l + i + 2], 0, 1, 8, 9, 4, 5, 12, 13);
      a[l + i + 2] = __builtin_shufflevector(b[l + i], b[l + i + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    }
  }
  for (int i = 0; i < 4; ++i) {
    b[i] = __builtin_shufflevector(a[i], a[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    b[i + 4] = __builtin_shufflevector(a[i], a[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
  for (int k = 0; k < 8; ++k) std::memcpy(out + k * step, &b[k], sizeof(Eight));
}

// kLanes rows, or the `count` that are left, times a power of two; false where one of them passes `limit`.
inline bool load_rows(const float* rows, int64_t count, int64_t columns, float inverse_unit, float limit, Floats* x) {
  const float* row[kLanes];
  for (int l = 0; l < kLanes; ++l) row[l] = rows + (l < count ? l : 0) * columns;
  const float* next = rows + kLanes * columns;
  int64_t c = 0;
  for (; c + 8 <= columns; c += 8) {
    // The next rows come while these are worked on: a few lines at a time, as many as can be on their way.
    for (int64_t i = 0; i < 8 * kLanes; i += 16) __builtin_prefetch(next + c * kLanes + i);
    for (int l = 0; l < kLanes; l += 8) turn_eight(row + l, c, reinterpret_cast<float*>(x + c) + l, kLanes);
  }
  for (; c < columns; ++c)
    for (int l = 0; l < kLanes; ++l) x[c][l] = row[l][c];
  for (c = 0; c < columns; ++c) x[c] *= inverse_unit;
  const Floats largest = largest_of(columns, [&](int64_t i) { return absolute(x[i]); });
  for (int l = 0; l < kLanes; ++l)
    if (!(largest[l] <= limit)) return false;
  return true;
}

inline int64_t plane_width(int64_t digits, int bits) {
  const int64_t per_byte = 8 / bits;
  return (digits + per_byte - 1) / per_byte;
}

// One plane of codes (formats/_packing.py): the digit of kDigit bits at `shift`, into the records of `count` rows.
template <int kDigit>
inline void pack_plane(const Ints* codes, int64_t columns, int shift, uint8_t* out, int64_t stride, int64_t count) {
  constexpr int64_t kPerByte = 8 / kDigit, kInBlock = 16 * kPerByte;
  const Ints mask = Ints{} + ((1 << kDigit) - 1);
  for (int64_t first = 0; first < columns; first += kInBlock) {
    const int64_t left = columns - first < kInBlock ? columns - first : kInBlock;
    const bool whole = left == kInBlock;
    const int64_t width = whole ? 16 : (left + kPerByte - 1) / kPerByte;
    auto byte_at = [&](int64_t j) {
      Ints byte{};
      if (whole) {
        for (int g = 0; g < kPerByte; ++g) byte |= ((codes[first + j + 16 * g] >> shift) & mask) << (g * kDigit);
      } else {
        for (int64_t g = 0, c = j; c < left; ++g, c += width)
          byte |= ((codes[first + c] >> shift) & mask) << static_cast<int>(g * kDigit);
      }
      return byte;
    };
    uint8_t* place = out + first / kPerByte;
    int64_t j = 0;
    for (; j + 4 <= width; j += 4) {  // four bytes of a row at a time
      const Ints four = byte_at(j) | byte_at(j + 1) << 8 | byte_at(j + 2) << 16 | byte_at(j + 3) << 24;
      for (int64_t l = 0; l < count; ++l) {
        const int32_t one = four[l];
        std::memcpy(place + l * stride + j, &one, 4);
      }
    }
    for (; j < width; ++j) {
      const Ints byte = byte_at(j);
      for (int64_t l = 0; l < count; ++l) place[l * stride + j] = static_cast<uint8_t>(byte[l]);
    }
  }
}

// Codes below 2**bits in the layout of formats/_packing.py, into the records of `count` rows. Returns the bytes a row.
inline int64_t pack_rows(const Ints* codes, int64_t columns, int bits, uint8_t* out, int64_t stride, int64_t count) {
  int64_t start = 0;
  int shift = 0;
  for (int digit = 8; digit >= 1; digit >>= 1) {  // wider planes hold the lower bits
    if (!(bits & digit)) continue;
    uint8_t* place = out + start;
    switch (digit) {
      case 8: pack_plane<8>(codes, columns, shift, place, stride, count); break;
      case 4: pack_plane<4>(codes, columns, shift, place, stride, count); break;
      case 2: pack_plane<2>(codes, columns, shift, place, stride, count); break;
      default: pack_plane<1>(codes, columns, shift, place, stride, count); break;
    }
    start += plane_width(columns, digit);
    shift += digit;
  }
  return start;
}

inline void store_halves(const uint16_t* bits, uint8_t* out, int64_t stride, int64_t count) {
  for (int64_t l = 0; l < count; ++l) {
    out[l * stride] = static_cast<uint8_t>(bits[l]);
    out[l * stride + 1] = static_cast<uint8_t>(bits[l] >> 8);
  }
}

}  // namespace
}  // namespace pintsize
