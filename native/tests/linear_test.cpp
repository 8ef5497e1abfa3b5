#include "linear_case.h"

#include <algorithm>

#include "cpu/panel.h"

using namespace rora;
using namespace rora::testing;

namespace {

constexpr uint64_t kSeed = 20250104;

// Sizes on both sides of tiles (6 rows, 64 tokens, blocks of 96 rows and 512 words) and odd ones.
std::vector<LinearShape> small_shapes() {
  const auto shape = [](int64_t tokens, int64_t in, std::vector<ProjectionShape> projections) {
    LinearShape made;
    made.tokens = tokens;
    made.in = in;
    made.projections = std::move(projections);
    return made;
  };
  return {
      shape(1, 1, {{1, 1}}),
      shape(1, 7, {{5, 2, true, true}, {1}}),
      shape(3, 15, {{5, 2}}),
      shape(5, 100, {{99, 33, false, true}}),
      shape(5, 7, {{6, 1, true}}),
      shape(63, 17, {{13, 3, false, true}, {4}, {7, 8}}),
      shape(64, 33, {{96, 8, true, true}, {1, 2, true}}),
      shape(65, 97, {{97, 33}, {12, 5, true}}),
      shape(130, 65, {{64, 16, false, true}, {31, 4}, {31}}),
  };
}

// Every option once over each shape, taken in turn.
LinearShape with_options(LinearShape shape, size_t turn, rora_dtype dtype) {
  shape.dtype = dtype;
  shape.weight_dtype = turn % 5 == 4 ? RORA_F32 : dtype;
  shape.residual = turn % 2 == 1;
  shape.accumulate = turn % 3 == 1;
  shape.trained_weights = turn % 4 != 2;
  return shape;
}

void for_each_dtype(const std::function<void(const std::string&, rora_dtype)>& body) {
  for (const std::string& level : levels())
    for (const rora_dtype dtype : {RORA_F32, RORA_BF16}) body(level, dtype);
}

LinearShape without_dora(LinearShape shape) {
  for (ProjectionShape& p : shape.projections) p.dora = false;  // norms are not whole numbers
  return shape;
}

}  // namespace

TEST(smallIntegersAreExactOnEveryLevel) {
  for_each_dtype([](const std::string& level, rora_dtype dtype) {
    size_t turn = 0;
    for (const LinearShape& small : small_shapes()) {
      LinearShape shape = with_options(without_dora(small), turn++, dtype);
      shape.integers = true;
      check_linear(shape, level, kSeed);
    }
  });
}

TEST(smallIntegersAreExactUnderDropoutOfOneHalf) {
  for (const std::string& level : levels())
    for (const LinearShape& small : small_shapes()) {
      LinearShape shape = with_options(without_dora(small), 1, RORA_F32);
      shape.integers = true;
      shape.dropout = 0.5f;
      check_linear(shape, level, kSeed);
    }
}

TEST(resultsAreWithinTheBoundsOfDoubleLoops) {
  for_each_dtype([](const std::string& level, rora_dtype dtype) {
    size_t turn = 0;
    for (const LinearShape& small : small_shapes()) {
      check_linear(with_options(small, turn, dtype), level, kSeed + turn);
      ++turn;
    }
  });
}

TEST(resultsWithDropoutAreWithinTheBoundsOfDoubleLoops) {
  for_each_dtype([](const std::string& level, rora_dtype dtype) {
    size_t turn = 0;
    for (const LinearShape& small : small_shapes()) {
      LinearShape shape = with_options(small, turn, dtype);
      shape.dropout = turn % 2 ? 0.1f : 0.4f;
      check_linear(shape, level, kSeed + turn++);
    }
  });
}

// More columns than a block of k, more rows than a block of W, more panels than share a block.
TEST(sizesBeyondEveryBlockAreWithinTheBounds) {
  for_each_dtype([](const std::string& level, rora_dtype dtype) {
    LinearShape wide;
    wide.tokens = 66;
    wide.in = 1101;
    wide.projections = {{7, 3}, {101, 9, true}};
    check_linear(with_options(wide, 0, dtype), level, kSeed);
    LinearShape tall;
    tall.tokens = 1100;
    tall.in = 19;
    tall.projections = {{9, 2, true, true}};
    check_linear(with_options(tall, 1, dtype), level, kSeed);
    LinearShape deep;
    deep.tokens = 3;
    deep.in = 50;
    deep.projections = {{1100, 100}};
    check_linear(with_options(deep, 1, dtype), level, kSeed);
    // A block of rows whose share of W is packed in two parts.
    LinearShape parts;
    parts.tokens = 70;
    parts.in = 2100;
    parts.projections = {{193, 40, true}};
    check_linear(with_options(parts, 0, dtype), level, kSeed);
  });
}

