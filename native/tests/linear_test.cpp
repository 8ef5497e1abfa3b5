#include "linear_case.h"

using namespace rora::testing;

namespace {

constexpr uint64_t kSeed = 20250104;

// Sizes on both sides of tiles (6 rows, 64 tokens, blocks of 96 rows and 512 words) and odd ones.
std::vector<LinearSpec> specs() {
  return {
      {1, 1, {{1, 1}}},
      {3, 15, {{5, 2}}},
      {5, 7, {{6, 1, true}}},
      {63, 17, {{13, 3, false, true}, {4}, {7, 8}}},
      {64, 33, {{96, 8, true, true}, {1, 2, true}}, RORA_F32, 2.0f, true},
      {65, 97, {{97, 33}, {12, 5, true}}, RORA_F32, 0.25f, true, true},
      {130,
       64,
       {{64, 16, false, true, true}, {31, 4, false, false, true}},
       RORA_F32,
       0.5f,
       false,
       true},
      {70, 40, {{30, 6, false, false, false, 3}, {10, 4, true, false, false, 1}}},
      {130, 1100, {{7, 3}, {101, 9, true}}},
      {1100, 20, {{9, 2, true, true, true}}},
  };
}

// What a sum of `terms` products may be off by: each product and each addition rounds once (2^-24
// of sum |a b|), and operands that were themselves such sums (H', G', norms) add their own. In bf16
// the tails, the scaled weights, A and B and the result are rounded to 8 bits (2^-9 each).
double bound_factor(const LinearSpec& spec, int64_t terms) {
  const double single = double(2 * terms + 16) * std::ldexp(1.0, -24);
  return spec.dtype == RORA_F32 ? single : single + 6 * std::ldexp(1.0, -9);
}

void expect_close(const char* what, const LinearSpec& spec, int64_t terms,
                  const std::vector<float>& found, const std::vector<float>& expected,
                  const std::vector<float>& magnitude) {
  const double factor = bound_factor(spec, terms);
  expect_within(__FILE__, __LINE__, what, found, {expected.begin(), expected.end()},
                [&](size_t i) { return factor * double(magnitude[i]) + 1e-37; });
}

void compare(const std::string& level, const LinearSpec& spec, const LinearData& data) {
  const Context context(level), reference("reference");
  const LinearResult found = run_linear(context, spec, data);
  const LinearResult expected = run_linear(reference, spec, data);
  LinearData absolute = data.absolute();
  for (size_t i = 0; i < spec.projections.size(); ++i)
    absolute.projections[i].row_scale = expected.projections[i].row_scale;
  const LinearResult size = run_linear(reference, spec, absolute);
  int64_t ranks = 0, outs = 0;
  for (const ProjectionSpec& p : spec.projections) ranks += p.rank, outs += p.out;
  const int64_t forward = 2 * spec.in + ranks, backward = 2 * outs + spec.in + ranks;
  expect_close((level + " y").c_str(), spec, forward, found.y, expected.y, size.y);
  expect_close((level + " h").c_str(), spec, forward, found.h, expected.h, size.h);
  expect_close((level + " dx").c_str(), spec, backward, found.dx, expected.dx, size.dx);
  for (size_t i = 0; i < spec.projections.size(); ++i) {
    const auto &f = found.projections[i], &e = expected.projections[i], &s = size.projections[i];
    const int64_t sums = spec.tokens + forward + backward;
    expect_close((level + " dA").c_str(), spec, sums, f.dA, e.dA, s.dA);
    expect_close((level + " dB").c_str(), spec, sums, f.dB, e.dB, s.dB);
    expect_close((level + " dW").c_str(), spec, sums, f.dW, e.dW, s.dW);
    expect_close((level + " dbias").c_str(), spec, sums, f.dbias, e.dbias, s.dbias);
    std::vector<float> dm = s.dm;  // |V| of the absolute case is larger: take the real one
    for (size_t n = 0; n < dm.size(); ++n) dm[n] *= s.norms[n] / e.norms[n];
    expect_close((level + " dm").c_str(), spec, sums, f.dm, e.dm, dm);
  }
}

void for_levels(const std::function<void(const std::string&)>& body) {
  for (const std::string& level : levels())
    if (level != "reference") body(level);
}

void expect_same(const LinearResult& a, const LinearResult& b) {
  EXPECT_SAME_BITS(a.y, b.y);
  EXPECT_SAME_BITS(a.h, b.h);
  EXPECT_SAME_BITS(a.dx, b.dx);
  for (size_t i = 0; i < a.projections.size(); ++i) {
    EXPECT_SAME_BITS(a.projections[i].dA, b.projections[i].dA);
    EXPECT_SAME_BITS(a.projections[i].dB, b.projections[i].dB);
    EXPECT_SAME_BITS(a.projections[i].dm, b.projections[i].dm);
    EXPECT_SAME_BITS(a.projections[i].dW, b.projections[i].dW);
    EXPECT_SAME_BITS(a.projections[i].dbias, b.projections[i].dbias);
  }
}

}  // namespace

