#include "handles.h"

using namespace rora::testing;

namespace {

constexpr double kFloat = 1.0 / (1 << 24);
constexpr int64_t kPad = 3;  // columns behind every row

struct Sizes {
  int64_t tokens, in, out, rank;
};

// Sizes on both sides of tiles and vectors.
const Sizes kSizes[] = {{1, 1, 1, 1},   {3, 15, 5, 2},   {4, 16, 64, 16},
                        {5, 7, 97, 33}, {65, 31, 17, 8}, {130, 100, 41, 3}};

// Those of the tests of single rules.
const Sizes kFew = {5, 7, 4, 2};

// A row-major matrix whose rows end in padding of NaN.
struct Padded {
  int64_t rows, columns;
  DeviceVector<float> data;

  Padded(int64_t row_count, int64_t column_count)
      : rows(row_count), columns(column_count), data(size_t(rows * stride()), std::nanf("")) {}

  void fill(const std::vector<float>& values) {
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; ++j)
        data[size_t(i * stride() + j)] = values[size_t(i * columns + j)];
  }
  int64_t stride() const { return columns + kPad; }
  double at(int64_t i, int64_t j) const { return double(data[size_t(i * stride() + j)]); }
  std::vector<float> values() const {
    std::vector<float> result;
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; ++j) result.push_back(data[size_t(i * stride() + j)]);
    return result;
  }
  bool padding_is_whole() const {
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = columns; j < stride(); ++j)
        if (!std::isnan(data[size_t(i * stride() + j)])) return false;
    return true;
  }
  // Nothing was written at all.
  bool untouched() const {
    for (const float value : data)
      if (!std::isnan(value)) return false;
    return true;
  }
};

struct Sample {
  Sizes s;
  float scaling = 0.5f;
  std::vector<float> w;
  Padded x, a, b, dy, h, y, da, db, dx;

  Sample(const Sizes& sizes, bool integers, uint64_t seed)
      : s(sizes),
        x(s.tokens, s.in),
        a(s.rank, s.in),
        b(s.out, s.rank),
        dy(s.tokens, s.out),
        h(s.tokens, s.rank),
        y(s.tokens, s.out),
        da(s.rank, s.in),
        db(s.out, s.rank),
        dx(s.tokens, s.in) {
    Random random(seed);
    const auto numbers = [&](int64_t count) {
      return integers ? random.integers(count, 3) : random.normal(count, 0.5f);
    };
    w = numbers(s.out * s.in);
    x.fill(numbers(s.tokens * s.in));
    a.fill(numbers(s.rank * s.in));
    b.fill(numbers(s.out * s.rank));
    dy.fill(numbers(s.tokens * s.out));
  }

  rora_status forward(rora_context* context, const rora_weight* weight) {
    return rora_linear_forward_f32(context, weight, s.tokens, s.rank, scaling, x.data.data(),
                                   x.stride(), a.data.data(), a.stride(), b.data.data(), b.stride(),
                                   h.data.data(), h.stride(), y.data.data(), y.stride());
  }
  rora_status backward(rora_context* context, const rora_weight* weight, bool wants_dx = true) {
    return rora_linear_backward_f32(
        context, weight, s.tokens, s.rank, scaling, x.data.data(), x.stride(), a.data.data(),
        a.stride(), b.data.data(), b.stride(), h.data.data(), h.stride(), dy.data.data(),
        dy.stride(), da.data.data(), da.stride(), db.data.data(), db.stride(),
        wants_dx ? dx.data.data() : nullptr, wants_dx ? dx.stride() : 0);
  }
  bool paddings_are_whole() const {
    const Padded* all[] = {&x, &a, &b, &dy, &h, &y, &da, &db, &dx};
    for (const Padded* each : all)
      if (!each->padding_is_whole()) return false;
    return true;
  }
};

// A matrix of doubles, each with a bound of the error of its float.
struct Bounded {
  std::vector<double> value, bound;
};

