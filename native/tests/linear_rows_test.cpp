// The linear operators on row-major memory of others: the bits of the operators on activations,
// whatever type, stride, address or thread, and whatever the workspace held.
#include <cstring>
#include <limits>

#include "cpu/panel.h"
#include "handles.h"

using namespace rora;
using namespace rora::testing;

namespace {

using WorkspaceHandle = Handle<rora_row_workspace, rora_row_workspace_destroy>;

constexpr float kScaling = 0.5f;

struct Sizes {
  int64_t tokens, in, out, rank;
};
const Sizes kSizes[] = {{1, 1, 1, 1},   {3, 15, 5, 2},   {4, 16, 64, 16},
                        {5, 7, 97, 33}, {65, 31, 17, 8}, {130, 100, 41, 3}};

WorkspaceHandle make_workspace(rora_context* context) {
  rora_row_workspace* made = nullptr;
  EXPECT_OK(rora_row_workspace_create(context, &made));
  return WorkspaceHandle(made);
}

// A row-major matrix that begins one element behind an aligned address; NaN around its rows.
struct Host {
  rora_dtype dtype;
  int64_t rows, columns, pad;
  DeviceVector<uint8_t> bytes;

  Host(rora_dtype type, int64_t row_count, int64_t column_count, int64_t padding)
      : dtype(type),
        rows(row_count),
        columns(column_count),
        pad(padding),
        bytes(size_t((rows * stride() + 1) * element()), 0xff) {}

  int64_t element() const { return dtype == RORA_F32 ? 4 : 2; }
  int64_t stride() const { return columns + pad; }
  void* data() { return bytes.data() + element(); }
  float* floats() { return reinterpret_cast<float*>(data()); }

  void fill(const std::vector<float>& values) {
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; ++j) {
        const float value = values[size_t(i * columns + j)];
        const uint16_t half = float_to_bf16(value);
        std::memcpy(at(i, j), dtype == RORA_F32 ? static_cast<const void*>(&value) : &half,
                    size_t(element()));
      }
  }
  std::vector<float> values() {
    std::vector<float> result;
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; ++j) {
        float value;
        uint16_t half;
        if (dtype == RORA_F32)
          std::memcpy(&value, at(i, j), 4);
        else
          std::memcpy(&half, at(i, j), 2), value = bf16_to_float(half);
        result.push_back(value);
      }
    return result;
  }
  uint8_t* at(int64_t i, int64_t j) {
    return bytes.data() + size_t((i * stride() + j + 1) * element());
  }
  bool padding_is_whole() {
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t b = 0; b < pad * element(); ++b)
        if (at(i, columns)[b] != 0xff) return false;
    for (int64_t b = 0; b < element(); ++b)
      if (bytes[size_t(b)] != 0xff) return false;
    return true;
  }
  bool untouched() const {
    for (const uint8_t byte : bytes)
      if (byte != 0xff) return false;
    return true;
  }
};

// One layer's matrices in host memory, and the values they were filled with.
struct Layer {
  Sizes s;
  rora_dtype dtype, compute;
  std::vector<float> w_values, x_values, a_values, b_values, dy_values, da_start, db_start,
      dx_start;
  Host x, a, b, h, y, dy, da, db, dx;

