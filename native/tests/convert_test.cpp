// Row-major memory into panels and back, on every level against the reference, bit for bit.
#include <cstring>

#include "api/kernel_table.h"
#include "cpu/panel.h"
#include "handles.h"

using namespace rora;
using namespace rora::testing;

namespace {

constexpr int64_t kTail = 3, kPad = 5;  // columns behind the width, elements behind each row

// Host rows that begin one element behind an aligned address, with NaN between and around them.
struct HostRows {
  rora_dtype dtype;
  int64_t rows, columns;
  std::vector<uint8_t> bytes;

  HostRows(rora_dtype type, int64_t row_count, int64_t column_count)
      : dtype(type),
        rows(row_count),
        columns(column_count),
        bytes(size_t((rows * stride() + 1) * element()), 0xff) {}

  int64_t element() const { return dtype == RORA_F32 ? 4 : 2; }
  int64_t stride() const { return columns + kPad; }
  void* data() { return bytes.data() + element(); }

  void fill(Random& random) {
    const std::vector<float> values = random.normal(rows * columns);
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; ++j) put(i, j, values[size_t(i * columns + j)]);
    if (rows > 0 && columns > 0) {
      put(0, 0, std::nanf(""));
      put(rows - 1, columns - 1, -INFINITY);
      put(rows / 2, columns / 2, 1e-40f);  // denormal: must not be flushed
    }
  }
  void put(int64_t i, int64_t j, float value) {
    uint8_t* target = bytes.data() + size_t((i * stride() + j + 1) * element());
    const uint16_t half = float_to_bf16(value);
    if (dtype == RORA_F32)
      std::memcpy(target, &value, 4);
    else
      std::memcpy(target, &half, 2);
  }
};

struct Case {
  rora_dtype panel, row;
  int64_t tokens, width, column, columns, token, count;
};

std::string text_of(const std::string& level, const Case& c) {
  const auto n = [](int64_t value) { return std::to_string(value); };
  return level + ": panels " + (c.panel == RORA_F32 ? "f32" : "bf16") + " [" + n(c.tokens) + ", " +
         n(c.width) + "], rows " + (c.row == RORA_F32 ? "f32" : "bf16") + ", columns " +
         n(c.column) + " +" + n(c.columns) + ", tokens " + n(c.token) + " +" + n(c.count);
}

// What a sequence of conversions leaves: the panels with their tail, and the rows three times.
struct Outcome {
  std::vector<uint8_t> panels, rows, sums;

  Outcome(const std::string& level, int threads, const Case& c) {
    const Context context(level, threads);
    const KernelTable& kernels = *static_cast<rora_context*>(context)->kernels;
    const auto a = make_activation(context, c.panel, c.tokens, c.width, kTail);
    Random random(17);
    const int64_t bytes = rora_activation_bytes(c.panel, c.tokens, c.width, kTail);
    std::memset(a->data, 0x3c, size_t(bytes));  // small numbers everywhere
    HostRows source(c.row, c.tokens, c.columns), target(c.row, c.count, c.columns);
    source.fill(random);
    kernels.rows_to_panels(*context, RowsOp{a.get(), c.column, c.columns, 0, c.tokens,
                                            source.data(), c.row, source.stride(), false});
    const auto* data = static_cast<const uint8_t*>(a->data);
    panels.assign(data, data + bytes);
    RowsOp op{a.get(),       c.column, c.columns,       c.token, c.count,
              target.data(), c.row,    target.stride(), false};
    kernels.panels_to_rows(*context, op);
    rows = target.bytes;
    target.fill(random);
    op.add = true;
    kernels.panels_to_rows(*context, op);
    sums = target.bytes;
  }
};

void expect_equal(const char* what, const std::string& text, const std::vector<uint8_t>& found,
                  const std::vector<uint8_t>& expected) {
  if (found == expected) return;
  size_t i = 0;
  while (i < found.size() && found[i] == expected[i]) ++i;
  report_failure(__FILE__, __LINE__, text + ": " + what + " differ at byte " + std::to_string(i));
}

void check(const Case& c) {
  const Outcome expected("reference", 1, c);
  for (const std::string& level : levels())
    for (const int threads : {1, 3}) {
      const Outcome found(level, threads, c);
      expect_equal("panels", text_of(level, c), found.panels, expected.panels);
      expect_equal("rows", text_of(level, c), found.rows, expected.rows);
      expect_equal("sums", text_of(level, c), found.sums, expected.sums);
    }
}

constexpr rora_dtype kTypes[] = {RORA_F32, RORA_BF16};

}  // namespace

TEST(wholeRowsOfAnySizeConvertAsTheReferenceDoes) {
  for (const rora_dtype panel : kTypes)
    for (const rora_dtype row : kTypes)
      for (const int64_t tokens : {1, 4, 15, 16, 17, 64, 65, 130})
        for (const int64_t width : {1, 2, 7, 16, 31, 33, 66})
          check({panel, row, tokens, width, 0, width, 0, tokens});
}

TEST(rowsLongerThanATaskConvertAsTheReferenceDoes) {
  for (const rora_dtype panel : kTypes)
    for (const rora_dtype row : kTypes) check({panel, row, 70, 1101, 0, 1101, 0, 70});
}

TEST(someColumnsOfSomeTokensConvertAndTheOthersStay) {
  for (const rora_dtype panel : kTypes)
    for (const rora_dtype row : kTypes)
      for (const int64_t column : {0, 1, 2, 19})
        for (const int64_t columns : {0, 1, 2, 3, 32, 45})
          for (const int64_t token : {0, 5, 64, 80})
            check({panel, row, 150, 64, column, columns, token, 150 - token - column % 2 * 7});
}

TEST(everyBf16ValueKeepsItsBitsOnEveryLevel) {
  for (const std::string& level : levels()) {
    const Context context(level);
    const KernelTable& kernels = *static_cast<rora_context*>(context)->kernels;
    const auto a = make_activation(context, RORA_BF16, 256, 256);
    std::vector<uint16_t> source(65536), found(65536);
    for (size_t i = 0; i < source.size(); ++i) source[i] = uint16_t(i);
    kernels.rows_to_panels(*context,
                           RowsOp{a.get(), 0, 256, 0, 256, source.data(), RORA_BF16, 256, false});
    kernels.panels_to_rows(*context,
                           RowsOp{a.get(), 0, 256, 0, 256, found.data(), RORA_BF16, 256, false});
    for (size_t i = 0; i < source.size(); ++i) {
      const bool nan = std::isnan(bf16_to_float(source[i]));
      EXPECT(nan ? std::isnan(bf16_to_float(found[i])) : found[i] == source[i]);
    }
  }
}
