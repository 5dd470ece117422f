#include "ops/encode_clipped.hpp"

#include "ops/encode_lanes.hpp"
#include "ops/encode_row.hpp"

namespace pintsize {
namespace {

struct Affine {
  Floats scale, offset;
  uint16_t scale_bits[kLanes], offset_bits[kLanes];
};

inline Affine affine(Floats low, Floats high, float top) {
  Affine a;
  a.offset = half(low, a.offset_bits);
  a.scale = half((high - a.offset) / top, a.scale_bits);
  return a;
}

struct Coder {
  Floats scale, offset, divisor, top;
  Ints flat;

  Coder(const Affine& a, float levels_below) : scale(a.scale), offset(a.offset), top(splat(levels_below)) {
    flat = scale == 0.0f;
    divisor = flat ? splat(1.0f) : scale;
  }
  Floats operator()(Floats x) const {
    const Floats code = nearest(minimum(maximum((x - offset) / divisor, Floats{}), top));
    return flat ? Floats{} : code;
  }
};

Floats loss(const Floats* x, int64_t columns, Floats low, Floats high, float top) {
  const Coder coder(affine(low, high, top), top);
  return row_sum(columns, [&](int64_t c) {
    const Floats error = (coder(x[c]) * coder.scale + coder.offset) - x[c];
    return error * error;
  });
}

void narrow(const Floats* x, int64_t columns, float top, int64_t bins, int64_t rounds, Floats& low, Floats& high) {
  const Floats step = (high - low) / static_cast<float>(bins);
  Floats best = loss(x, columns, low, high, top), kept_low = low, kept_high = high;
  for (int64_t round = 0; round < rounds; ++round) {
    const Floats up = low + step, down = high - step;
    const Floats without_low = loss(x, columns, up, high, top), without_high = loss(x, columns, low, down, top);
    const Ints drop_low = without_low < without_high;
    low = drop_low ? up : low;
    high = drop_low ? high : down;
    const Floats now = minimum(without_low, without_high);
    const Ints better = now < best;
    best = better ? now : best;
    kept_low = better ? low : kept_low;
    kept_high = better ? high : kept_high;
  }
  low = kept_low;
  high = kept_high;
}

int64_t encode(const ClippedCode& code, const float* rows, int64_t count, uint8_t* out) {
  const int64_t columns = code.columns, groups = (columns + code.group - 1) / code.group;
  int64_t width = 0;
  for (int digit = 8; digit >= 1; digit >>= 1)
    if (code.bits & digit) width += plane_width(columns, digit);
  const int64_t record = width + 4 * groups;
  const float top = static_cast<float>((1 << code.bits) - 1);
  Scratch<Floats> x(columns);
  Scratch<Ints> codes(columns);
  for (int64_t start = 0; start < count; start += kLanes) {
    const int64_t here = count - start < kLanes ? count - start : kLanes;
    if (!load_rows(rows + start * columns, here, columns, code.inverse_unit, code.limit, x.data())) return start;
    uint8_t* record_out = out + start * record;
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t first = g * code.group, in_group = columns - first < code.group ? columns - first : code.group;
      const Floats* values = x.data() + first;
      Floats low = values[0], high = values[0];
      for (int64_t c = 1; c < in_group; ++c) {
        low = minimum(low, values[c]);
        high = maximum(high, values[c]);
      }
      if (code.rounds) narrow(values, in_group, top, code.bins, code.rounds, low, high);
      const Affine chosen = affine(low, high, top);
      const Coder coder(chosen, top);
      for (int64_t c = 0; c < in_group; ++c) codes[first + c] = __builtin_convertvector(coder(values[c]), Ints);
      store_halves(chosen.scale_bits, record_out + width + 2 * g, record, here);
      store_halves(chosen.offset_bits, record_out + width + 2 * (groups + g), record, here);
    }
    pack_rows(codes.data(), columns, code.bits, record_out, record, here);
  }
  return -1;
}

// One scale a row, and the whole range of it: minima need no order, so that a row's columns lie side by side instead.
int64_t encode_whole_range(const ClippedCode& code, const float* rows, int64_t count, uint8_t* out) {
  const int64_t columns = code.columns;
  int64_t width = 0;
  for (int digit = 8; digit >= 1; digit >>= 1)
    if (code.bits & digit) width += plane_width(columns, digit);
  const int64_t record = width + 4;
  const float top = static_cast<float>((1 << code.bits) - 1);
  Scratch<uint8_t> codes(columns);
  const int64_t ahead = kLanes * columns;
  for (int64_t start = 0; start < count; start += kLanes) {
    const int64_t here = count - start < kLanes ? count - start : kLanes;
    Floats low{}, high{};
    for (int64_t l = 0; l < here; ++l) {
      const Range range = range_of(rows + (start + l) * columns, columns, ahead);
      low[l] = range.low;
      high[l] = range.high;
    }
    low *= code.inverse_unit;
    high *= code.inverse_unit;
    for (int64_t l = 0; l < here; ++l)
      if (!(low[l] >= -code.limit && high[l] <= code.limit)) return start;
    const Affine chosen = affine(low, high, top);
    for (int64_t l = 0; l < here; ++l) {
      const float* row = rows + (start + l) * columns;
      const RowCoder coder{code.inverse_unit, chosen.scale[l], chosen.offset[l], top};
      uint8_t* record_out = out + (start + l) * record;
      int64_t done = 0;  // columns in whole blocks
      switch (code.bits) {
        case 1: done = coder.blocks<1>(row, columns, record_out); break;
        case 2: done = coder.blocks<2>(row, columns, record_out); break;
        case 4: done = coder.blocks<4>(row, columns, record_out); break;
        case 8: coder.bytes(row, columns, record_out); done = columns; break;
        default: break;
      }
      if (done < columns) {
        coder.bytes(row + done, columns - done, codes.data());
        pack_row(codes.data(), columns - done, code.bits, record_out + done * code.bits / 8);
      }
      std::memcpy(record_out + width, &chosen.scale_bits[l], 2);
      std::memcpy(record_out + width + 2, &chosen.offset_bits[l], 2);
    }
  }
  return -1;
}

int64_t encode_any(const ClippedCode& code, const float* rows, int64_t count, uint8_t* out) {
  const bool plain = code.rounds == 0 && code.group >= code.columns;
  return plain ? encode_whole_range(code, rows, count, out) : encode(code, rows, count, out);
}

}  // namespace

PINTSIZE_TABLE(EncodeClipped, encode_clipped) {
  static const EncodeClipped table{encode_any};
  return table;
}

}  // namespace pintsize