// sum_k left(i, k) right(j, k) times `factor`, plus what `start` holds; errors of left travel on.
template <class Left, class Right>
void add_product(Bounded& target, int64_t rows, int64_t columns, int64_t terms, double factor,
                 const Left& left, const Bounded* left_errors, bool transposed,
                 const Right& right) {
  target.value.resize(size_t(rows * columns));
  target.bound.resize(size_t(rows * columns));
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j)
      for (int64_t k = 0; k < terms; ++k) {
        const double product = factor * left(i, k) * right(j, k);
        const size_t at = size_t(i * columns + j);
        target.value[at] += product;
        target.bound[at] += std::fabs(product) * double(terms + 6) * kFloat;
        if (left_errors) {
          const size_t error = transposed ? size_t(k * rows + i) : size_t(i * terms + k);
          target.bound[at] += std::fabs(factor * right(j, k)) * left_errors->bound[error];
        }
      }
}

void check(const std::string& what, const std::vector<float>& found, const Bounded& expected,
           bool exact) {
  expect_within(__FILE__, __LINE__, what.c_str(), found, expected.value,
                [&](size_t i) { return exact ? 0.0 : expected.bound[i]; });
}

void check_sample(const std::string& level, const Sizes& sizes, bool exact) {
  Sample s(sizes, exact, 11);
  const Context context(level);
  const auto weight = make_weight(context, RORA_F32, sizes.out, sizes.in, s.w);
  EXPECT_OK(s.forward(context, weight.get()));
  EXPECT_OK(s.backward(context, weight.get()));
  EXPECT(s.paddings_are_whole());

  const int64_t tokens = sizes.tokens, in = sizes.in, out = sizes.out, rank = sizes.rank;
  const double gamma = double(s.scaling);
  const auto x = [&](int64_t t, int64_t k) { return s.x.at(t, k); };
  const auto w = [&](int64_t n, int64_t k) { return double(s.w[size_t(n * in + k)]); };
  const auto w_column = [&](int64_t k, int64_t n) { return w(n, k); };
  const auto a = [&](int64_t j, int64_t k) { return s.a.at(j, k); };
  const auto a_column = [&](int64_t k, int64_t j) { return s.a.at(j, k); };
  const auto b = [&](int64_t n, int64_t j) { return s.b.at(n, j); };
  const auto b_column = [&](int64_t j, int64_t n) { return s.b.at(n, j); };
  const auto dy = [&](int64_t t, int64_t n) { return s.dy.at(t, n); };
  const auto dy_column = [&](int64_t n, int64_t t) { return s.dy.at(t, n); };
  const auto x_column = [&](int64_t k, int64_t t) { return s.x.at(t, k); };

  Bounded h, g, y, dx, da, db;
  add_product(h, tokens, rank, in, gamma, x, nullptr, false, a);
  add_product(g, tokens, rank, out, gamma, dy, nullptr, false, b_column);
  const auto h_at = [&](int64_t t, int64_t j) { return h.value[size_t(t * rank + j)]; };
  const auto g_at = [&](int64_t t, int64_t j) { return g.value[size_t(t * rank + j)]; };
  const auto h_column = [&](int64_t j, int64_t t) { return h_at(t, j); };
  const auto g_column = [&](int64_t j, int64_t t) { return g_at(t, j); };
  add_product(
      y, tokens, out, in + rank, 1.0, [&](int64_t t, int64_t k) { return k < in ? x(t, k) : 0.0; },
      nullptr, false, [&](int64_t n, int64_t k) { return k < in ? w(n, k) : 0.0; });
  add_product(y, tokens, out, rank, 1.0, h_at, &h, false, b);
  add_product(dx, tokens, in, out, 1.0, dy, nullptr, false, w_column);
  add_product(dx, tokens, in, rank, 1.0, g_at, &g, false, a_column);
  // Both products are one sum: the longer reduction's roundings.
  for (size_t i = 0; i < dx.bound.size(); ++i) dx.bound[i] *= 2;
  for (size_t i = 0; i < y.bound.size(); ++i) y.bound[i] *= 2;
  add_product(da, rank, in, tokens, 1.0, g_column, &g, true, x_column);
  Bounded db_transposed;
  add_product(db_transposed, rank, out, tokens, 1.0, h_column, &h, true, dy_column);
  for (int64_t n = 0; n < out; ++n)
    for (int64_t j = 0; j < rank; ++j) {
      db.value.push_back(db_transposed.value[size_t(j * out + n)]);
      db.bound.push_back(db_transposed.bound[size_t(j * out + n)]);
    }
  check(level + " h", s.h.values(), h, exact);
  check(level + " y", s.y.values(), y, exact);
  check(level + " dx", s.dx.values(), dx, exact);
  check(level + " dA", s.da.values(), da, exact);
  check(level + " dB", s.db.values(), db, exact);
}

}  // namespace