  Layer(const Sizes& sizes, rora_dtype type, rora_dtype computes, int64_t pad, uint64_t seed = 3)
      : s(sizes),
        dtype(type),
        compute(computes),
        x(type, s.tokens, s.in, pad),
        a(RORA_F32, s.rank, s.in, pad),
        b(RORA_F32, s.out, s.rank, pad),
        h(RORA_F32, s.tokens, s.rank, pad),
        y(type, s.tokens, s.out, pad),
        dy(type, s.tokens, s.out, pad),
        da(RORA_F32, s.rank, s.in, pad),
        db(RORA_F32, s.out, s.rank, pad),
        dx(type, s.tokens, s.in, pad) {
    Random random(seed);
    w_values = random.normal(s.out * s.in, 0.5f);
    x_values = rounded(random.normal(s.tokens * s.in), type);
    a_values = random.normal(s.rank * s.in, 0.5f);
    b_values = random.normal(s.out * s.rank, 0.5f);
    dy_values = rounded(random.normal(s.tokens * s.out), type);
    x.fill(x_values), a.fill(a_values), b.fill(b_values), dy.fill(dy_values);
  }
  void start_sums() {
    Random random(4);
    da_start = random.normal(s.rank * s.in), db_start = random.normal(s.out * s.rank);
    dx_start = rounded(random.normal(s.tokens * s.in), dtype);
    da.fill(da_start), db.fill(db_start), dx.fill(dx_start);
  }
  rora_status forward(rora_row_workspace* workspace, const rora_weight* weight) {
    return rora_linear_forward_rows(workspace, weight, compute, s.tokens, s.rank, kScaling, dtype,
                                    x.data(), x.stride(), a.floats(), a.stride(), b.floats(),
                                    b.stride(), h.floats(), h.stride(), y.data(), y.stride());
  }
  rora_status backward(rora_row_workspace* workspace, const rora_weight* weight, int32_t sums,
                       bool wants_adapter = true, bool wants_dx = true) {
    return rora_linear_backward_rows(
        workspace, weight, compute, s.tokens, s.rank, kScaling, dtype,
        wants_adapter ? x.data() : nullptr, x.stride(), a.floats(), a.stride(), b.floats(),
        b.stride(), wants_adapter ? h.floats() : nullptr, h.stride(), dy.data(), dy.stride(), sums,
        wants_adapter ? da.floats() : nullptr, da.stride(), wants_adapter ? db.floats() : nullptr,
        db.stride(), wants_dx ? dx.data() : nullptr, dx.stride());
  }
  bool paddings_are_whole() {
    for (Host* each : {&x, &a, &b, &h, &y, &dy, &da, &db, &dx})
      if (!each->padding_is_whole()) return false;
    return true;
  }
};

// The same by the operators on activations.
struct Expected {
  std::vector<float> h, y, da, db, dx;

  Expected(rora_context* context, const rora_weight* weight, const Layer& layer, bool accumulate) {
    const Sizes& s = layer.s;
    const auto x = make_activation(context, layer.compute, s.tokens, s.in, s.rank);
    const auto y_panels = make_activation(context, layer.compute, s.tokens, s.out, s.rank);
    const auto dy = make_activation(context, layer.compute, s.tokens, s.out, s.rank);
    const auto dx_panels = make_activation(context, layer.compute, s.tokens, s.in);
    EXPECT_OK(rora_activation_write(x.get(), 0, s.in, layer.x_values.data(), s.in));
    EXPECT_OK(rora_activation_write(dy.get(), 0, s.out, layer.dy_values.data(), s.out));
    const Floats a(context, layer.a_values), b(context, layer.b_values);
    const Floats a_gradient(
        context, accumulate ? layer.da_start : std::vector<float>(layer.a_values.size(), 0.0f));
    const Floats b_gradient(
        context, accumulate ? layer.db_start : std::vector<float>(layer.b_values.size(), 0.0f));
    rora_adapter* adapter = nullptr;
    EXPECT_OK(rora_adapter_create(context, s.out, s.in, s.rank, kScaling, a.get(), b.get(), nullptr,
                                  a_gradient.get(), b_gradient.get(), nullptr, &adapter));
    const AdapterHandle owned(adapter);
    rora_linear* linear = nullptr;
    EXPECT_OK(rora_linear_create(context, 1, &linear));
    const LinearHandle group(linear);
    EXPECT_OK(rora_linear_set_weight(linear, 0, weight, nullptr, nullptr));
    EXPECT_OK(rora_linear_set_adapter(linear, 0, adapter));
    EXPECT_OK(rora_linear_forward(linear, nullptr, x.get(), nullptr, y_panels.get()));
    // The rows' backward pass reads h again, which for few tokens leaves its unused lanes zero.
    h = tail_values(*x, {}, s.rank);
    EXPECT_OK(rora_linear_backward(linear, nullptr, x.get(), dy.get(), 0, dx_panels.get()));
    y.resize(size_t(s.tokens * s.out)), dx.resize(size_t(s.tokens * s.in));
    EXPECT_OK(rora_activation_read(y_panels.get(), 0, s.tokens, 0, s.out, y.data(), s.out));
    EXPECT_OK(rora_activation_read(dx_panels.get(), 0, s.tokens, 0, s.in, dx.data(), s.in));
    if (accumulate)
      for (size_t i = 0; i < dx.size(); ++i) dx[i] += layer.dx_start[i];
    y = rounded(y, layer.dtype), dx = rounded(dx, layer.dtype);
    da = a_gradient.values(), db = b_gradient.values();
  }
};

