// Row-major host memory into token panels and back, which is what other trainers' calls pay. A
// panel is rows of 64 lanes (tokens) of 32-bit words; a word is a float feature, or in bf16 the
// pair (feature 2w, feature 2w + 1): just what stands side by side in a row of bf16. So a token's
// features become words lane by lane (loaded, rounded or widened), and blocks of kLanes x kLanes
// words are transposed in registers:
//
//   token 0  w0 w1 w2 ..        w0: token 0, 1, 2 ..     log2(kLanes) stages of shuffles, for 16
//   token 1  w0 w1 w2 ..  --->  w1: token 0, 1, 2 ..     lanes 64 shuffles to a kilobyte: less
//   ..                          ..                       than memory takes
//
// A task is one panel and kConvertWords word rows: kLanes tokens at a time, along their rows. Every
// byte is read and written once. A range that begins or ends inside a pair leaves the pair's other
// half alone; that column goes one by one. Bits stay as they are where the types agree. Reference:
// cpu/reference/convert.cpp.
#pragma once

#include "cpu/simd/words.h"

namespace rora::RORA_LEVEL {

constexpr int64_t kConvertWords = 512;  // 2 KiB of each row: long enough for the prefetchers
// Rows lie as many streams apart as there are lanes, more than the hardware follows: what comes 8
// blocks later is fetched by hand, which took a sixth off conversions out of cold memory.
constexpr int64_t kPrefetchBlocks = 8;

template <int... j>
static inline vuint even_lanes(vuint a, vuint b, LaneList<j...>) {
  return __builtin_shufflevector(a, b, (2 * j)...);
}
template <int... j>
static inline vuint odd_lanes(vuint a, vuint b, LaneList<j...>) {
  return __builtin_shufflevector(a, b, (2 * j + 1)...);
}
template <int... j>
static inline vuint interleave_low(vuint a, vuint b, LaneList<j...>) {
  return __builtin_shufflevector(a, b, (j / 2 + (j & 1) * kLanes)...);
}
template <int... j>
static inline vuint interleave_high(vuint a, vuint b, LaneList<j...>) {
  return __builtin_shufflevector(a, b, (kLanes / 2 + j / 2 + (j & 1) * kLanes)...);
}

typedef uint16_t vhalf __attribute__((vector_size(kLanes * 2)));

// kLanes words of a panel of type Panel from a token's features, and back. Tags choose the types.
template <class Panel, class Row>
struct Words;

template <>
struct Words<float, float> {
  static inline vuint from(const float* row) { return load_u32(row); }
  static inline void to(float* row, vuint words) { store_u32(row, words); }
};
template <>
struct Words<uint16_t, uint16_t> {
  static inline vuint from(const uint16_t* row) { return load_u32(row); }
  static inline void to(uint16_t* row, vuint words) { store_u32(row, words); }
};
template <>
struct Words<uint16_t, float> {
  static inline vuint from(const float* row) {
    const vuint low = round_bf16(load(row)), high = round_bf16(load(row + kLanes));
    return (even_lanes(low, high, AllLanes{}) >> 16) | odd_lanes(low, high, AllLanes{});
  }
  static inline void to(float* row, vuint words) {
    const vuint even = words << 16, odd = words & 0xffff0000u;
    store_u32(row, interleave_low(even, odd, AllLanes{}));
    store_u32(row + kLanes, interleave_high(even, odd, AllLanes{}));
  }
};
template <>
struct Words<float, uint16_t> {
  static inline vuint from(const uint16_t* row) {
    vhalf bits;
    __builtin_memcpy(&bits, row, sizeof bits);
    return __builtin_convertvector(bits, vuint) << 16;
  }
  static inline void to(uint16_t* row, vuint words) {
    const vhalf bits = __builtin_convertvector(round_bf16((vfloat)words) >> 16, vhalf);
    __builtin_memcpy(row, &bits, sizeof bits);
  }
};

template <class Panel>
constexpr int kWordFeatures = sizeof(Panel) == 4 ? 1 : 2;

static inline void assign(float& target, float source) { target = source; }
static inline void assign(float& target, uint16_t source) { target = bf16_to_float(source); }
static inline void assign(uint16_t& target, uint16_t source) { target = source; }
static inline void assign(uint16_t& target, float source) { target = float_to_bf16(source); }

template <class Row, class Value>
static inline void add_to(Row& target, Value value) {
  float old, added;
  assign(old, target);
  assign(added, value);
  assign(target, old + added);
}

// target[i] += the features of kLanes words, of which only `words` count: rounded once.
template <class Panel, class Row>
static inline void add_words(Row* target, vuint v, int64_t words) {
  constexpr int n = kWordFeatures<Panel>;
  float features[n * kLanes];
  Words<Panel, float>::to(features, v);
  if (words == kLanes) {
    for (int i = 0; i < n * kLanes; i += kLanes) {
      const vfloat sum = (vfloat)Words<float, Row>::from(target + i) + load(features + i);
      Words<float, Row>::to(target + i, (vuint)sum);
    }
  } else {
    for (int64_t i = 0; i < words * n; ++i) add_to(target[i], features[i]);
  }
}

// A call's range in terms of word rows, and what lies outside whole words.
struct WordRange {
  int64_t first, last;   // word rows that the columns fill
  int64_t first_column;  // the source's column where word row `first` begins
  int64_t single[2];     // columns in half words
  int singles;
};

template <class Panel>
static inline WordRange word_range(const RowsOp& op) {
  constexpr int n = kWordFeatures<Panel>;
  const int64_t begin = op.row, end = op.row + op.columns;
  WordRange range{};
  range.first = (begin + n - 1) / n;
  range.last = max_of(range.first, end / n);
  range.first_column = range.first * n - begin;
  if (op.columns > 0 && begin % n != 0) range.single[range.singles++] = 0;
  if (op.columns > 0 && end % n != 0 && !(begin % n != 0 && op.columns == 1))
    range.single[range.singles++] = op.columns - 1;
  return range;
}

// Element (row, lane) of a panel.
template <class Panel>
static inline Panel& panel_element(Panel* panel, int64_t row, int64_t lane) {
  return sizeof(Panel) == 4 ? panel[row * kPanel + lane]
                            : panel[(row >> 1) * 2 * kPanel + lane * 2 + (row & 1)];
}

template <class Panel, class Row>
static inline void write_block(const RowsOp& op, Panel* panel, int64_t first_token, int64_t active,
                               const WordRange& range, int64_t first, int64_t last) {
  constexpr int n = kWordFeatures<Panel>;
  const Row* rows = static_cast<const Row*>(op.rows) + first_token * op.stride +
                    range.first_column + (first - range.first) * n;
  for (int lane = 0; lane < kPanel; lane += kLanes) {
    const int64_t tokens = min_of(kLanes, max_of(0, active - lane));
    for (int64_t w = first; w < last; w += kLanes) {
      const int64_t words = min_of(kLanes, last - w);
      vuint v[kLanes];
      if (tokens == kLanes && words == kLanes) {
#pragma GCC unroll 16
        for (int i = 0; i < kLanes; ++i) {
          const Row* row = rows + (lane + i) * op.stride + (w - first) * n;
          __builtin_prefetch(row + kPrefetchBlocks * kLanes * n);
          v[i] = Words<Panel, Row>::from(row);
        }
      } else {
        for (int i = 0; i < kLanes; ++i) {
          Row features[2 * kLanes] = {};
          if (i < tokens)
            __builtin_memcpy(features, rows + (lane + i) * op.stride + (w - first) * n,
                             size_t(words * n) * sizeof(Row));
          v[i] = Words<Panel, Row>::from(features);
        }
      }
      transpose_lanes<kLanes / 2>(v);
      char* target = reinterpret_cast<char*>(panel) + (w * kPanel + lane) * 4;
      if (words == kLanes) {
#pragma GCC unroll 16
        for (int i = 0; i < kLanes; ++i) store_u32(target + i * kPanel * 4, v[i]);
      } else {
        for (int i = 0; i < words; ++i) store_u32(target + i * kPanel * 4, v[i]);
      }
    }
  }
}

// Lanes [first_lane, last_lane), which are the rows from `first_row` on.
template <class Panel, class Row>
static inline void read_block(const RowsOp& op, const Panel* panel, int64_t first_row,
                              int64_t first_lane, int64_t last_lane, const WordRange& range,
                              int64_t first, int64_t last) {
  constexpr int n = kWordFeatures<Panel>;
  const int64_t column = range.first_column + (first - range.first) * n;
  const auto row_of = [&](int64_t lane) {
    return static_cast<Row*>(op.rows) + (first_row + lane - first_lane) * op.stride + column;
  };
  for (int64_t lane = first_lane / kLanes * kLanes; lane < last_lane; lane += kLanes) {
    const bool all_lanes = lane >= first_lane && lane + kLanes <= last_lane;
    for (int64_t w = first; w < last; w += kLanes) {
      const int64_t words = min_of(kLanes, last - w), offset = (w - first) * n;
      const char* source = reinterpret_cast<const char*>(panel) + (w * kPanel + lane) * 4;
      vuint v[kLanes] = {};
      if (words == kLanes) {
#pragma GCC unroll 16
        for (int i = 0; i < kLanes; ++i) {
          __builtin_prefetch(source + (i + kPrefetchBlocks * kLanes) * kPanel * 4);
          v[i] = load_u32(source + i * kPanel * 4);
        }
      } else {
        for (int i = 0; i < words; ++i) v[i] = load_u32(source + i * kPanel * 4);
      }
      transpose_lanes<kLanes / 2>(v);
      if (words == kLanes && all_lanes && !op.add) {
#pragma GCC unroll 16
        for (int i = 0; i < kLanes; ++i) {
          Row* target = row_of(lane + i) + offset;
          __builtin_prefetch(target + kPrefetchBlocks * kLanes * n, 1);
          Words<Panel, Row>::to(target, v[i]);
        }
        continue;
      }
      for (int64_t i = max_of(0, first_lane - lane); i < min_of(kLanes, last_lane - lane); ++i) {
        Row* target = row_of(lane + i) + offset;
        if (op.add) {
          add_words<Panel, Row>(target, v[i], words);
        } else {
          Row features[2 * kLanes];
          Words<Panel, Row>::to(features, v[i]);
          __builtin_memcpy(target, features, size_t(words * n) * sizeof(Row));
        }
      }
    }
  }
}

template <class Body>
static inline void with_types(const RowsOp& op, const Body& body) {
  with_type(*op.activation, [&](auto panel) {
    if (op.dtype == RORA_F32)
      body(panel, float{});
    else
      body(panel, uint16_t{});
  });
}

// Columns that share their word with one outside of the range, one by one.
template <class Panel, class Row>
static inline void write_singles(const RowsOp& op, Panel* panel, int64_t first_token,
                                 int64_t active, const WordRange& range) {
  for (int i = 0; i < range.singles; ++i) {
    const int64_t column = range.single[i];
    const Row* row = static_cast<const Row*>(op.rows) + first_token * op.stride + column;
    for (int64_t lane = 0; lane < kPanel; ++lane)
      assign(panel_element(panel, op.row + column, lane),
             lane < active ? row[lane * op.stride] : Row{});
  }
}

template <class Panel, class Row>
static inline void read_singles(const RowsOp& op, Panel* panel, int64_t first_row,
                                int64_t first_lane, int64_t last_lane, const WordRange& range) {
  for (int i = 0; i < range.singles; ++i) {
    const int64_t column = range.single[i];
    Row* row = static_cast<Row*>(op.rows) + first_row * op.stride + column;
    for (int64_t lane = first_lane; lane < last_lane; ++lane, row += op.stride) {
      const Panel value = panel_element(panel, op.row + column, lane);
      if (op.add)
        add_to(*row, value);
      else
        assign(*row, value);
    }
  }
}

static inline void rows_to_panels(rora_context& context, const RowsOp& op) {
  const rora_activation& a = *op.activation;
  if (op.columns == 0) return;
  with_types(op, [&](auto panel_type, auto row_type) {
    using Panel = decltype(panel_type);
    using Row = decltype(row_type);
    const WordRange range = word_range<Panel>(op);
    const int64_t blocks = max_of(1, blocks_of(range.last - range.first, kConvertWords));
    parallel(*context.pool, panels(a.tokens) * blocks, [&](int64_t task, int32_t) {
      const int64_t p = task / blocks, first_token = p * kPanel;
      const int64_t active = min_of(kPanel, a.tokens - first_token);
      const int64_t first = range.first + task % blocks * kConvertWords;
      Panel* panel = panel_data<Panel>(a, p);
      write_block<Panel, Row>(op, panel, first_token, active, range, first,
                              min_of(range.last, first + kConvertWords));
      if (task % blocks == 0) write_singles<Panel, Row>(op, panel, first_token, active, range);
    });
  });
}

static inline void panels_to_rows(rora_context& context, const RowsOp& op) {
  const rora_activation& a = *op.activation;
  if (op.tokens == 0 || op.columns == 0) return;
  with_types(op, [&](auto panel_type, auto row_type) {
    using Panel = decltype(panel_type);
    using Row = decltype(row_type);
    const WordRange range = word_range<Panel>(op);
    const int64_t blocks = max_of(1, blocks_of(range.last - range.first, kConvertWords));
    const int64_t first_panel = op.token / kPanel, end = op.token + op.tokens;
    parallel(*context.pool, (panels(end) - first_panel) * blocks, [&](int64_t task, int32_t) {
      const int64_t p = first_panel + task / blocks, base = p * kPanel;
      const int64_t first_lane = max_of(0, op.token - base), last_lane = min_of(kPanel, end - base);
      const int64_t first_row = base + first_lane - op.token;
      const int64_t first = range.first + task % blocks * kConvertWords;
      Panel* panel = panel_data<Panel>(a, p);
      read_block<Panel, Row>(op, panel, first_row, first_lane, last_lane, range, first,
                             min_of(range.last, first + kConvertWords));
      if (task % blocks == 0)
        read_singles<Panel, Row>(op, panel, first_row, first_lane, last_lane, range);
    });
  });
}

}  // namespace rora::RORA_LEVEL