TEST(smallIntegersAreExactWithPaddedRows) {
  for (const std::string& level : levels())
    for (const Sizes& sizes : kSizes) check_sample(level, sizes, true);
}

TEST(resultsAreWithinTheBoundsOfDoubleLoops) {
  for (const std::string& level : levels())
    for (const Sizes& sizes : kSizes) check_sample(level, sizes, false);
}

TEST(inputGradientIsOptional) {
  Sample s(kFew, false, 1), without(kFew, false, 1);
  const Context context("reference");
  const auto weight = make_weight(context, RORA_F32, 4, 7, s.w);
  EXPECT_OK(s.forward(context, weight.get()));
  EXPECT_OK(s.backward(context, weight.get()));
  EXPECT_OK(without.forward(context, weight.get()));
  EXPECT_OK(without.backward(context, weight.get(), false));
  EXPECT_SAME_BITS(without.da.values(), s.da.values());
  EXPECT_SAME_BITS(without.db.values(), s.db.values());
  EXPECT(without.dx.untouched());
}

TEST(noTokensWriteNothingForwardAndZeroGradients) {
  Sample s({0, 7, 4, 2}, false, 1);
  // Empty vectors have no address; the pointers must still be given.
  s.x = s.h = s.y = s.dy = s.dx = Padded(1, 7);
  const Context context("reference");
  const auto weight = make_weight(context, RORA_F32, 4, 7, s.w);
  EXPECT_OK(s.forward(context, weight.get()));
  EXPECT(s.h.untouched() && s.y.untouched());
  EXPECT_OK(s.backward(context, weight.get()));
  EXPECT(s.dx.untouched());
  EXPECT_SAME_BITS(s.da.values(), std::vector<float>(14, 0.0f));
  EXPECT_SAME_BITS(s.db.values(), std::vector<float>(8, 0.0f));
}

TEST(callsLeaveNoMemoryBehind) {
  Sample s(kFew, false, 1);
  const Context context("reference");
  const auto weight = make_weight(context, RORA_F32, 4, 7, s.w);
  const int64_t before = rora_context_bytes(context);
  EXPECT_OK(s.forward(context, weight.get()));
  EXPECT_OK(s.backward(context, weight.get()));
  EXPECT(rora_context_bytes(context) == before);
}

namespace {

// Arguments of a call on a [4, 7] weight with rank 2 and 5 tokens, to be broken one at a time.
struct Arguments {
  Sample s{kFew, false, 1};
  int64_t tokens = 5, rank = 2;
  const float *x = s.x.data.data(), *a = s.a.data.data(), *b = s.b.data.data(),
              *dy = s.dy.data.data();
  float *h = s.h.data.data(), *y = s.y.data.data();
  float *da = s.da.data.data(), *db = s.db.data.data(), *dx = s.dx.data.data();
  int64_t ldx = s.x.stride(), lda = s.a.stride(), ldb = s.b.stride(), ldh = s.h.stride(),
          ldy = s.y.stride(), lddy = s.dy.stride(), ldda = s.da.stride(), lddb = s.db.stride(),
          lddx = s.dx.stride();

  void forward_refused(rora_context* context, const rora_weight* weight, const char* text) {
    EXPECT_ERROR(rora_linear_forward_f32(context, weight, tokens, rank, 0.5f, x, ldx, a, lda, b,
                                         ldb, h, ldh, y, ldy),
                 RORA_INVALID_ARGUMENT, text);
    EXPECT(s.h.untouched() && s.y.untouched());
  }
  void backward_refused(rora_context* context, const rora_weight* weight, const char* text) {
    EXPECT_ERROR(rora_linear_backward_f32(context, weight, tokens, rank, 0.5f, x, ldx, a, lda, b,
                                          ldb, h, ldh, dy, lddy, da, ldda, db, lddb, dx, lddx),
                 RORA_INVALID_ARGUMENT, text);
    EXPECT(s.da.untouched() && s.db.untouched() && s.dx.untouched());
  }
};

}  // namespace