void check_backward(const Expected& expected, Layer& layer) {
  EXPECT_SAME_BITS(layer.da.values(), expected.da);
  EXPECT_SAME_BITS(layer.db.values(), expected.db);
  EXPECT_SAME_BITS(layer.dx.values(), expected.dx);
  EXPECT(layer.paddings_are_whole());
}

constexpr rora_dtype kTypes[] = {RORA_F32, RORA_BF16};

}  // namespace

TEST(rowsGiveTheBitsOfActivationsForAllTypesStridesAndThreads) {
  for (const std::string& level : levels())
    for (const int threads : {1, 3})
      for (const rora_dtype weight_type : kTypes)
        for (const rora_dtype compute : kTypes)
          for (const rora_dtype dtype : kTypes)
            for (const int64_t pad : {0, 3})
              for (const Sizes& sizes : kSizes) {
                const Context context(level, threads);
                const auto workspace = make_workspace(context);
                Layer layer(sizes, dtype, compute, pad);
                const auto weight =
                    make_weight(context, weight_type, sizes.out, sizes.in, layer.w_values);
                EXPECT_OK(layer.forward(workspace.get(), weight.get()));
                const Expected expected(context, weight.get(), layer, false);
                EXPECT_SAME_BITS(layer.h.values(), expected.h);
                EXPECT_SAME_BITS(layer.y.values(), expected.y);
                EXPECT_OK(layer.backward(workspace.get(), weight.get(), RORA_OVERWRITE));
                check_backward(expected, layer);
              }
}

TEST(sumsAreAddedToWhatIsThere) {
  for (const std::string& level : levels())
    for (const rora_dtype dtype : kTypes)
      for (const int64_t pad : {0, 3}) {
        const Context context(level);
        const auto workspace = make_workspace(context);
        Layer layer({65, 31, 17, 8}, dtype, RORA_F32, pad);
        layer.start_sums();
        const auto weight = make_weight(context, RORA_F32, 17, 31, layer.w_values);
        EXPECT_OK(layer.forward(workspace.get(), weight.get()));
        EXPECT_OK(
            layer.backward(workspace.get(), weight.get(), RORA_ADD_TO_ADAPTER | RORA_ADD_TO_INPUT));
        check_backward(Expected(context, weight.get(), layer, true), layer);
      }
}

TEST(gradientsThatAreNotWantedAreLeftAlone) {
  const Context context(levels().back());
  const auto workspace = make_workspace(context);
  Layer all(kSizes[4], RORA_F32, RORA_F32, 3), no_dx = all, no_adapter = all;
  const auto weight = make_weight(context, RORA_F32, all.s.out, all.s.in, all.w_values);
  for (Layer* layer : {&all, &no_dx, &no_adapter})
    EXPECT_OK(layer->forward(workspace.get(), weight.get()));
  EXPECT_OK(all.backward(workspace.get(), weight.get(), RORA_OVERWRITE));
  EXPECT_OK(no_dx.backward(workspace.get(), weight.get(), RORA_OVERWRITE, true, false));
  EXPECT_OK(no_adapter.backward(workspace.get(), weight.get(), RORA_OVERWRITE, false, true));
  EXPECT_SAME_BITS(no_dx.da.values(), all.da.values());
  EXPECT_SAME_BITS(no_dx.db.values(), all.db.values());
  EXPECT(no_dx.dx.untouched());
  EXPECT_SAME_BITS(no_adapter.dx.values(), all.dx.values());
  EXPECT(no_adapter.da.untouched() && no_adapter.db.untouched());
}

