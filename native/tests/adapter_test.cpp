#include <algorithm>

#include "api/objects.h"
#include "handles.h"

using namespace rora::testing;

namespace {

struct Sample {
  int64_t out, in, rank;
  std::vector<float> w, a, b, magnitude;
  float scaling = 1.3f;

  Sample(int64_t out_features, int64_t in_features, int64_t adapter_rank, uint64_t seed)
      : out(out_features), in(in_features), rank(adapter_rank) {
    Random random(seed);
    w = random.normal(out * in, 0.3f);
    a = random.normal(rank * in, 0.3f);
    b = random.normal(out * rank, 0.3f);
    magnitude = random.normal(out);
  }
};

// |V[n]|^2 and the sizes that bound the error of its low-rank form.
struct Square {
  double value = 0, size = 0;
};

Square square_of_row(const Sample& s, const std::vector<float>& w, int64_t n) {
  Square square;
  for (int64_t k = 0; k < s.in; ++k) {
    double update = 0, update_size = 0;
    for (int64_t j = 0; j < s.rank; ++j) {
      const double ba = double(s.b[size_t(n * s.rank + j)]) * double(s.a[size_t(j * s.in + k)]);
      update += double(s.scaling) * ba;
      update_size += std::fabs(double(s.scaling) * ba);
    }
    const double base = double(w[size_t(n * s.in + k)]);
    square.value += (base + update) * (base + update);
    square.size += (std::fabs(base) + update_size) * (std::fabs(base) + update_size);
  }
  return square;
}

AdapterHandle make_adapter(rora_context* context, const Sample& s, const Floats& a, const Floats& b,
                           const Floats& magnitude) {
  rora_adapter* made = nullptr;
  EXPECT_OK(rora_adapter_create(context, s.out, s.in, s.rank, s.scaling, a.get(), b.get(),
                                magnitude.get(), nullptr, nullptr, nullptr, &made));
  return AdapterHandle(made);
}

void check_norms(const std::string& level, const Sample& s, rora_dtype dtype) {
  const Context context(level);
  const Floats a(context, s.a), b(context, s.b), magnitude(context, s.magnitude);
  const auto weight = make_weight(context, dtype, s.out, s.in, s.w);
  const AdapterHandle adapter = make_adapter(context, s, a, b, magnitude);
  EXPECT_OK(rora_adapter_refresh(adapter.get(), weight.get()));
  std::vector<float> norms(static_cast<size_t>(s.out));
  EXPECT_OK(rora_adapter_norms(adapter.get(), norms.data()));
  std::vector<float> scales(norms.size());
  EXPECT_OK(rora_download(context, scales.data(), adapter->row_scale, s.out * 4));
  const std::vector<float> w = rounded(s.w, dtype);
  std::vector<double> expected, bounds;
  for (int64_t n = 0; n < s.out; ++n) {
    const Square square = square_of_row(s, w, n);
    expected.push_back(std::sqrt(square.value));
    // Products of two rows are summed in float over `in`; the root halves the relative error.
    const double relative = double(s.in + 4) * std::ldexp(1.0, -24) * square.size / square.value;
    bounds.push_back(expected.back() * (relative + std::ldexp(1.0, -23)));
    const float scale = s.magnitude[size_t(n)] / norms[size_t(n)];
    EXPECT(std::fabs(scales[size_t(n)] - scale) <= std::ldexp(std::fabs(scale), -23));
  }
  expect_within(__FILE__, __LINE__, (level + " norms").c_str(), norms, expected,
                [&](size_t i) { return bounds[i]; });
}

}  // namespace

TEST(doraNormsAreThoseOfTheSumOfBothMatrices) {
  for (const std::string& level : levels())
    for (const rora_dtype dtype : {RORA_F32, RORA_BF16}) {
      check_norms(level, Sample(1, 1, 1, 1), dtype);
      check_norms(level, Sample(5, 17, 2, 2), dtype);
      check_norms(level, Sample(97, 31, 3, 3), dtype);
      check_norms(level, Sample(49, 100, 33, 4), dtype);
      check_norms(level, Sample(130, 15, 8, 5), dtype);
    }
}

TEST(freshAdaptersNormsAreTheWeightsRowNorms) {
  for (const std::string& level : levels()) {
    Sample s(20, 30, 4, 6);
    std::fill(s.b.begin(), s.b.end(), 0.0f);
    const Context context(level);
    const Floats a(context, s.a), b(context, s.b), magnitude(context, s.magnitude);
    const auto weight = make_weight(context, RORA_F32, s.out, s.in, s.w);
    const AdapterHandle adapter = make_adapter(context, s, a, b, magnitude);
    EXPECT_OK(rora_adapter_refresh(adapter.get(), weight.get()));
    std::vector<float> norms(20), row_norms(20);
    EXPECT_OK(rora_adapter_norms(adapter.get(), norms.data()));
    EXPECT_OK(rora_weight_row_norms(weight.get(), row_norms.data()));
    EXPECT_SAME_BITS(norms, row_norms);
  }
}