// Few panels read weights where they lie, many read packed ones, and the sums of more than 16 wait
// in groups: none of it changes a bit.
TEST(aTokensOutputIsTheSameAmongAnyNumberOfTokens) {
  for_each_dtype([](const std::string& level, rora_dtype dtype) {
    if (level == "reference") return;  // takes tokens one by one, and long
    LinearShape shape;
    shape.tokens = 1100;
    shape.in = 2100;
    shape.projections = {{193, 40}};
    const LinearData data(with_options(shape, 1, dtype), kSeed);
    const std::vector<float> all = run_linear(data, level).projections[0].y;
    for (const int64_t tokens : {200, 450}) {
      LinearData some = data;
      some.shape.tokens = tokens;
      for (std::vector<float>* values : {&some.x, &some.old_dx})
        values->resize(size_t(tokens * shape.in));
      for (std::vector<float>* values : {&some.residual, &some.dy})
        values->resize(size_t(tokens * 193));
      some.order.resize(size_t(tokens));
      EXPECT_SAME_BITS(run_linear(some, level).projections[0].y,
                       std::vector<float>(all.begin(), all.begin() + tokens * 193));
    }
  });
}

// One to nine tokens, on both sides of what takes a path of its own; several tasks of rows, whose
// number no group divides; steps of vectors with a rest.
TEST(fewTokensAreWithinTheBounds) {
  for_each_dtype([](const std::string& level, rora_dtype dtype) {
    for (int64_t tokens = 1; tokens <= 9; ++tokens) {
      LinearShape shape;
      shape.tokens = tokens;
      shape.in = 1101;
      shape.projections = {{57, 3, false, true}, {101, 40, true}, {8}};
      check_linear(with_options(shape, size_t(tokens), dtype), level, kSeed);
    }
  });
}

TEST(aTokensOutputIsTheSameAmongAnyFewTokens) {
  for_each_dtype([](const std::string& level, rora_dtype dtype) {
    LinearShape shape;
    shape.tokens = 8;
    shape.in = 333;
    shape.projections = {{75, 20, false, true}};
    LinearData data(with_options(shape, 1, dtype), kSeed);
    const std::vector<float> all = run_linear(data, level).projections[0].y;
    for (int64_t tokens = 7; tokens > 0; --tokens) {
      data.shape.tokens = tokens;
      for (std::vector<float>* values : {&data.x, &data.old_dx})
        values->resize(size_t(tokens * shape.in));
      for (std::vector<float>* values : {&data.residual, &data.dy})
        values->resize(size_t(tokens * 75));
      data.order.resize(size_t(tokens));
      const std::vector<float> few = run_linear(data, level).projections[0].y;
      EXPECT_SAME_BITS(few, std::vector<float>(all.begin(), all.begin() + tokens * 75));
    }
  });
}

TEST(onlyTheTrainedRowsOfARankReceiveGradients) {
  for_each_dtype([](const std::string& level, rora_dtype dtype) {
    LinearShape shape;
    shape.tokens = 30;
    shape.in = 12;
    shape.projections = {{10, 7}, {9, 4, true}};
    shape.train_rank = 3;
    check_linear(with_options(shape, 2, dtype), level, kSeed);
  });
}

// Threads get equal shares of rows, which may begin between the four features of one random number.
TEST(masksDoNotDependOnWhereBlocksBegin) {
  LinearShape shape;
  shape.tokens = 256, shape.in = 540, shape.dropout = 0.3f;
  shape.projections = {{8, 4, false, false}};
  const LinearData data(shape, kSeed);
  for (const std::string& level : levels()) {
    if (level == "reference") continue;
    const LinearResult one = run_linear(data, level, 1);
    for (const int threads : {2, 4})
      expect_same_results(run_linear(data, level, threads), one, level);
    check_linear(shape, level, kSeed);
  }
}