TEST(withoutARankItIsTheBareLayer) {
  for (const std::string& level : levels()) {
    const Context context(level);
    const auto workspace = make_workspace(context);
    Layer layer(kSizes[5], RORA_F32, RORA_F32, 3);
    const Sizes& s = layer.s;
    const auto weight = make_weight(context, RORA_F32, s.out, s.in, layer.w_values);
    Layer zero = layer;  // an adapter whose B and A are zero computes the same
    zero.a.fill(std::vector<float>(layer.a_values.size(), 0.0f));
    zero.b.fill(std::vector<float>(layer.b_values.size(), 0.0f));
    EXPECT_OK(zero.forward(workspace.get(), weight.get()));
    EXPECT_OK(zero.backward(workspace.get(), weight.get(), RORA_OVERWRITE));
    EXPECT_OK(rora_linear_forward_rows(workspace.get(), weight.get(), RORA_F32, s.tokens, 0, 1.0f,
                                       RORA_F32, layer.x.data(), layer.x.stride(), nullptr, 0,
                                       nullptr, 0, nullptr, 0, layer.y.data(), layer.y.stride()));
    EXPECT_OK(rora_linear_backward_rows(workspace.get(), weight.get(), RORA_F32, s.tokens, 0, 1.0f,
                                        RORA_F32, nullptr, 0, nullptr, 0, nullptr, 0, nullptr, 0,
                                        layer.dy.data(), layer.dy.stride(), 0, nullptr, 0, nullptr,
                                        0, layer.dx.data(), layer.dx.stride()));
    if (static_cast<rora_context*>(context)->device->on_host) {
      EXPECT_SAME_BITS(layer.y.values(), zero.y.values());
      EXPECT_SAME_BITS(layer.dx.values(), zero.dx.values());
    } else {
      // On a GPU the work may be cut in other ways where there is a slab: other orders of sums.
      const auto order = [&](size_t) { return double(s.in + s.out) * 0x1p-23; };
      const std::vector<float> y = zero.y.values(), dx = zero.dx.values();
      EXPECT_WITHIN(layer.y.values(), std::vector<double>(y.begin(), y.end()), order);
      EXPECT_WITHIN(layer.dx.values(), std::vector<double>(dx.begin(), dx.end()), order);
    }
    EXPECT(layer.paddings_are_whole());
  }
}

TEST(whatTheWorkspaceHeldDoesNotMatter) {
  for (const std::string& level : levels())
    for (const rora_dtype compute : kTypes)
      for (const Sizes& sizes : kSizes) {
        const Context context(level);
        const auto fresh = make_workspace(context), used = make_workspace(context);
        // A larger call whose every result is NaN.
        Layer spoiled({140, 130, 110, 40}, RORA_F32, compute, 0);
        spoiled.x.fill(std::vector<float>(size_t(140 * 130), std::nanf("")));
        spoiled.dy.fill(std::vector<float>(size_t(140 * 110), std::nanf("")));
        const auto other = make_weight(context, compute, 110, 130, spoiled.w_values);
        EXPECT_OK(spoiled.forward(used.get(), other.get()));
        EXPECT_OK(spoiled.backward(used.get(), other.get(), RORA_OVERWRITE));
        Layer a(sizes, RORA_F32, compute, 3), b = a;
        const auto weight = make_weight(context, compute, sizes.out, sizes.in, a.w_values);
        EXPECT_OK(a.forward(fresh.get(), weight.get()));
        EXPECT_OK(a.backward(fresh.get(), weight.get(), RORA_OVERWRITE));
        EXPECT_OK(b.forward(used.get(), weight.get()));
        EXPECT_OK(b.backward(used.get(), weight.get(), RORA_OVERWRITE));
        EXPECT_SAME_BITS(b.h.values(), a.h.values());
        EXPECT_SAME_BITS(b.y.values(), a.y.values());
        EXPECT_SAME_BITS(b.da.values(), a.da.values());
        EXPECT_SAME_BITS(b.db.values(), a.db.values());
        EXPECT_SAME_BITS(b.dx.values(), a.dx.values());
      }
}