TEST(smallIntegersAreExactOnEveryLevel) {
  for_levels([](const std::string& level) {
    for (LinearSpec spec : specs()) {
      for (ProjectionSpec& p : spec.projections) p.dora = false;  // norms are not whole numbers
      const LinearData data = LinearData::integers(spec, kSeed);
      const Context context(level), reference("reference");
      expect_same(run_linear(context, spec, data), run_linear(reference, spec, data));
    }
  });
}

TEST(floatResultsAreWithinTheDerivedBound) {
  for_levels([](const std::string& level) {
    for (const LinearSpec& spec : specs()) compare(level, spec, LinearData::random(spec, kSeed));
  });
}

TEST(bf16ResultsAreWithinTheDerivedBound) {
  for_levels([](const std::string& level) {
    for (LinearSpec spec : specs()) {
      spec.dtype = RORA_BF16;
      compare(level, spec, LinearData::random(spec, kSeed));
    }
  });
}

TEST(dropoutMasksAreTheSameOnEveryLevel) {
  for_levels([](const std::string& level) {
    for (const rora_dtype dtype : {RORA_F32, RORA_BF16})
      for (LinearSpec spec : specs()) {
        spec.dropout = 0.3f;
        spec.dtype = dtype;
        compare(level, spec, LinearData::random(spec, kSeed));
      }
  });
}

TEST(resultsDoNotDependOnTheNumberOfThreads) {
  for (const std::string& level : levels())
    for (const rora_dtype dtype : {RORA_F32, RORA_BF16})
      for (LinearSpec spec : specs()) {
        spec.dtype = dtype;
        if (level == "reference" && spec.tokens > 70) continue;  // one task there
        const LinearData data = LinearData::random(spec, kSeed);
        const Context one(level, 1), three(level, 3);
        expect_same(run_linear(one, spec, data), run_linear(three, spec, data));
      }
}

TEST(zeroLoraBLeavesTheOutputBitForBit) {
  for (const std::string& level : levels())
    for (const rora_dtype dtype : {RORA_F32, RORA_BF16}) {
      LinearSpec with{70, 33, {{20, 4}, {9, 3}}}, without{70, 33, {{20}, {9}}};
      with.dtype = without.dtype = dtype;
      LinearData data = LinearData::random(with, kSeed);
      for (auto& p : data.projections)
        for (float& b : p.lora_B) b = 0.0f;
      const Context context(level);
      const std::vector<float> y = run_linear(context, with, data).y;
      for (auto& p : data.projections) p.lora_A.clear(), p.lora_B.clear();
      EXPECT_SAME_BITS(y, run_linear(context, without, data).y);
    }
}