TEST(resultsDoNotDependOnTheNumberOfThreads) {
  for_each_dtype([](const std::string& level, rora_dtype dtype) {
    size_t turn = 0;
    for (const LinearShape& small : small_shapes()) {
      LinearShape shape = with_options(small, turn, dtype);
      shape.dropout = turn++ % 2 ? 0.2f : 0.0f;
      const LinearData data(shape, kSeed);
      const LinearResult one = run_linear(data, level, 1);
      for (int threads : {2, 3})
        expect_same_results(run_linear(data, level, threads), one, level + ", " + shape.name());
    }
  });
}

TEST(zeroLoraBLeavesTheOutputBitForBit) {
  for_each_dtype([](const std::string& level, rora_dtype dtype) {
    for (const int64_t tokens : {2, 70}) {
      LinearShape shape;
      shape.tokens = tokens;
      shape.in = 33;
      shape.projections = {{20, 4, false, true}, {9, 3}};
      LinearData data(with_options(shape, 1, dtype), kSeed);
      for (ProjectionData& p : data.projections) std::fill(p.b.begin(), p.b.end(), 0.0f);
      const LinearResult with = run_linear(data, level);
      for (ProjectionData& p : data.projections) {
        p.shape.rank = 0;
        p.a.clear();
        p.b.clear();
      }
      const LinearResult without = run_linear(data, level);
      for (size_t i = 0; i < 2; ++i)
        EXPECT_SAME_BITS(with.projections[i].y, without.projections[i].y);
    }
  });
}

// alpha / sqrt(r) is (alpha sqrt(r)) / r: the two scalings may differ in a float's last bit only.
TEST(roraAtAlphaIsLoraAtAlphaTimesTheRootOfTheRank) {
  for (const std::string& level : levels())
    for (const int64_t rank : {1, 2, 3, 8, 33}) {
      LinearShape shape;
      shape.tokens = 20;
      shape.in = 31;
      shape.projections = {{17, rank}};
      LinearData data(shape, kSeed);
      const double alpha = 16, root = std::sqrt(double(rank));
      data.projections[0].scaling = float(alpha / root);
      const LinearResult rora = run_linear(data, level);
      const LinearExpected expected = expected_linear(data, rora);
      data.projections[0].scaling = float(alpha * root / double(rank));
      const LinearResult lora = run_linear(data, level);
      const ProjectionExpected& e = expected.projections[0];
      EXPECT_WITHIN(lora.projections[0].y, e.y.value, [&](size_t i) { return e.y.bound[i]; });
      EXPECT_WITHIN(lora.projections[0].da, e.da.value, [&](size_t i) { return e.da.bound[i]; });
      EXPECT_WITHIN(lora.projections[0].db, e.db.value, [&](size_t i) { return e.db.bound[i]; });
    }
}

namespace {

// sum over all entries of y o dy as the reference computes y: the backward pass gives its slopes.
// It is linear in each single operand, so that a central difference has no error but rounding,
// however long the step.
double loss(const LinearData& data) {
  const LinearResult result = run_linear(data, "reference", 1);
  double sum = 0;
  size_t at = 0;
  for (const ProjectionResult& p : result.projections)
    for (const float y : p.y) sum += double(y) * double(data.dy[at++]);
  return sum;
}

void expect_slopes(LinearData& data, std::vector<float>& operand,
                   const std::vector<float>& gradient, bool starts_at_zero, const char* what) {
  std::vector<double> slopes;
  for (float& value : operand) {
    const float kept = value;
    value = kept + 1.0f;
    const double up = loss(data);
    value = kept - 1.0f;
    const double down = loss(data);
    value = kept;
    slopes.push_back((up - down) / 2 +
                     (starts_at_zero ? 0.0 : double(gradient_start(slopes.size()))));
  }
  // y's and dy's entries are below 16 and there are fewer than 64 of them; y is rounded to float.
  expect_within(__FILE__, __LINE__, what, gradient, slopes,
                [](size_t) { return 64 * 16 * 16 * std::ldexp(1.0, -24); });
}

}  // namespace