TEST(workspaceGrowsToTheLargestCallAndIsFreed) {
  const Context context("reference");
  Layer large({130, 8, 6, 2}, RORA_F32, RORA_F32, 0), small({3, 8, 6, 2}, RORA_F32, RORA_F32, 0);
  const auto weight = make_weight(context, RORA_F32, 6, 8, large.w_values);
  const int64_t before = rora_context_bytes(context);
  {
    const auto workspace = make_workspace(context);
    EXPECT(rora_context_bytes(context) == before);
    EXPECT_OK(large.forward(workspace.get(), weight.get()));
    EXPECT_OK(large.backward(workspace.get(), weight.get(), RORA_OVERWRITE));
    const int64_t grown = rora_context_bytes(context);
    EXPECT(grown - before == 192 * (10 + 8 + 8) * 4);
    EXPECT_OK(small.forward(workspace.get(), weight.get()));
    EXPECT_OK(small.backward(workspace.get(), weight.get(), RORA_OVERWRITE));
    EXPECT(rora_context_bytes(context) == grown);
  }
  EXPECT(rora_context_bytes(context) == before);
}

TEST(noTokensZeroWhatIsOverwrittenAndLeaveWhatIsAddedTo) {
  const Context context("reference");
  const auto workspace = make_workspace(context);
  Layer layer(kSizes[1], RORA_F32, RORA_F32, 3);
  const auto weight = make_weight(context, RORA_F32, layer.s.out, layer.s.in, layer.w_values);
  layer.start_sums();
  layer.s.tokens = 0;
  EXPECT_OK(layer.forward(workspace.get(), weight.get()));
  EXPECT(layer.h.untouched() && layer.y.untouched());
  EXPECT_OK(layer.backward(workspace.get(), weight.get(), RORA_ADD_TO_ADAPTER));
  EXPECT_SAME_BITS(layer.da.values(), layer.da_start);
  EXPECT_OK(layer.backward(workspace.get(), weight.get(), RORA_OVERWRITE));
  EXPECT_SAME_BITS(layer.da.values(), std::vector<float>(layer.da_start.size(), 0.0f));
  EXPECT_SAME_BITS(layer.db.values(), std::vector<float>(layer.db_start.size(), 0.0f));
  EXPECT_SAME_BITS(layer.dx.values(), layer.dx_start);
}

namespace {

// Arguments of calls on a [4, 6] weight, to be broken one at a time.
struct Arguments {
  Layer layer{{5, 6, 4, 2}, RORA_F32, RORA_F32, 3};
  rora_dtype compute = RORA_F32, dtype = RORA_F32;
  int64_t tokens = 5, rank = 2, ldx = 9, lda = 9, ldb = 5, ldh = 5, ldy = 7;
  float scaling = 1;
  int32_t sums = 0;
  void *x = layer.x.data(), *y = layer.y.data(), *dy = layer.dy.data(), *dx = layer.dx.data();
  float *a = layer.a.floats(), *b = layer.b.floats(), *h = layer.h.floats(),
        *da = layer.da.floats(), *db = layer.db.floats();

  rora_status forward(rora_row_workspace* workspace, const rora_weight* weight) const {
    return rora_linear_forward_rows(workspace, weight, compute, tokens, rank, scaling, dtype, x,
                                    ldx, a, lda, b, ldb, h, ldh, y, ldy);
  }
  rora_status backward(rora_row_workspace* workspace, const rora_weight* weight) const {
    return rora_linear_backward_rows(workspace, weight, compute, tokens, rank, scaling, dtype, x,
                                     ldx, a, lda, b, ldb, h, ldh, dy, ldy, sums, da, lda, db, ldb,
                                     dx, ldx);
  }
  bool untouched() const {
    return layer.h.untouched() && layer.y.untouched() && layer.da.untouched() &&
           layer.db.untouched() && layer.dx.untouched();
  }
};

}  // namespace

