#include <algorithm>

#include "cpu/panel.h"
#include "handles.h"

using namespace rora;
using namespace rora::testing;

namespace {

// An adapter whose A is the identity: H' is then the dropped input itself.
class Masks {
 public:
  Masks(const std::string& level, int64_t features, int64_t tokens, rora_dtype dtype = RORA_F32,
        int projections = 1)
      : context_(level), features_(features) {
    std::vector<float> identity(size_t(features * features), 0.0f);
    for (int64_t i = 0; i < features; ++i) identity[size_t(i * features + i)] = 1.0f;
    weight_ = make_weight(context_, dtype, 1, features, std::vector<float>(size_t(features), 0.0f));
    a_ = std::make_unique<Floats>(context_, identity);
    b_ = std::make_unique<Floats>(context_, features);
    rora_linear* linear = nullptr;
    EXPECT_OK(rora_linear_create(context_, projections, &linear));
    linear_.reset(linear);
    for (int i = 0; i < projections; ++i) {
      rora_adapter* adapter = nullptr;
      EXPECT_OK(rora_adapter_create(context_, 1, features, features, 1.0f, a_->get(), b_->get(),
                                    nullptr, nullptr, nullptr, nullptr, &adapter));
      adapters_.emplace_back(adapter);
      EXPECT_OK(rora_linear_set_weight(linear, i, weight_.get(), nullptr, nullptr));
      EXPECT_OK(rora_linear_set_adapter(linear, i, adapter));
    }
    x_ = make_activation(context_, dtype, tokens, features, rora_linear_tail(linear));
  }

  void set(float probability, uint64_t seed, uint64_t step, uint32_t stream) {
    EXPECT_OK(rora_linear_set_dropout(linear_.get(), probability, seed, step, stream));
  }

  // What becomes of ones, for tokens numbered `order`, in a projection: [tokens, features].
  std::vector<float> of(const std::vector<int32_t>& order, int projection = 0) {
    const int64_t tokens = int64_t(order.size());
    const auto batch = make_batch(context_, tokens, order);
    EXPECT_OK(rora_activation_resize(x_.get(), tokens));
    const std::vector<float> ones(size_t(tokens * features_), 1.0f);
    EXPECT_OK(rora_activation_write(x_.get(), 0, features_, ones.data(), features_));
    EXPECT_OK(rora_linear_shrink(linear_.get(), batch.get(), x_.get()));
    const std::vector<int64_t> before(static_cast<size_t>(projection), features_);
    return tail_values(*x_, before, features_);
  }

 private:
  Context context_;
  int64_t features_;
  WeightHandle weight_;
  std::unique_ptr<Floats> a_, b_;
  std::vector<AdapterHandle> adapters_;
  LinearHandle linear_;
  ActivationHandle x_;
};

std::vector<int32_t> numbered(int32_t first, int32_t count) {
  std::vector<int32_t> order;
  for (int32_t t = 0; t < count; ++t) order.push_back(first + t);
  return order;
}

double kept_share(const std::vector<float>& mask) {
  return double(std::count_if(mask.begin(), mask.end(), [](float m) { return m != 0.0f; })) /
         double(mask.size());
}

// The share of elements in which two masks agree.
double agreement(const std::vector<float>& a, const std::vector<float>& b) {
  size_t same = 0;
  for (size_t i = 0; i < a.size(); ++i) same += a[i] == b[i];
  return double(same) / double(a.size());
}

}  // namespace

TEST(keptElementsAreScaledByOneOverTheKeepRate) {
  for (const std::string& level : levels())
    for (const rora_dtype dtype : {RORA_F32, RORA_BF16}) {
      Masks masks(level, 50, 100, dtype);
      for (const float p : {0.05f, 0.5f, 0.9f}) {
        masks.set(p, 1, 2, 3);
        const float scale = 1.0f / (1.0f - p);
        const float expected = dtype == RORA_BF16 ? rounded_to_bf16(scale) : scale;
        for (const float m : masks.of(numbered(0, 100))) EXPECT(m == 0.0f || m == expected);
      }
    }
}

TEST(shareOfKeptElementsIsTheKeepRate) {
  for (const std::string& level : levels()) {
    Masks masks(level, 60, 500);
    for (const float p : {0.05f, 0.3f, 0.5f}) {
      masks.set(p, 4, 5, 6);
      const double share = kept_share(masks.of(numbered(0, 500)));
      // Four standard deviations of the mean of 30000 draws.
      EXPECT(std::fabs(share - (1 - double(p))) <
             4 * std::sqrt(double(p) * (1 - double(p)) / 30000));
    }
  }
}

TEST(masksAreTheSameOnEveryLevel) {
  std::vector<float> first;
  for (const std::string& level : levels()) {
    Masks masks(level, 31, 70);
    masks.set(0.3f, 1234567890123456789u, 99, 7);
    const std::vector<float> found = masks.of(numbered(1000, 70));
    if (first.empty()) first = found;
    EXPECT_SAME_BITS(found, first);
  }
}

TEST(masksDoNotDependOnHowTheBatchIsCut) {
  for (const std::string& level : levels()) {
    Masks masks(level, 13, 200);
    masks.set(0.4f, 8, 9, 10);
    const std::vector<float> whole = masks.of(numbered(0, 200));
    std::vector<float> pieces;
    int32_t begin = 0;
    for (const int32_t end : {1, 5, 70, 135, 200}) {
      for (const float m : masks.of(numbered(begin, end - begin))) pieces.push_back(m);
      begin = end;
    }
    EXPECT_SAME_BITS(pieces, whole);
  }
}

TEST(masksDifferBetweenStreamsStepsSeedsAndTokens) {
  for (const std::string& level : levels()) {
    Masks masks(level, 40, 100);
    const auto mask = [&](uint64_t seed, uint64_t step, uint32_t stream, int32_t first) {
      masks.set(0.5f, seed, step, stream);
      return masks.of(numbered(first, 100));
    };
    const std::vector<float> one = mask(1, 1, 1, 0);
    EXPECT_SAME_BITS(mask(1, 1, 1, 0), one);
    const std::vector<float> others[] = {mask(2, 1, 1, 0), mask(1, 2, 1, 0), mask(1, 1, 2, 0),
                                         mask(1, 1, 1, 100), mask(uint64_t(1) << 32 | 1, 1, 1, 0)};
    // Independent halves agree in half of 4000 elements, give or take 4 standard deviations.
    for (const auto& other : others) EXPECT(std::fabs(agreement(one, other) - 0.5) < 0.04);
  }
}

TEST(projectionsOfAGroupHaveStreamsOfTheirOwn) {
  for (const std::string& level : levels()) {
    Masks group(level, 20, 70, RORA_F32, 3), single(level, 20, 70);
    group.set(0.5f, 1, 2, 30);
    for (int i = 0; i < 3; ++i) {
      single.set(0.5f, 1, 2, 30 + uint32_t(i));
      EXPECT_SAME_BITS(group.of(numbered(0, 70), i), single.of(numbered(0, 70)));
    }
    EXPECT(std::fabs(agreement(group.of(numbered(0, 70), 0), group.of(numbered(0, 70), 1)) - 0.5) <
           0.06);
  }
}

TEST(probabilityZeroDropsNothingAndNeedsNoBatch) {
  for (const std::string& level : levels()) {
    Masks masks(level, 9, 70);
    masks.set(0.5f, 1, 2, 3);
    masks.set(0.0f, 1, 2, 3);
    EXPECT_SAME_BITS(masks.of(numbered(0, 70)), std::vector<float>(70 * 9, 1.0f));
  }
}