TEST(referenceGradientsAreTheSlopesOfTheForwardPass) {
  for (const float dropout : {0.0f, 0.4f}) {
    LinearShape shape;
    shape.tokens = 4;
    shape.in = 5;
    shape.projections = {{3, 2, false, true}, {4, 3}};
    shape.trained_weights = true;
    shape.dropout = dropout;
    LinearData data(shape, kSeed);
    const LinearResult found = run_linear(data, "reference");
    expect_slopes(data, data.x, found.dx, true, "dx");
    for (size_t i = 0; i < 2; ++i) {
      ProjectionData& p = data.projections[i];
      const ProjectionResult& r = found.projections[i];
      expect_slopes(data, p.a, r.da, false, "dA");
      expect_slopes(data, p.b, r.db, false, "dB");
      expect_slopes(data, p.w, r.dw, false, "dW");
      expect_slopes(data, p.bias, r.dbias, false, "dbias");
    }
  }
}

// With the norm detached: A's and B's slopes are those at fixed norms.
TEST(referenceGradientsOfDoraAreTheSlopesAtFixedNorms) {
  for (const float dropout : {0.0f, 0.4f}) {
    LinearShape shape;
    shape.tokens = 4;
    shape.in = 5;
    shape.projections = {{3, 2, true, true}};
    shape.dropout = dropout;
    LinearData data(shape, kSeed);
    const LinearResult found = run_linear(data, "reference");
    ProjectionData& p = data.projections[0];
    const ProjectionResult& r = found.projections[0];
    expect_slopes(data, p.magnitude, r.dm, false, "dm");
    p.fixed_norms = r.norms;
    expect_slopes(data, data.x, found.dx, true, "dx");
    expect_slopes(data, p.a, r.da, false, "dA");
    expect_slopes(data, p.b, r.db, false, "dB");
  }
}

TEST(shrinkWritesWhatForwardWritesAndNothingElse) {
  for_each_dtype([](const std::string& level, rora_dtype dtype) {
    const Context context(level);
    Random random(kSeed);
    const auto weight = make_weight(context, dtype, 8, 21, random.normal(8 * 21));
    const Floats a(context, random.normal(3 * 21)), b(context, random.normal(3 * 8));
    rora_adapter* made = nullptr;
    EXPECT_OK(rora_adapter_create(context, 8, 21, 3, 0.7f, a.get(), b.get(), nullptr, nullptr,
                                  nullptr, nullptr, &made));
    const AdapterHandle adapter(made);
    rora_linear* group = nullptr;
    EXPECT_OK(rora_linear_create(context, 1, &group));
    const LinearHandle linear(group);
    EXPECT_OK(rora_linear_set_weight(group, 0, weight.get(), nullptr, nullptr));
    EXPECT_OK(rora_linear_set_adapter(group, 0, made));
    const std::vector<float> values = random.normal(70 * 21);
    const auto x = make_activation(context, dtype, 70, 21, 3);
    const auto shrunk = make_activation(context, dtype, 70, 21, 3);
    const auto y = make_activation(context, dtype, 70, 8);
    for (rora_activation* each : {x.get(), shrunk.get()})
      EXPECT_OK(rora_activation_write(each, 0, 21, values.data(), 21));
    EXPECT_OK(rora_linear_forward(group, nullptr, x.get(), nullptr, y.get()));
    EXPECT_OK(rora_linear_shrink(group, nullptr, shrunk.get()));
    EXPECT(tail_values(*x, {}, 3) == tail_values(*shrunk, {}, 3));
    std::vector<float> left(70 * 21), right(70 * 21);
    EXPECT_OK(rora_activation_read(x.get(), 0, 70, 0, 21, left.data(), 21));
    EXPECT_OK(rora_activation_read(shrunk.get(), 0, 70, 0, 21, right.data(), 21));
    EXPECT_SAME_BITS(left, right);
  });
}