TEST(normsFollowTheTensorsAfterEveryRefresh) {
  for (const std::string& level : levels()) {
    Sample s(7, 9, 2, 7);
    const Context context(level);
    const Floats a(context, s.a), b(context, s.b), magnitude(context, s.magnitude);
    const auto weight = make_weight(context, RORA_F32, s.out, s.in, s.w);
    const AdapterHandle adapter = make_adapter(context, s, a, b, magnitude);
    EXPECT_OK(rora_adapter_refresh(adapter.get(), weight.get()));
    std::vector<float> before(7), after(7), fresh(7);
    EXPECT_OK(rora_adapter_norms(adapter.get(), before.data()));
    b.write({s.b[0] + 1.0f});
    EXPECT_OK(rora_adapter_refresh(adapter.get(), weight.get()));
    EXPECT_OK(rora_adapter_norms(adapter.get(), after.data()));
    EXPECT(before[0] != after[0] && before[1] == after[1]);
    const AdapterHandle other = make_adapter(context, s, a, b, magnitude);
    EXPECT_OK(rora_adapter_refresh(other.get(), weight.get()));
    EXPECT_OK(rora_adapter_norms(other.get(), fresh.data()));
    EXPECT_SAME_BITS(after, fresh);
  }
}

TEST(normsDoNotDependOnTheNumberOfThreads) {
  for (const std::string& level : levels()) {
    const Sample s(150, 33, 5, 8);
    std::vector<float> first;
    for (int threads = 1; threads <= 3; ++threads) {
      const Context context(level, threads);
      const Floats a(context, s.a), b(context, s.b), magnitude(context, s.magnitude);
      const auto weight = make_weight(context, RORA_F32, s.out, s.in, s.w);
      const AdapterHandle adapter = make_adapter(context, s, a, b, magnitude);
      EXPECT_OK(rora_adapter_refresh(adapter.get(), weight.get()));
      std::vector<float> norms(150);
      EXPECT_OK(rora_adapter_norms(adapter.get(), norms.data()));
      if (first.empty()) first = norms;
      EXPECT_SAME_BITS(norms, first);
    }
  }
}

TEST(badAdapterArgumentsAreRefused) {
  const Context context("reference");
  const Floats a(context, 6), b(context, 8), m(context, 4), ga(context, 6), gb(context, 8);
  rora_adapter* made = nullptr;
  const auto create = [&](int64_t out, int64_t rank, float scaling, const float* lora_A,
                          float* a_grad, float* b_grad, const float* magnitude, float* m_grad) {
    return rora_adapter_create(context, out, 3, rank, scaling, lora_A, b.get(), magnitude, a_grad,
                               b_grad, m_grad, &made);
  };
  EXPECT_ERROR(create(0, 2, 1, a.get(), nullptr, nullptr, nullptr, nullptr), RORA_INVALID_ARGUMENT,
               "[0, 3]");
  EXPECT_ERROR(create(4, 0, 1, a.get(), nullptr, nullptr, nullptr, nullptr), RORA_INVALID_ARGUMENT,
               "rank=0: must be at least 1");
  for (const float scaling : {INFINITY, -INFINITY, std::nanf("")})
    EXPECT_ERROR(create(4, 2, scaling, a.get(), nullptr, nullptr, nullptr, nullptr),
                 RORA_INVALID_ARGUMENT, "must be finite");
  EXPECT_ERROR(create(4, 2, 1, nullptr, nullptr, nullptr, nullptr, nullptr), RORA_INVALID_ARGUMENT,
               "lora_A");
  EXPECT_ERROR(create(4, 2, 1, a.get(), ga.get(), nullptr, nullptr, nullptr), RORA_INVALID_ARGUMENT,
               "both");
  EXPECT_ERROR(create(4, 2, 1, a.get(), ga.get(), gb.get(), nullptr, m.get()),
               RORA_INVALID_ARGUMENT, "needs a magnitude");
  EXPECT_ERROR(create(4, 2, 1, a.get(), nullptr, nullptr, m.get(), m.get()), RORA_INVALID_ARGUMENT,
               "other gradients");
  EXPECT(made == nullptr);
  EXPECT_OK(create(4, 2, 1, a.get(), nullptr, nullptr, nullptr, nullptr));
  const AdapterHandle plain(made);
  float norms[4];
  EXPECT_ERROR(rora_adapter_norms(made, norms), RORA_INVALID_ARGUMENT, "only DoRA has norms");
  EXPECT_ERROR(rora_adapter_train_rank(made, 3), RORA_INVALID_ARGUMENT,
               "rows=3: must be 1 .. rank (2)");
  EXPECT_ERROR(rora_adapter_train_rank(made, 0), RORA_INVALID_ARGUMENT, "rows=0");
  const auto other = make_weight(context, RORA_F32, 3, 3, std::vector<float>(9));
  EXPECT_ERROR(rora_adapter_refresh(made, other.get()), RORA_INVALID_ARGUMENT, "same shape");
  const auto weight = make_weight(context, RORA_F32, 4, 3, std::vector<float>(12));
  EXPECT_OK(rora_adapter_refresh(made, weight.get()));
  EXPECT_OK(create(4, 2, 1, a.get(), nullptr, nullptr, m.get(), nullptr));
  const AdapterHandle dora(made);
  rora_linear* group = nullptr;
  EXPECT_OK(rora_linear_create(context, 1, &group));
  const LinearHandle linear(group);
  EXPECT_OK(rora_linear_set_weight(group, 0, other.get(), nullptr, nullptr));
  EXPECT_ERROR(rora_linear_set_adapter(group, 0, plain.get()), RORA_INVALID_ARGUMENT, "same shape");
  EXPECT_OK(rora_linear_set_weight(group, 0, weight.get(), nullptr, nullptr));
  EXPECT_ERROR(rora_linear_set_adapter(group, 0, made), RORA_INVALID_ARGUMENT,
               "rora_adapter_refresh first");
  rora_adapter_destroy(nullptr);
}