TEST(brokenArgumentsOfRowsAreRefusedBeforeTheFirstWrite) {
  const Context context("reference"), other("reference");
  const auto workspace = make_workspace(context), foreign = make_workspace(other);
  const auto weight = make_weight(context, RORA_F32, 4, 6, std::vector<float>(24, 1.0f));
  using Spoil = std::function<void(Arguments&)>;
  const auto refused = [&](bool forward, bool backward, const char* text, const Spoil& spoil) {
    Arguments arguments;
    spoil(arguments);
    if (forward)
      EXPECT_ERROR(arguments.forward(workspace.get(), weight.get()), RORA_INVALID_ARGUMENT, text);
    if (backward)
      EXPECT_ERROR(arguments.backward(workspace.get(), weight.get()), RORA_INVALID_ARGUMENT, text);
    EXPECT(arguments.untouched());
  };
  const auto both = [&](const char* text, const Spoil& spoil) { refused(true, true, text, spoil); };
  const auto forward = [&](const char* text, const Spoil& spoil) {
    refused(true, false, text, spoil);
  };
  const auto backward = [&](const char* text, const Spoil& spoil) {
    refused(false, true, text, spoil);
  };
  EXPECT_ERROR(rora_row_workspace_create(nullptr, nullptr), RORA_INVALID_ARGUMENT, "context");
  EXPECT_ERROR(Arguments().forward(nullptr, weight.get()), RORA_INVALID_ARGUMENT, "workspace");
  EXPECT_ERROR(Arguments().backward(workspace.get(), nullptr), RORA_INVALID_ARGUMENT, "weight");
  EXPECT_ERROR(Arguments().forward(foreign.get(), weight.get()), RORA_INVALID_ARGUMENT,
               "another context");
  both("tokens=-1", [](Arguments& c) { c.tokens = -1; });
  both("rank=-1: must not be negative", [](Arguments& c) { c.rank = -1; });
  both("rank=16777217: must be at most 2^24", [](Arguments& c) { c.rank = (1 << 24) + 1; });
  both("dtype=2: must be RORA_F32 or RORA_BF16", [](Arguments& c) { c.dtype = RORA_F16; });
  both("compute=2", [](Arguments& c) { c.compute = RORA_F16; });
  both("scaling=inf: must be finite",
       [](Arguments& c) { c.scaling = std::numeric_limits<float>::infinity(); });
  both("x is NULL: it must be given", [](Arguments& c) { c.x = nullptr; });
  both("lora_A is NULL", [](Arguments& c) { c.a = nullptr; });
  both("lora_B is NULL", [](Arguments& c) { c.b = nullptr; });
  both("h is NULL", [](Arguments& c) { c.h = nullptr; });
  forward("y is NULL", [](Arguments& c) { c.y = nullptr; });
  backward("dy is NULL", [](Arguments& c) { c.dy = nullptr; });
  backward("dA and dB must be both given or both NULL", [](Arguments& c) { c.da = nullptr; });
  backward("sums=4", [](Arguments& c) { c.sums = 4; });
  backward("sums=-1", [](Arguments& c) { c.sums = -1; });
  both("must be aligned to its elements (4 bytes)",
       [](Arguments& c) { c.x = static_cast<char*>(c.x) + 2; });
  both("must be aligned to its elements (2 bytes)", [](Arguments& c) {
    c.dtype = RORA_BF16;
    c.x = static_cast<char*>(c.x) + 1;
  });
  both("ldx=5: must be at least in_features (6)", [](Arguments& c) { c.ldx = 5; });
  both("lda=-9", [](Arguments& c) { c.lda = -9; });
  both("ldb=1: must be at least rank (2)", [](Arguments& c) { c.ldb = 1; });
  both("ldh=1", [](Arguments& c) { c.ldh = 1; });
  forward("ldy=3: must be at least out_features (4)", [](Arguments& c) { c.ldy = 3; });
  backward("lddy=3", [](Arguments& c) { c.ldy = 3; });
  both("ldx=4294967296: must be at most", [](Arguments& c) { c.ldx = int64_t(1) << 32; });
  forward("y overlaps x", [](Arguments& c) { c.y = c.x; });
  forward("h overlaps y", [](Arguments& c) { c.h = static_cast<float*>(c.y) + 1; });
  backward("dx overlaps dy", [](Arguments& c) { c.dx = c.dy; });
  backward("dB overlaps dA", [](Arguments& c) { c.db = c.da + 1; });
  rora_row_workspace_destroy(nullptr);
}