TEST(frozenGroupNeedsNoInputInItsBackwardPass) {
  for (const std::string& level : levels()) {
    const Context context(level);
    const auto weight = make_weight(context, RORA_F32, 2, 3, {1, 2, 3, 4, 5, 6});
    rora_linear* group = nullptr;
    EXPECT_OK(rora_linear_create(context, 1, &group));
    const LinearHandle linear(group);
    EXPECT_OK(rora_linear_set_weight(group, 0, weight.get(), nullptr, nullptr));
    const auto dy = make_activation(context, RORA_F32, 1, 2),
               dx = make_activation(context, RORA_F32, 1, 3);
    const std::vector<float> gradient = {1, 10};
    EXPECT_OK(rora_activation_write(dy.get(), 0, 2, gradient.data(), 2));
    EXPECT_OK(rora_linear_backward(group, nullptr, nullptr, dy.get(), 0, dx.get()));
    EXPECT_OK(rora_linear_backward(group, nullptr, nullptr, dy.get(), 0, nullptr));
    std::vector<float> found(3);
    EXPECT_OK(rora_activation_read(dx.get(), 0, 1, 0, 3, found.data(), 3));
    EXPECT_SAME_BITS(found, (std::vector<float>{41, 52, 63}));
  }
}

TEST(noTokensAreLegal) {
  for (const std::string& level : levels()) {
    const Context context(level);
    const auto weight = make_weight(context, RORA_F32, 2, 3, {1, 2, 3, 4, 5, 6});
    rora_linear* group = nullptr;
    EXPECT_OK(rora_linear_create(context, 1, &group));
    const LinearHandle linear(group);
    EXPECT_OK(rora_linear_set_weight(group, 0, weight.get(), nullptr, nullptr));
    const auto x = make_activation(context, RORA_F32, 0, 3),
               y = make_activation(context, RORA_F32, 1, 2);
    EXPECT_OK(rora_linear_forward(group, nullptr, x.get(), nullptr, y.get()));
    EXPECT(rora_activation_tokens(y.get()) == 0);
    EXPECT_OK(rora_linear_shrink(group, nullptr, x.get()));
    const auto dx = make_activation(context, RORA_F32, 1, 3);
    EXPECT_OK(rora_linear_backward(group, nullptr, x.get(), y.get(), 0, dx.get()));
    EXPECT(rora_activation_tokens(dx.get()) == 0);
  }
}

TEST(brokenRulesAreRefusedWithValueAndRule) {
  const Context context("reference");
  const auto weight = make_weight(context, RORA_F32, 2, 3, {1, 2, 3, 4, 5, 6});
  const auto other = make_weight(context, RORA_F32, 2, 4, std::vector<float>(8));
  rora_linear* group = nullptr;
  EXPECT_ERROR(rora_linear_create(context, 0, &group), RORA_INVALID_ARGUMENT, "projections=0");
  EXPECT_ERROR(rora_linear_create(context, 5, &group), RORA_INVALID_ARGUMENT, "1 .. 4");
  EXPECT_ERROR(rora_linear_create(nullptr, 1, &group), RORA_INVALID_ARGUMENT, "context");
  EXPECT_ERROR(rora_linear_create(context, 1, nullptr), RORA_INVALID_ARGUMENT, "NULL");
  EXPECT_OK(rora_linear_create(context, 2, &group));
  const LinearHandle linear(group);
  EXPECT(rora_linear_column(group, 1) == -1);
  EXPECT_ERROR(rora_linear_set_adapter(group, 0, nullptr), RORA_INVALID_ARGUMENT,
               "rora_linear_set_weight first");
  EXPECT_ERROR(rora_linear_set_weight(group, 2, weight.get(), nullptr, nullptr),
               RORA_INVALID_ARGUMENT, "index=2: must be 0 .. 1");
  EXPECT_ERROR(rora_linear_set_weight(group, 0, nullptr, nullptr, nullptr), RORA_INVALID_ARGUMENT,
               "weight is NULL");
  EXPECT_OK(rora_linear_set_weight(group, 0, weight.get(), nullptr, nullptr));
  EXPECT_ERROR(rora_linear_set_weight(group, 1, other.get(), nullptr, nullptr),
               RORA_INVALID_ARGUMENT, "shares its input");
  const auto x = make_activation(context, RORA_F32, 2, 3),
             y = make_activation(context, RORA_F32, 2, 4);
  EXPECT_ERROR(rora_linear_forward(group, nullptr, x.get(), nullptr, y.get()),
               RORA_INVALID_ARGUMENT, "projection 1 has no weight");
  EXPECT_OK(rora_linear_set_weight(group, 1, weight.get(), nullptr, nullptr));
  for (const float p : {-0.1f, 1.0f, std::nanf("")})
    EXPECT_ERROR(rora_linear_set_dropout(group, p, 1, 1, 1), RORA_INVALID_ARGUMENT,
                 "must be 0 <= p < 1");
  EXPECT_ERROR(rora_linear_forward(group, nullptr, nullptr, nullptr, y.get()),
               RORA_INVALID_ARGUMENT, "x is NULL");
  EXPECT_ERROR(rora_linear_forward(group, nullptr, y.get(), nullptr, y.get()),
               RORA_INVALID_ARGUMENT, "x is 4 wide: must be 3");
  EXPECT_ERROR(rora_linear_forward(group, nullptr, x.get(), nullptr, x.get()),
               RORA_INVALID_ARGUMENT, "y and x must not be the same");
  const auto narrow = make_activation(context, RORA_F32, 1, 4);
  EXPECT_ERROR(rora_linear_forward(group, nullptr, x.get(), nullptr, narrow.get()),
               RORA_INVALID_ARGUMENT, "room for 1 tokens");
  EXPECT_ERROR(rora_linear_forward(group, nullptr, x.get(), narrow.get(), y.get()),
               RORA_INVALID_ARGUMENT, "residual");
  EXPECT_OK(rora_linear_set_dropout(group, 0.5f, 1, 1, 1));
  EXPECT_ERROR(rora_linear_forward(group, nullptr, x.get(), nullptr, y.get()),
               RORA_INVALID_ARGUMENT, "batch is NULL");
  const auto batch = make_batch(context, 1);
  EXPECT_ERROR(rora_linear_forward(group, batch.get(), x.get(), nullptr, y.get()),
               RORA_INVALID_ARGUMENT, "batch has 1 tokens");
  EXPECT_OK(rora_linear_set_dropout(group, 0.0f, 1, 1, 1));
  EXPECT_ERROR(rora_linear_backward(group, nullptr, x.get(), nullptr, 0, nullptr),
               RORA_INVALID_ARGUMENT, "dy is NULL");
  EXPECT_ERROR(rora_linear_backward(group, nullptr, x.get(), y.get(), 0, x.get()),
               RORA_INVALID_ARGUMENT, "dx must not be x or dy");
  EXPECT_ERROR(rora_linear_backward(group, nullptr, narrow.get(), y.get(), 0, nullptr),
               RORA_INVALID_ARGUMENT, "x is 4 wide");
}