TEST(brokenForwardArgumentsAreRefusedBeforeTheFirstWrite) {
  const Context context("reference");
  const auto weight = make_weight(context, RORA_F32, 4, 7, std::vector<float>(28, 1.0f));
  const auto refused = [&](const char* text, const std::function<void(Arguments&)>& spoil) {
    Arguments arguments;
    spoil(arguments);
    arguments.forward_refused(context, weight.get(), text);
  };
  Arguments().forward_refused(nullptr, weight.get(), "context");
  Arguments().forward_refused(context, nullptr, "weight");
  refused("tokens=-1: must not be negative", [](Arguments& c) { c.tokens = -1; });
  refused("tokens=4294967296: must be at most 2^31 - 1",
          [](Arguments& c) { c.tokens = int64_t(1) << 32; });
  refused("ldx=4294967296: must be at most 2^31 - 1",
          [](Arguments& c) { c.ldx = int64_t(1) << 32; });
  refused("rank=0: must be at least 1", [](Arguments& c) { c.rank = 0; });
  refused("rank=-2", [](Arguments& c) { c.rank = -2; });
  refused("x is NULL", [](Arguments& c) { c.x = nullptr; });
  refused("lora_A is NULL", [](Arguments& c) { c.a = nullptr; });
  refused("lora_B is NULL", [](Arguments& c) { c.b = nullptr; });
  refused("h is NULL", [](Arguments& c) { c.h = nullptr; });
  refused("y is NULL", [](Arguments& c) { c.y = nullptr; });
  refused("ldx=6: must be at least in_features (7)", [](Arguments& c) { c.ldx = 6; });
  refused("lda=-7: must be at least in_features (7)", [](Arguments& c) { c.lda = -7; });
  refused("ldb=1: must be at least rank (2)", [](Arguments& c) { c.ldb = 1; });
  refused("ldh=1: must be at least rank (2)", [](Arguments& c) { c.ldh = 1; });
  refused("ldy=3: must be at least out_features (4)", [](Arguments& c) { c.ldy = 3; });
  refused("h overlaps y", [](Arguments& c) { c.h = c.y + 1; });
  refused("y overlaps x", [](Arguments& c) { c.y = const_cast<float*>(c.x); });
  refused("h overlaps lora_A", [](Arguments& c) { c.a = c.h + 1; });
  refused("y overlaps lora_B", [](Arguments& c) { c.b = c.y + 3; });
}

TEST(brokenBackwardArgumentsAreRefusedBeforeTheFirstWrite) {
  const Context context("reference");
  const auto weight = make_weight(context, RORA_F32, 4, 7, std::vector<float>(28, 1.0f));
  const auto refused = [&](const char* text, const std::function<void(Arguments&)>& spoil) {
    Arguments arguments;
    spoil(arguments);
    arguments.backward_refused(context, weight.get(), text);
  };
  Arguments().backward_refused(nullptr, weight.get(), "context");
  refused("tokens=-1: must not be negative", [](Arguments& c) { c.tokens = -1; });
  refused("rank=0: must be at least 1", [](Arguments& c) { c.rank = 0; });
  refused("dy is NULL", [](Arguments& c) { c.dy = nullptr; });
  refused("h is NULL", [](Arguments& c) { c.h = nullptr; });
  refused("dA is NULL", [](Arguments& c) { c.da = nullptr; });
  refused("dB is NULL", [](Arguments& c) { c.db = nullptr; });
  refused("lddy=3: must be at least out_features (4)", [](Arguments& c) { c.lddy = 3; });
  refused("ldda=6: must be at least in_features (7)", [](Arguments& c) { c.ldda = 6; });
  refused("lddb=1: must be at least rank (2)", [](Arguments& c) { c.lddb = 1; });
  refused("lddx=0: must be at least in_features (7)", [](Arguments& c) { c.lddx = 0; });
  refused("dA overlaps lora_A", [](Arguments& c) { c.da = const_cast<float*>(c.a); });
  refused("dB overlaps dA", [](Arguments& c) { c.db = c.da + 2; });
  refused("dx overlaps x", [](Arguments& c) { c.dx = const_cast<float*>(c.x); });
  refused("dx overlaps dy", [](Arguments& c) { c.dy = c.dx + 5; });
}

TEST(weightOfAnotherContextIsRefused) {
  const Context context("reference"), other("reference");
  const auto weight = make_weight(other, RORA_F32, 4, 7, std::vector<float>(28, 1.0f));
  Arguments().forward_refused(context, weight.get(), "another context");
  Arguments().backward_refused(context, weight.get(), "another context");
}