TEST(onlyTheTrainedRowsOfARankReceiveGradients) {
  LinearSpec spec{30, 12, {{10, 6, false, false, false, 2}}};
  for (const std::string& level : levels()) {
    const Context context(level);
    const auto found = run_linear(context, spec, LinearData::random(spec, kSeed)).projections[0];
    for (size_t j = 0; j < 6; ++j) {
      EXPECT((found.dA[j * 12] == 0.0f) == (j >= 2));
      EXPECT((found.dB[j] == 0.0f) == (j >= 2));
    }
  }
}

namespace {

// sum over all entries of y o dy, as a function of the operands: its gradients are the backward
// pass's.
double loss(const LinearSpec& spec, const LinearData& data) {
  const Context context("reference");
  const LinearResult result = run_linear(context, spec, data);
  double sum = 0;
  for (size_t i = 0; i < result.y.size(); ++i) sum += double(result.y[i]) * double(data.dy[i]);
  return sum;
}

void expect_slope(const LinearSpec& spec, LinearData& data, std::vector<float>& operand, size_t at,
                  double gradient) {
  const float value = operand[at], step = 0.0625f;  // the loss is at most cubic in one operand
  operand[at] = value + step;
  const double up = loss(spec, data);
  operand[at] = value - step;
  const double down = loss(spec, data);
  operand[at] = value;
  const double slope = (up - down) / double(2 * step);
  EXPECT_WITHIN(std::vector<float>{float(gradient)}, {slope},
                [&](size_t) { return 2e-3 * (1 + std::fabs(slope)); });
}

}  // namespace

TEST(referenceGradientsAreTheSlopesOfTheForwardPass) {
  for (const float dropout : {0.0f, 0.4f}) {
    LinearSpec spec{4, 5, {{3, 2, false, true, true}, {4, 2}}};
    spec.dropout = dropout;
    LinearData data = LinearData::random(spec, kSeed);
    const Context context("reference");
    const LinearResult result = run_linear(context, spec, data);
    for (size_t i = 0; i < data.x.size(); ++i)
      expect_slope(spec, data, data.x, i, double(result.dx[i]));
    for (size_t p = 0; p < 2; ++p) {
      auto& operands = data.projections[p];
      const auto& found = result.projections[p];
      for (size_t i = 0; i < found.dA.size(); ++i)
        expect_slope(spec, data, operands.lora_A, i, double(found.dA[i]));
      for (size_t i = 0; i < found.dB.size(); ++i)
        expect_slope(spec, data, operands.lora_B, i, double(found.dB[i]));
      for (size_t i = 0; i < found.dW.size(); ++i)
        expect_slope(spec, data, operands.weight, i, double(found.dW[i]));
      for (size_t i = 0; i < found.dbias.size(); ++i)
        expect_slope(spec, data, operands.bias, i, double(found.dbias[i]));
    }
  }
}

// With the norm detached the magnitudes' slope is exact, and A's and B's are those at fixed row
// scales.
TEST(doraGradientsAreTheSlopesAtFixedNorms) {
  for (const float dropout : {0.0f, 0.4f}) {
    LinearSpec spec{4, 5, {{4, 2, true, true}}};
    spec.dropout = dropout;
    LinearData data = LinearData::random(spec, kSeed);
    const Context context("reference");
    const LinearResult result = run_linear(context, spec, data);
    const auto& found = result.projections[0];
    auto& operands = data.projections[0];
    operands.row_scale = found.row_scale;
    for (size_t i = 0; i < data.x.size(); ++i)
      expect_slope(spec, data, data.x, i, double(result.dx[i]));
    for (size_t i = 0; i < found.dA.size(); ++i)
      expect_slope(spec, data, operands.lora_A, i, double(found.dA[i]));
    for (size_t i = 0; i < found.dB.size(); ++i)
      expect_slope(spec, data, operands.lora_B, i, double(found.dB[i]));
    for (size_t n = 0; n < found.dm.size(); ++n)  // magnitude = row_scale * |V|
      expect_slope(spec, data, operands.row_scale, n, double(found.dm[n] * found.norms[n]));
  }
}