TEST(adapterWithoutRoomInTheTailIsRefused) {
  const Context context("reference");
  const auto weight = make_weight(context, RORA_F32, 2, 3, {1, 2, 3, 4, 5, 6});
  const Floats a(context, 3 * 3), b(context, 2 * 3), da(context, 3 * 3), db(context, 2 * 3);
  rora_adapter* made = nullptr;
  EXPECT_OK(rora_adapter_create(context, 2, 3, 3, 1.0f, a.get(), b.get(), nullptr, da.get(),
                                db.get(), nullptr, &made));
  const AdapterHandle adapter(made);
  rora_linear* group = nullptr;
  EXPECT_OK(rora_linear_create(context, 1, &group));
  const LinearHandle linear(group);
  EXPECT_OK(rora_linear_set_weight(group, 0, weight.get(), nullptr, nullptr));
  EXPECT_OK(rora_linear_set_adapter(group, 0, made));
  EXPECT(rora_linear_tail(group) == 4);
  const auto x = make_activation(context, RORA_F32, 2, 3, 2),
             y = make_activation(context, RORA_F32, 2, 2);
  EXPECT_ERROR(rora_linear_forward(group, nullptr, x.get(), nullptr, y.get()),
               RORA_INVALID_ARGUMENT, "tail of 2 columns: must be at least 4");
  EXPECT_ERROR(rora_linear_backward(group, nullptr, nullptr, y.get(), 0, nullptr),
               RORA_INVALID_ARGUMENT, "dy has a tail of 0 columns");
  const auto dy = make_activation(context, RORA_F32, 2, 2, 3);
  EXPECT_ERROR(rora_linear_backward(group, nullptr, nullptr, dy.get(), 0, nullptr),
               RORA_INVALID_ARGUMENT, "x is NULL: something of this group is trained");
  EXPECT_OK(rora_linear_set_adapter(group, 0, nullptr));
  EXPECT(rora_linear_tail(group) == 0);
  EXPECT_OK(rora_linear_forward(group, nullptr, x.get(), nullptr, y.get()));
}
