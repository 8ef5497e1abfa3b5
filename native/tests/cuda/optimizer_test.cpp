#include "cuda/optimizer.h"

#include "api/kernel_table.h"
#include "cpu/reference/reference.h"
#include "rows_testing.h"

using namespace rora;
using namespace rora::cuda;
using namespace rora::testing;

namespace {

constexpr rora_adamw_step kStep = {3e-3, 0.9, 0.999, 1e-8, 0.1, 0.5, 7};

struct State {
  std::vector<float> values, gradients, first, second;

  State(int64_t count, uint64_t seed) {
    Random random(seed);
    values = random.normal(count), gradients = random.normal(count);
    first = random.normal(count, 0.1f), second = random.normal(count, 0.1f);
    for (float& v : second) v *= v;
  }

  bool operator==(const State&) const = default;
};

State by_reference(State s, double scale) {
  rora_context unused = {};
  rora_adamw_step step = kStep;
  step.gradient_scale = scale;
  reference_adamw(unused, {step, int64_t(s.values.size()), s.values.data(), s.gradients.data(),
                           s.first.data(), s.second.data()});
  return s;
}

struct Updated {
  State state;
  std::vector<float> copies;
};

// Updates arrays that begin `offset` floats behind an aligned address, in ranges that end at the
// cuts.
Updated update(const State& state, double scale, const double* clip, std::vector<int64_t> cuts = {},
               int64_t offset = 0, bool copied = true) {
  const size_t count = state.values.size(), room = count + size_t(offset);
  simt::Stream stream;
  simt::Memory<float> values(room), gradients(room), first(room), second(room);
  simt::Memory<bf16> copies(room);
  simt::Memory<double> factor(1);
  if (clip) factor[0] = *clip;
  const auto put = [&](const std::vector<float>& from, simt::Memory<float>& to) {
    std::copy(from.begin(), from.end(), to.begin() + offset);
  };
  put(state.values, values), put(state.gradients, gradients);
  put(state.first, first), put(state.second, second);
  cuts.push_back(int64_t(count));
  int64_t at = 0;
  for (const int64_t cut : cuts) {
    const int64_t i = offset + at;
    EXPECT_RUNS(
        adamw(&stream, {kStep.learning_rate, kStep.beta1, kStep.beta2, kStep.epsilon,
                        kStep.weight_decay, scale, clip ? factor.data() : nullptr, kStep.step,
                        cut - at, values.data() + i, gradients.data() + i, first.data() + i,
                        second.data() + i, copied ? copies.data() + i : nullptr}));
    at = cut;
  }
  const auto get = [&](const simt::Memory<float>& from) {
    return std::vector<float>(from.begin() + offset, from.end());
  };
  Updated result = {State(0, 0), {}};
  result.state.values = get(values), result.state.gradients = get(gradients);
  result.state.first = get(first), result.state.second = get(second);
  for (const bf16 bits : copies) result.copies.push_back(widen(bits));
  result.copies.erase(result.copies.begin(), result.copies.begin() + offset);
  return result;
}

double sum_of(const std::vector<float>& values, uint64_t seed, int64_t offset) {
  simt::Stream stream(seed);
  const int64_t count = int64_t(values.size());
  simt::Memory<float> floats(values.size() + size_t(offset));
  std::copy(values.begin(), values.end(), floats.begin() + offset);
  simt::Memory<double> workspace(size_t(sum_of_squares_workspace(count))), sum(1);
  EXPECT_RUNS(
      cuda::sum_of_squares(&stream, {count, floats.data() + offset, workspace.data(), sum.data()}));
  return sum[0];
}

double factor_of(double sum, double max_norm) {
  simt::Stream stream;
  simt::Memory<double> squares(1), factor(1);
  squares[0] = sum;
  EXPECT_RUNS(clip_factor(&stream, {squares.data(), max_norm, factor.data()}));
  return factor[0];
}

}  // namespace

TEST(adamwGivesTheBitsOfTheReference) {
  for (const int64_t count : {1, 4, 7, 1024, 5003}) {
    const State state(count, uint64_t(count));
    const State expected = by_reference(state, 0.5);
    for (const int64_t offset : {0, 1}) {
      const Updated found = update(state, 0.5, nullptr, {}, offset);
      EXPECT_SAME_BITS(found.state.values, expected.values);
      EXPECT_SAME_BITS(found.state.gradients, expected.gradients);
      EXPECT_SAME_BITS(found.state.first, expected.first);
      EXPECT_SAME_BITS(found.state.second, expected.second);
      EXPECT_SAME_BITS(found.copies, rounded(expected.values, RORA_BF16));
    }
  }
}

TEST(adamwDoesNotDependOnCuts) {
  const State state(5003, 1);
  const Updated whole = update(state, 0.5, nullptr),
                cut = update(state, 0.5, nullptr, {1, 8, 8, 63, 2000, 4999});
  EXPECT(cut.state == whole.state);
  EXPECT_SAME_BITS(cut.copies, whole.copies);
}

TEST(adamwTakesTheClipFactorFromTheDevice) {
  const State state(100, 2);
  const double clip = 0.37;
  EXPECT(update(state, 0.5, &clip).state == by_reference(state, 0.5 * clip));
}

TEST(adamwWithoutCopiesWritesNone) {
  const State state(100, 3);
  const Updated found = update(state, 0.5, nullptr, {}, 0, false);
  EXPECT(found.state == by_reference(state, 0.5));
  for (const float copy : found.copies) EXPECT(std::isnan(copy));
}

TEST(sumOfSquaresIsExactOnIntegers) {
  Random random(4);
  for (const int64_t count : {0, 1, 3, 8191, 8192, 8193, 30001}) {
    const std::vector<float> values = random.integers(count, 1000);
    double expected = 0;
    for (const float value : values) expected += double(value) * double(value);
    for (const int64_t offset : {0, 1}) EXPECT(sum_of(values, 1, offset) == expected);
  }
}

TEST(sumOfSquaresIsDoubleAndOrdered) {
  const std::vector<float> values = Random(5).normal(30001);
  double expected = 0;
  for (const float value : values) expected += double(value) * double(value);
  const double sum = sum_of(values, 1, 0);
  EXPECT(std::fabs(sum - expected) <= 30001 * 0x1p-53 * expected);
  EXPECT(sum_of(values, 2, 0) == sum);
}

TEST(clipFactorBoundsTheNorm) {
  EXPECT(factor_of(25.0, 1.0) == 1.0 / (5.0 + 1e-6));
  EXPECT(factor_of(0.25, 1.0) == 1.0);
  EXPECT(factor_of(0.0, 1.0) == 1.0);
  EXPECT(factor_of(25.0, 0.0) == 1.0);
  EXPECT(factor_of(INFINITY, 1.0) == 0.0);
  EXPECT(std::isnan(factor_of(NAN, 1.0)));
}
