// Times the kernels on a GPU at the shapes of LLaMA3-8B, and what they are held against:
//   rora_gpu_bench [--json FILE] [--only TEXT]        (TEXT: a part of the kernels' names)
// Products stand against cuBLASLt's product of the same shape without the low-rank slab and, as
// "apart", against that product followed by those of the slabs, which is what a framework runs;
// attention against a plain kernel; what only moves memory against a copy of as many bytes.
//
// A time is the median of CUDA events around one call, after three calls to warm up; between calls
// 256 MB are written, so that no operand is in the second level cache. Results of the products and
// of attention are compared with those of what they stand against.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "cuda/attention.h"
#include "cuda/columns.h"
#include "cuda/convert.h"
#include "cuda/dora.h"
#include "cuda/embedding.h"
#include "cuda/gemm.h"
#include "cuda/loss.h"
#include "cuda/memory.h"
#include "cuda/optimizer.h"
#include "cuda/rmsnorm.h"
#include "cuda/rope.h"
#include "cuda/skinny.h"
#include "cuda/swiglu.h"
#include "tests/gpu/cublaslt.h"

namespace rora::cuda {
namespace {

constexpr int kRounds = 11, kWarmUps = 3;
constexpr int64_t kFlushBytes = int64_t(256) << 20;

constexpr int64_t kHidden = 4096, kIntermediate = 14336, kVocabulary = 128256;
constexpr int64_t kHeads = 32, kKvHeads = 8, kHeadDim = 128;
constexpr int64_t kTokens[] = {1024, 4096};
constexpr int64_t kRanks[] = {16, 64};
constexpr float kScaling = 0.25f;

[[noreturn]] void stop(const std::string& why) {
  std::fprintf(stderr, "rora_gpu_bench: %s\n", why.c_str());
  std::exit(1);
}
void check(const char* error) {
  if (*error) stop(error);
}
void check(cudaError_t status) {
  if (status != cudaSuccess) stop(cudaGetErrorString(status));
}

// ---- memory ----

template <class T>
struct Fill {
  T* data;
  int64_t count;
  uint32_t seed;
  float scale;
};

// Numbers evenly from -scale to scale; bits of a GPU that multiplies zeros would be too good.
template <class T>
__global__ void fill_kernel(Fill<T> op) {
  const int64_t step = int64_t(gridDim.x) * blockDim.x;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < op.count; i += step) {
    uint32_t bits = uint32_t(i) * 0x9e3779b9u + op.seed;
    bits = (bits ^ (bits >> 16)) * 0x85ebca6bu;
    bits = (bits ^ (bits >> 13)) * 0xc2b2ae35u;
    const float value = op.scale * (float(bits ^ (bits >> 16)) * 0x1p-31f - 1.0f);
    if constexpr (sizeof(T) == 2)
      op.data[i] = round_one(value);
    else
      op.data[i] = value;
  }
}

uint32_t next_seed = 1;

// Device memory: zero, or random with fill().
template <class T>
class Buffer {
 public:
  explicit Buffer(int64_t count) : count_(std::max<int64_t>(count, 1)) {
    void* memory = nullptr;
    if (cudaMalloc(&memory, size_t(count_) * sizeof(T)) != cudaSuccess)
      stop("the GPU has no memory for another " +
           std::to_string(count_ * int64_t(sizeof(T)) >> 20) + " MB: stop what else runs on it");
    data_ = static_cast<T*>(memory);
    check(cudaMemset(data_, 0, size_t(count_) * sizeof(T)));
    check(cudaDeviceSynchronize());  // the stream does not wait for others
  }
  ~Buffer() { cudaFree(data_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  Buffer& fill(Stream stream, float scale = 1.0f) {
    check(launch(fill_kernel<T>, {1024}, 256, 0, stream,
                 Fill<T>{data_, count_, 0x51ed270bu * next_seed++, scale}));
    return *this;
  }
  Buffer& write(const std::vector<T>& values) {
    check(cudaMemcpy(data_, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice));
    check(cudaDeviceSynchronize());
    return *this;
  }
  T* get() const { return data_; }
  int64_t count() const { return count_; }

 private:
  int64_t count_;
  T* data_;
};

struct Compare {
  const bf16 *found, *expected;
  int64_t count;
  uint32_t* largest;  // of |found - expected|, of |expected|: bits of floats that are not negative
};

__global__ void compare_kernel(Compare op) {
  const int64_t step = int64_t(gridDim.x) * blockDim.x;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < op.count; i += step) {
    const float expected = widen(op.expected[i]);
    // NaN, too, is larger than every number.
    atomicMax(&op.largest[0], __float_as_uint(fabsf(widen(op.found[i]) - expected)));
    atomicMax(&op.largest[1], __float_as_uint(fabsf(expected)));
  }
}

// ---- plain attention ----

struct PlainAttention {
  AttentionInputs<bf16> in;
  bf16* y;
  int64_t y_pitch;
};

// A block for a head of a token, a thread for a feature: scores to shared memory, softmax, sum.
__global__ void plain_attention_kernel(PlainAttention op) {
  const AttentionInputs<bf16>& in = op.in;
  const int64_t t = blockIdx.x, head = blockIdx.y, kv_head = head / (in.heads / in.kv_heads);
  const int warp = int(threadIdx.x) / kWarp, lane = int(threadIdx.x) % kWarp;
  const int warps = int(blockDim.x) / kWarp;
  const int64_t begin = in.begins[t], keys = in.positions[t] + 1;
  const bf16* const q = in.q + t * in.q_pitch + head * in.head_dim;
  const bf16* const k = in.k + begin * in.kv_pitch + kv_head * in.head_dim;
  const bf16* const v = in.v + begin * in.kv_pitch + kv_head * in.head_dim;
  float* const score = shared_memory<float>();
  for (int64_t j = warp; j < keys; j += warps) {
    float sum = 0;
    for (int64_t d = lane; d < in.head_dim; d += kWarp)
      sum += widen(q[d]) * widen(k[j * in.kv_pitch + d]);
    sum = warp_sum(sum);
    if (lane == 0) score[j] = sum * rsqrtf(float(in.head_dim));
  }
  block_sync();
  float largest = -INFINITY;
  for (int64_t j = lane; j < keys; j += kWarp) largest = fmaxf(largest, score[j]);
  largest = warp_max(largest);
  block_sync();
  for (int64_t j = threadIdx.x; j < keys; j += blockDim.x) score[j] = expf(score[j] - largest);
  block_sync();
  float total = 0;
  for (int64_t j = lane; j < keys; j += kWarp) total += score[j];
  total = warp_sum(total);
  for (int64_t d = threadIdx.x; d < in.head_dim; d += blockDim.x) {
    float sum = 0;
    for (int64_t j = 0; j < keys; ++j) sum += score[j] * widen(v[j * in.kv_pitch + d]);
    op.y[t * op.y_pitch + head * in.head_dim + d] = round_one(sum / total);
  }
}

// ---- times ----

using Call = std::function<const char*()>;

// One kernel at one shape; times in microseconds, 0 where there is none.
struct Result {
  std::string kernel, shape;
  int64_t tokens = 0, rank = 0;
  double time = 0, flop = 0, bytes = 0;
  std::string against;
  double against_time = 0, apart_time = 0;
};

class Bench {
 public:
  explicit Bench(std::string only) : only_(std::move(only)), flush_(kFlushBytes) {
    check(open_stream(0, &stream_, &machine_));
    check(cudaEventCreate(&begin_));
    check(cudaEventCreate(&end_));
    Buffer<char> from(kFlushBytes / 2), to(kFlushBytes / 2);
    const double time =
        median([&] { return copy(stream_, to.get(), from.get(), kFlushBytes / 2); });
    copied_ = double(kFlushBytes) / time;
  }

  Stream stream() const { return stream_; }
  const Machine& machine() const { return machine_; }
  CublasLt& cublas() { return cublas_; }
  double copied_per_microsecond() const { return copied_; }
  const std::vector<Result>& results() const { return results_; }
  int wrong() const { return wrong_; }

  bool wants(const std::string& kernel) const { return kernel.find(only_) != std::string::npos; }

  double median(const Call& call, int rounds = kRounds) {
    std::vector<double> times;
    for (int i = -kWarmUps; i < rounds; ++i) {
      check(cudaMemsetAsync(flush_.get(), i & 0xff, size_t(kFlushBytes), stream_));
      check(cudaEventRecord(begin_, stream_));
      check(call());
      check(cudaEventRecord(end_, stream_));
      check(cudaEventSynchronize(end_));
      float milliseconds = 0;
      check(cudaEventElapsedTime(&milliseconds, begin_, end_));
      if (i >= 0) times.push_back(1000.0 * double(milliseconds));
    }
    std::sort(times.begin(), times.end());
    return times[times.size() / 2];
  }

  void time(Result result, const Call& call) {
    result.time = median(call);
    if (result.against.empty() && result.bytes > 0)
      result.against = "copy", result.against_time = result.bytes / copied_;
    results_.push_back(result);
    print(result);
  }

  void heading(const char* text) {
    std::printf("\n%s\n%-22s %-18s %6s %4s %10s %8s %7s  %-9s %10s %6s %6s\n", text, "kernel",
                "shape", "tokens", "r", "us", "TFLOP/s", "GB/s", "against", "us", "ratio", "apart");
  }

  // Whether the largest difference is at most `bound` of the largest value.
  void compare(const std::string& what, const bf16* found, const bf16* expected, int64_t count,
               double bound) {
    Buffer<uint32_t> largest(2);
    check(launch(compare_kernel, {1024}, 256, 0, stream_,
                 Compare{found, expected, count, largest.get()}));
    float values[2];
    check(download(stream_, values, largest.get(), sizeof values));
    if (double(values[0]) <= bound * double(values[1]) && values[1] > 0) return;
    std::printf("WRONG: %s is off by %g where the largest value is %g\n", what.c_str(),
                double(values[0]), double(values[1]));
    ++wrong_;
  }

 private:
  static std::string number(double value, int digits) {
    char text[32];
    std::snprintf(text, sizeof text, "%.*f", digits, value);
    return value > 0 ? text : "-";
  }

  void print(const Result& r) {
    std::printf(
        "%-22s %-18s %6lld %4s %10.1f %8s %7s  %-9s %10s %6s %6s\n", r.kernel.c_str(),
        r.shape.c_str(), static_cast<long long>(r.tokens),
        r.rank > 0 ? std::to_string(r.rank).c_str() : "-", r.time,
        number(r.flop / r.time * 1e-6, 1).c_str(), number(r.bytes / r.time * 1e-3, 0).c_str(),
        r.against.empty() ? "-" : r.against.c_str(), number(r.against_time, 1).c_str(),
        number(r.against_time / r.time, 2).c_str(), number(r.apart_time / r.time, 2).c_str());
    std::fflush(stdout);
  }

  std::string only_;
  Buffer<char> flush_;
  Stream stream_ = nullptr;
  Machine machine_;
  CublasLt cublas_;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
  double copied_ = 0;  // bytes read and written per microsecond
  std::vector<Result> results_;
  int wrong_ = 0;
};

// ---- products ----

// cuBLASLt's products one after the other; not there if one cannot be done.
class Products {
 public:
  Products(Bench& bench, const std::vector<PlainGemm>& gemms) : bench_(bench) {
    for (const PlainGemm& gemm : gemms) plans_.push_back(bench.cublas().plan(gemm));
  }
  bool exist() const { return std::find(plans_.begin(), plans_.end(), nullptr) == plans_.end(); }
  const char* run() const {
    for (const CublasLt::Plan* plan : plans_) {
      const char* const error = bench_.cublas().run(*plan, bench_.stream());
      if (*error) return error;
    }
    return "";
  }
  // Sets a result's other time.
  void time(std::string* against, double* time) const {
    if (!exist()) return;
    if (against) *against = "cuBLASLt";
    *time = bench_.median([this] { return run(); });
  }

 private:
  Bench& bench_;
  std::vector<CublasLt::Plan*> plans_;
};

struct Group {
  const char* name;
  std::vector<int64_t> outs;
  int64_t in;
};

const std::vector<Group>& groups() {
  static const std::vector<Group> all = {
      {"q_proj", {kHidden}, kHidden},
      {"q, k, v", {kHidden, kKvHeads * kHeadDim, kKvHeads * kHeadDim}, kHidden},
      {"gate, up", {kIntermediate, kIntermediate}, kHidden},
      {"down_proj", {kHidden}, kIntermediate}};
  return all;
}

template <class T>
constexpr cudaDataType_t kType = sizeof(T) == 2 ? CUDA_R_16BF : CUDA_R_32F;

// A group of projections with adapters of one rank. T is of weights and activations.
template <class T>
class Linear {
 public:
  Linear(Bench& bench, const Group& group, int64_t tokens, int64_t rank)
      : bench_(bench),
        group_(group),
        tokens_(tokens),
        rank_(rank),
        in_(group.in),
        out_(sum(group.outs)),
        tail_(int64_t(group.outs.size()) * rank),
        x_pitch_(in_ + tail_),
        y_pitch_(out_ + tail_),
        weight_(out_ * in_),
        x_(tokens * x_pitch_),
        y_(tokens * out_),
        dy_(tokens * y_pitch_),
        dx_(tokens * in_),
        other_(tokens * std::max(in_, out_)),
        lora_A_(tail_ * in_),
        lora_B_(out_ * rank),
        lora_A_gradient_(tail_ * in_),
        lora_B_gradient_(out_ * rank) {
    const Stream s = bench.stream();
    weight_.fill(s, 0.02f), x_.fill(s), dy_.fill(s), lora_A_.fill(s, 0.02f), lora_B_.fill(s, 0.02f);
  }

  void run() {
    if (bench_.wants("shrink forward")) shrink_forward();
    if (bench_.wants("shrink backward")) shrink_backward();
    if (bench_.wants("linear forward")) forward();
    if (bench_.wants("linear backward")) backward();
    if (bench_.wants("adapter sums")) sums();
  }

  void forward() {
    GemmForward<T> op;
    op.tokens = tokens_, op.in = in_, op.projections = count();
    op.x = x_.get(), op.x_pitch = x_pitch_, op.y = y_.get(), op.y_pitch = out_;
    std::vector<PlainGemm> apart = {gemm(Form::kNT, tokens_, out_, in_, x_.get(), x_pitch_,
                                         weight_.get(), in_, other_.get(), out_)};
    const Products plain(bench_, apart);
    int64_t column = 0;
    for (int i = 0; i < count(); ++i) {
      auto& p = op.projection[i];
      p.out = out(i), p.column = column, p.weight = weight(column), p.weight_pitch = in_;
      p.rank = rank_, p.h = h(i), p.lora_B = lora_B(column), p.lora_B_pitch = rank_;
      apart.push_back(gemm(Form::kNT, tokens_, out(i), rank_, h(i), x_pitch_, lora_B(column), rank_,
                           other_.get() + column, out_, true));
      column += out(i);
    }
    const Buffer<float> workspace(op.workspace_floats = gemm_workspace(bench_.machine(), op));
    op.workspace = workspace.get();
    Result r = result("linear forward", 2.0 * double(tokens_ * out_) * double(in_ + rank_));
    finish(r, plain, Products(bench_, apart),
           [&] { return gemm_forward(bench_.stream(), bench_.machine(), op); });
    compare(r, Products(bench_, apart), y_.get(), tokens_ * out_);
  }

  void backward() {
    GemmBackward<T> op;
    op.tokens = tokens_, op.in = in_, op.projections = count();
    op.dy = dy_.get(), op.dy_pitch = y_pitch_, op.dx = dx_.get(), op.dx_pitch = in_;
    std::vector<PlainGemm> apart = {gemm(Form::kNN, tokens_, in_, out_, dy_.get(), y_pitch_,
                                         weight_.get(), in_, other_.get(), in_)};
    const Products plain(bench_, apart);
    int64_t column = 0;
    for (int i = 0; i < count(); ++i) {
      auto& p = op.projection[i];
      p.out = out(i), p.column = column, p.weight = weight(column), p.weight_pitch = in_;
      p.rank = rank_, p.g = g(i), p.lora_A = lora_A(i), p.lora_A_pitch = in_;
      apart.push_back(gemm(Form::kNN, tokens_, in_, rank_, g(i), y_pitch_, lora_A(i), in_,
                           other_.get(), in_, true));
      column += out(i);
    }
    const Buffer<float> workspace(op.workspace_floats = gemm_workspace(bench_.machine(), op));
    op.workspace = workspace.get();
    const double flop = 2.0 * double(tokens_ * in_) * double(out_ + tail_);
    Result r = result("linear backward", flop);
    finish(r, plain, Products(bench_, apart),
           [&] { return gemm_backward(bench_.stream(), bench_.machine(), op); });
    compare(r, Products(bench_, apart), dx_.get(), tokens_ * in_);
  }

  void shrink_forward() {
    ShrinkForward<T> op;
    op.tokens = tokens_, op.in = in_, op.projections = count();
    op.x = x_.get(), op.x_pitch = x_pitch_;
    for (int i = 0; i < count(); ++i) {
      auto& p = op.projection[i];
      p.rank = rank_, p.scaling = kScaling, p.lora_A = lora_A(i), p.lora_A_pitch = in_, p.h = h(i);
    }
    const Buffer<float> workspace(op.workspace_floats = shrink_workspace(bench_.machine(), op));
    op.workspace = workspace.get();
    PlainGemm plain = gemm(Form::kNT, tokens_, tail_, in_, x_.get(), x_pitch_, lora_A_.get(), in_,
                           other_.get(), tail_);
    plain.factor = kScaling;
    Result r = result("shrink forward", 2.0 * double(tokens_ * in_) * double(tail_));
    r.bytes = double(tokens_ * (in_ + tail_) + tail_ * in_) * sizeof(T);
    finish(r, Products(bench_, {plain}), Products(bench_, {}),
           [&] { return cuda::shrink_forward(bench_.stream(), bench_.machine(), op); });
  }

  void shrink_backward() {
    ShrinkBackward<T> op;
    op.tokens = tokens_, op.projections = count();
    op.dy = dy_.get(), op.dy_pitch = y_pitch_;
    std::vector<PlainGemm> plain;
    int64_t column = 0;
    for (int i = 0; i < count(); ++i) {
      auto& p = op.projection[i];
      p.out = out(i), p.column = column, p.rank = rank_, p.scaling = kScaling;
      p.lora_B = lora_B(column), p.lora_B_pitch = rank_, p.g = g(i);
      plain.push_back(gemm(Form::kNN, tokens_, rank_, out(i), dy_.get() + column, y_pitch_,
                           lora_B(column), rank_, other_.get() + i * rank_, tail_));
      plain.back().factor = kScaling;
      column += out(i);
    }
    const Buffer<float> workspace(op.workspace_floats = shrink_workspace(bench_.machine(), op));
    op.workspace = workspace.get();
    Result r = result("shrink backward", 2.0 * double(tokens_ * out_) * double(rank_));
    r.bytes = double(tokens_ * (out_ + tail_) + out_ * rank_) * sizeof(T);
    finish(r, Products(bench_, plain), Products(bench_, {}),
           [&] { return cuda::shrink_backward(bench_.stream(), bench_.machine(), op); });
  }

  void sums() {
    AdapterSums<T> op;
    op.tokens = tokens_, op.in = in_, op.projections = count();
    op.x = x_.get(), op.x_pitch = x_pitch_, op.dy = dy_.get(), op.dy_pitch = y_pitch_;
    std::vector<PlainGemm> plain;
    int64_t column = 0;
    for (int i = 0; i < count(); ++i) {
      auto& p = op.projection[i];
      p.out = out(i), p.column = column, p.rank = rank_, p.h = h(i), p.g = g(i);
      p.lora_A_gradient = lora_A_gradient_.get() + i * rank_ * in_, p.lora_A_pitch = in_;
      p.lora_B_gradient = lora_B_gradient_.get() + column * rank_, p.lora_B_pitch = rank_;
      plain.push_back(gemm(Form::kTN, rank_, in_, tokens_, g(i), y_pitch_, x_.get(), x_pitch_,
                           p.lora_A_gradient, in_, true));
      plain.push_back(gemm(Form::kTN, out(i), rank_, tokens_, dy_.get() + column, y_pitch_, h(i),
                           x_pitch_, p.lora_B_gradient, rank_, true));
      column += out(i);
    }
    for (PlainGemm& each : plain) each.out = CUDA_R_32F;
    const Buffer<float> workspace(op.workspace_floats = sums_workspace(bench_.machine(), op));
    op.workspace = workspace.get();
    Result r = result("adapter sums", 2.0 * double(tokens_ * rank_) *
                                          double(out_ + in_ * int64_t(group_.outs.size())));
    r.bytes = double(tokens_ * (x_pitch_ + y_pitch_)) * sizeof(T) +
              8.0 * double(tail_ * in_ + out_ * rank_);
    finish(r, Products(bench_, plain), Products(bench_, {}),
           [&] { return adapter_sums(bench_.stream(), bench_.machine(), op); });
  }

  // Of weights that are trained themselves.
  void weight_gradient() {
    Buffer<float> gradient(out_ * in_);
    WeightSums<T> op;
    op.tokens = tokens_, op.in = in_, op.projections = 1;
    op.projection[0].out = out_, op.projection[0].gradient = gradient.get();
    op.projection[0].pitch = in_;
    op.x = x_.get(), op.x_pitch = x_pitch_, op.dy = dy_.get(), op.dy_pitch = y_pitch_;
    const Buffer<float> workspace(op.workspace_floats = sums_workspace(bench_.machine(), op));
    op.workspace = workspace.get();
    PlainGemm plain = gemm(Form::kTN, out_, in_, tokens_, dy_.get(), y_pitch_, x_.get(), x_pitch_,
                           gradient.get(), in_, true);
    plain.out = CUDA_R_32F;
    Result r = result("weight sums", 2.0 * double(tokens_ * out_) * double(in_));
    r.rank = 0;
    finish(r, Products(bench_, {plain}), Products(bench_, {}),
           [&] { return weight_sums(bench_.stream(), bench_.machine(), op); });
  }

 private:
  static int64_t sum(const std::vector<int64_t>& values) {
    int64_t all = 0;
    for (const int64_t value : values) all += value;
    return all;
  }
  int count() const { return int(group_.outs.size()); }
  int64_t out(int i) const { return group_.outs[size_t(i)]; }
  T* weight(int64_t row) const { return weight_.get() + row * in_; }
  T* lora_A(int i) const { return lora_A_.get() + i * rank_ * in_; }
  T* lora_B(int64_t row) const { return lora_B_.get() + row * rank_; }
  T* h(int i) const { return x_.get() + in_ + i * rank_; }
  T* g(int i) const { return dy_.get() + out_ + i * rank_; }

  PlainGemm gemm(Form form, int64_t m, int64_t n, int64_t k, const void* a, int64_t a_pitch,
                 const void* b, int64_t b_pitch, void* c, int64_t c_pitch, bool add = false) const {
    return {form, m, n, k, a, a_pitch, b, b_pitch, c, c_pitch, kType<T>, kType<T>, add};
  }
  Result result(const char* kernel, double flop) const {
    Result r;
    r.kernel = kernel, r.shape = group_.name, r.tokens = tokens_, r.rank = rank_, r.flop = flop;
    if (sizeof(T) == 4) r.kernel += " fp32";
    return r;
  }
  void finish(Result& r, const Products& plain, const Products& apart, const Call& call) {
    plain.time(&r.against, &r.against_time);
    double apart_time = 0;
    apart.time(nullptr, &apart_time);
    if (r.kernel.find("linear") == 0) r.apart_time = apart_time;
    bench_.time(r, call);
  }
  // Rounded to bf16 twice, and the slabs' sum in another order.
  void compare(const Result& r, const Products& expected, const T* found, int64_t elements) {
    if constexpr (sizeof(T) == 2) {
      if (!expected.exist()) return;
      check(expected.run());
      bench_.compare(r.kernel + " of " + r.shape, found, other_.get(), elements, 0x1p-6);
    }
  }

  Bench& bench_;
  const Group group_;
  const int64_t tokens_, rank_, in_, out_, tail_, x_pitch_, y_pitch_;
  Buffer<T> weight_, x_, y_, dy_, dx_, other_, lora_A_, lora_B_;
  Buffer<float> lora_A_gradient_, lora_B_gradient_;
};

void time_products(Bench& bench) {
  bench.heading("Products of a group with its low-rank slabs, and around them");
  for (const int64_t tokens : kTokens)
    for (const int64_t rank : kRanks)
      for (const Group& group : groups()) Linear<bf16>(bench, group, tokens, rank).run();
  if (bench.wants("linear forward fp32")) Linear<float>(bench, groups()[0], 1024, 16).forward();
  if (bench.wants("weight sums")) Linear<bf16>(bench, groups()[0], 4096, 16).weight_gradient();
}

// The head's logits in floats, 1024 rows at a time, and what becomes of them.
void time_loss(Bench& bench) {
  if (!bench.wants("logits") && !bench.wants("cross entropy")) return;
  bench.heading("Head and loss");
  constexpr int64_t kRows = 1024;
  const Stream s = bench.stream();
  Buffer<bf16> x(kRows * kHidden), head(kVocabulary * kHidden);
  Buffer<float> logits(kRows * kVocabulary);
  x.fill(s), head.fill(s, 0.02f), logits.fill(s, 4.0f);
  if (bench.wants("logits")) {
    GemmForward<bf16, float> op;
    op.tokens = kRows, op.in = kHidden, op.projections = 1;
    op.projection[0].out = kVocabulary, op.projection[0].weight = head.get();
    op.projection[0].weight_pitch = kHidden;
    op.x = x.get(), op.x_pitch = kHidden, op.y = logits.get(), op.y_pitch = kVocabulary;
    const Buffer<float> workspace(op.workspace_floats = gemm_workspace(bench.machine(), op));
    op.workspace = workspace.get();
    Result r;
    r.kernel = "logits", r.shape = "128256x4096", r.tokens = kRows;
    r.flop = 2.0 * double(kRows * kHidden) * double(kVocabulary);
    Products(bench, {{Form::kNT, kRows, kVocabulary, kHidden, x.get(), kHidden, head.get(), kHidden,
                      logits.get(), kVocabulary, CUDA_R_16BF, CUDA_R_32F}})
        .time(&r.against, &r.against_time);
    bench.time(r, [&] { return gemm_forward(s, bench.machine(), op); });
  }
  if (!bench.wants("cross entropy")) return;
  Buffer<int32_t> labels(kRows);
  labels.write(std::vector<int32_t>(kRows, 7));
  Buffer<double> row_losses(kRows), loss(1);
  const CrossEntropy<float> op = {kRows,  kVocabulary, logits.get(),     kVocabulary, labels.get(),
                                  1024.0, true,        row_losses.get(), nullptr,     loss.get()};
  Result r;
  r.kernel = "cross entropy", r.shape = "128256", r.tokens = kRows;
  r.bytes = 8.0 * double(kRows) * double(kVocabulary);
  bench.time(r, [&] { return cross_entropy(s, op); });
}

// ---- attention ----

void time_attention(Bench& bench, int64_t tokens, int64_t document, const char* shape) {
  constexpr int64_t kQ = kHeads * kHeadDim, kKv = kKvHeads * kHeadDim, kPitch = kQ + 2 * kKv;
  const Stream s = bench.stream();
  std::vector<int32_t> begins, positions;
  double pairs = 0;
  for (int64_t t = 0; t < tokens; ++t) {
    positions.push_back(int32_t(t % document)), begins.push_back(int32_t(t - t % document));
    pairs += double(positions.back() + 1);
  }
  Buffer<int32_t> begin(tokens), position(tokens);
  begin.write(begins), position.write(positions);
  Buffer<bf16> qkv(tokens * kPitch), y(tokens * kQ), plain_y(tokens * kQ), dy(tokens * kQ),
      d(tokens * kPitch);
  Buffer<float> lse(kHeads * tokens), workspace(attention_workspace(tokens, kHeads));
  qkv.fill(s), dy.fill(s);
  const AttentionInputs<bf16> in = {tokens,    kHeads,      kKvHeads,       kHeadDim,
                                    qkv.get(), kPitch,      qkv.get() + kQ, qkv.get() + kQ + kKv,
                                    kPitch,    begin.get(), position.get()};
  Result r;
  r.kernel = "attention forward", r.shape = shape, r.tokens = tokens;
  r.flop = 4.0 * pairs * double(kQ);
  const PlainAttention plain = {in, plain_y.get(), kQ};
  const auto run_plain = [&] {
    return launch(plain_attention_kernel, {uint32_t(tokens), uint32_t(kHeads)}, uint32_t(kHeadDim),
                  uint32_t(document * 4), s, plain);
  };
  r.against = "plain", r.against_time = bench.median(run_plain, 3);
  const AttentionForward<bf16> forward = {in, y.get(), kQ, lse.get(), tokens};
  bench.time(r, [&] { return attention_forward(s, forward); });
  // bf16 probabilities and a bf16 result.
  bench.compare(r.kernel, y.get(), plain_y.get(), tokens * kQ, 0x1p-6);
  const AttentionBackward<bf16> backward = {in,
                                            y.get(),
                                            kQ,
                                            lse.get(),
                                            tokens,
                                            dy.get(),
                                            kQ,
                                            d.get(),
                                            d.get() + kQ,
                                            d.get() + kQ + kKv,
                                            kPitch,
                                            kPitch,
                                            workspace.get()};
  r.kernel = "attention backward", r.flop = 10.0 * pairs * double(kQ);
  r.against.clear(), r.against_time = 0;
  bench.time(r, [&] { return attention_backward(s, backward); });
}

// One token after a document of 4096.
void time_cached_attention(Bench& bench) {
  constexpr int64_t kQ = kHeads * kHeadDim, kKv = kKvHeads * kHeadDim, kPitch = kQ + 2 * kKv;
  constexpr int64_t kRows = 4096;
  const Stream s = bench.stream();
  Buffer<int32_t> begin(1), position(1);
  position.write({int32_t(kRows - 1)});
  Buffer<bf16> qkv(kPitch), cache(kRows * 2 * kKv), y(kQ);
  qkv.fill(s), cache.fill(s);
  const int32_t splits = attention_splits(1, kKvHeads, kRows);
  Buffer<float> workspace(attention_cached_workspace(1, kHeads, kHeadDim, splits));
  AttentionCached<bf16> op = {};
  op.in = {1,         kHeads,      kKvHeads,      kHeadDim,
           qkv.get(), kPitch,      cache.get(),   cache.get() + kKv,
           2 * kKv,   begin.get(), position.get()};
  op.new_k = qkv.get() + kQ, op.new_v = qkv.get() + kQ + kKv, op.new_pitch = kPitch;
  op.cache_k = cache.get(), op.cache_v = cache.get() + kKv;
  op.y = y.get(), op.y_pitch = kQ;
  op.tiles = false, op.splits = splits, op.workspace = workspace.get();
  Result r;
  r.kernel = "attention cached", r.shape = "4096 keys", r.tokens = 1;
  r.bytes = double(kRows * 2 * kKv) * sizeof(bf16);
  bench.time(r, [&] { return attention_cached(s, op); });
}

void time_attention(Bench& bench) {
  bench.heading("Attention, 32 heads of 128 on 8 of keys and values");
  if (bench.wants("attention forward") || bench.wants("attention backward")) {
    time_attention(bench, 1024, 1024, "1 document");
    time_attention(bench, 4096, 4096, "1 document");
    time_attention(bench, 4096, 512, "8 documents");
  }
  if (bench.wants("attention cached")) time_cached_attention(bench);
}

// ---- what moves memory ----

void time_rows(Bench& bench, int64_t tokens) {
  const Stream s = bench.stream();
  const auto time = [&](const char* kernel, int64_t width, double elements, const Call& call) {
    if (!bench.wants(kernel)) return;
    Result r;
    r.kernel = kernel, r.shape = std::to_string(width), r.tokens = tokens;
    r.bytes = elements * double(tokens * width) * sizeof(bf16);
    bench.time(r, call);
  };
  {
    Buffer<bf16> x(tokens * kHidden), y(tokens * kHidden), dy(tokens * kHidden);
    Buffer<float> weight(kHidden), gradient(kHidden), workspace(rmsnorm_workspace(tokens, kHidden)),
        sums_workspace(column_sums_workspace(tokens, kHidden));
    x.fill(s), dy.fill(s), weight.fill(s);
    const RmsNormForward<bf16> forward = {tokens,       kHidden, x.get(), kHidden,
                                          weight.get(), 1e-5f,   y.get(), kHidden};
    time("rmsnorm forward", kHidden, 2, [&] { return rmsnorm_forward(s, forward); });
    RmsNormBackward<bf16> backward = {tokens,   kHidden, x.get(), kHidden, weight.get(), 1e-5f,
                                      dy.get(), kHidden, y.get(), kHidden, nullptr,      nullptr};
    time("rmsnorm backward", kHidden, 4, [&] { return rmsnorm_backward(s, backward); });
    backward.weight_gradient = gradient.get(), backward.workspace = workspace.get();
    time("rmsnorm backward, dw", kHidden, 4, [&] { return rmsnorm_backward(s, backward); });
    const ColumnSums<bf16> sums = {tokens,  kHidden,        dy.get(),
                                   kHidden, nullptr,        0,
                                   nullptr, gradient.get(), sums_workspace.get()};
    time("column sums", kHidden, 1, [&] { return column_sums(s, sums); });
    const ConvertRows<bf16, bf16> add = {tokens, kHidden, x.get(), kHidden, y.get(), kHidden, true};
    time("add", kHidden, 3, [&] { return convert_rows(s, add); });
  }
  {
    constexpr int64_t kWidth = (kHeads + kKvHeads) * kHeadDim;
    std::vector<int32_t> positions;
    for (int64_t t = 0; t < tokens; ++t) positions.push_back(int32_t(t));
    Buffer<int32_t> position(tokens);
    position.write(positions);
    Buffer<float> angles(2 * tokens * kHeadDim / 2);
    Buffer<bf16> x(tokens * kWidth);
    angles.fill(s, 0.7f), x.fill(s);
    const Rope<bf16> op = {tokens,         kHeads + kKvHeads, kHeadDim,
                           position.get(), angles.get(),      angles.get() + tokens * kHeadDim / 2,
                           false,          x.get(),           kWidth};
    time("rope", kWidth, 2, [&] { return rope(s, op); });
  }
  {
    Buffer<bf16> gate_up(2 * tokens * kIntermediate), d(2 * tokens * kIntermediate),
        y(tokens * kIntermediate), dy(tokens * kIntermediate);
    gate_up.fill(s), dy.fill(s);
    const SwigluForward<bf16> forward = {
        tokens,  kIntermediate, gate_up.get(), gate_up.get() + kIntermediate, 2 * kIntermediate,
        y.get(), kIntermediate};
    time("swiglu forward", kIntermediate, 3, [&] { return swiglu_forward(s, forward); });
    const SwigluBackward<bf16> backward = {
        tokens,   kIntermediate, gate_up.get(), gate_up.get() + kIntermediate, 2 * kIntermediate,
        dy.get(), kIntermediate, d.get(),       d.get() + kIntermediate,       2 * kIntermediate};
    time("swiglu backward", kIntermediate, 5, [&] { return swiglu_backward(s, backward); });
  }
  {
    std::vector<int32_t> ids;
    for (int64_t t = 0; t < tokens; ++t) ids.push_back(int32_t(t * 7919 % kVocabulary));
    Buffer<int32_t> id(tokens);
    id.write(ids);
    Buffer<bf16> table(kVocabulary * kHidden), y(tokens * kHidden);
    table.fill(s);
    const EmbeddingForward<bf16, bf16> op = {tokens,  kHidden, id.get(), table.get(),
                                             kHidden, y.get(), kHidden};
    time("embedding forward", kHidden, 2, [&] { return embedding_forward(s, op); });
  }
}

// All parameters of adapters of rank 16 on all projections of LLaMA3-8B.
void time_optimizer(Bench& bench) {
  constexpr int64_t kCount = 41943040;
  const Stream s = bench.stream();
  Buffer<float> values(kCount), gradients(kCount), first(kCount), second(kCount);
  values.fill(s), gradients.fill(s);
  Result r;
  r.shape = std::to_string(kCount);
  if (bench.wants("adamw")) {
    const Adamw op = {
        1e-4,   0.9,          0.999,           1e-8,        0.01,         1.0,    nullptr, 1,
        kCount, values.get(), gradients.get(), first.get(), second.get(), nullptr};
    r.kernel = "adamw", r.bytes = 32.0 * kCount;
    bench.time(r, [&] { return adamw(s, op); });
  }
  if (bench.wants("sum of squares")) {
    Buffer<double> workspace(sum_of_squares_workspace(kCount)), sum(1);
    const SumOfSquares op = {kCount, values.get(), workspace.get(), sum.get()};
    r.kernel = "sum of squares", r.bytes = 4.0 * kCount;
    bench.time(r, [&] { return sum_of_squares(s, op); });
  }
}

// DoRA's norms of up_proj.
void time_dora(Bench& bench) {
  if (!bench.wants("dora norms")) return;
  constexpr int64_t kRank = 16;
  const Stream s = bench.stream();
  Buffer<bf16> weight(kIntermediate * kHidden);
  Buffer<float> a(kRank * kHidden), b(kIntermediate * kRank), magnitude(kIntermediate),
      norms(kIntermediate), scale(kIntermediate), workspace(dora_workspace(kIntermediate, kRank));
  Buffer<double> squares(kIntermediate);
  weight.fill(s, 0.02f), a.fill(s, 0.02f), b.fill(s, 0.02f), magnitude.fill(s);
  check(row_squares(
      s, RowSquares<bf16>{kIntermediate, kHidden, weight.get(), kHidden, squares.get()}));
  const DoraNorms<bf16> op = {kIntermediate, kHidden,     kRank,           weight.get(),
                              kHidden,       a.get(),     kHidden,         b.get(),
                              kRank,         kScaling,    magnitude.get(), squares.get(),
                              norms.get(),   scale.get(), workspace.get()};
  Result r;
  r.kernel = "dora norms", r.shape = "14336x4096", r.rank = kRank;
  r.bytes = double(kIntermediate * kHidden) * sizeof(bf16);
  bench.time(r, [&] { return dora_norms(s, op); });
}

// ---- output ----

std::string gpu_name() {
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, 0));
  return properties.name;
}

void write_json(const std::string& file, const Bench& bench, const CublasLt& cublas) {
  FILE* const out = std::fopen(file.c_str(), "w");
  if (out == nullptr) stop(file + " cannot be written");
  int driver = 0, runtime = 0, major = 0, minor = 0;
  check(cudaDriverGetVersion(&driver));
  check(cudaRuntimeGetVersion(&runtime));
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0));
  check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0));
  std::fprintf(out,
               "{\"gpu\": \"%s\", \"compute_capability\": \"%d.%d\", \"multiprocessors\": %d,\n"
               " \"driver\": %d, \"runtime\": %d, \"cublaslt\": %s, \"copy_gb_per_second\": %.1f,\n"
               " \"wrong_results\": %d, \"results\": [",
               gpu_name().c_str(), major, minor, bench.machine().multiprocessors, driver, runtime,
               cublas.missing().empty() ? "true" : "false", bench.copied_per_microsecond() * 1e-3,
               bench.wrong());
  const char* separator = "\n";
  for (const Result& r : bench.results()) {
    std::fprintf(out,
                 "%s  {\"kernel\": \"%s\", \"shape\": \"%s\", \"tokens\": %lld, \"rank\": %lld, "
                 "\"microseconds\": %.2f, \"tflop_per_second\": %.3f, \"gb_per_second\": %.2f",
                 separator, r.kernel.c_str(), r.shape.c_str(), static_cast<long long>(r.tokens),
                 static_cast<long long>(r.rank), r.time, r.flop / r.time * 1e-6,
                 r.bytes / r.time * 1e-3);
    if (r.against_time > 0)
      std::fprintf(out, ", \"against\": \"%s\", \"against_microseconds\": %.2f, \"ratio\": %.3f",
                   r.against.c_str(), r.against_time, r.against_time / r.time);
    if (r.apart_time > 0)
      std::fprintf(out, ", \"apart_microseconds\": %.2f, \"apart_ratio\": %.3f", r.apart_time,
                   r.apart_time / r.time);
    std::fprintf(out, "}");
    separator = ",\n";
  }
  std::fprintf(out, "\n]}\n");
  if (std::fclose(out) != 0) stop(file + " cannot be written");
}

// Geometric means of the ratios, by kernel.
void print_summary(const Bench& bench) {
  std::printf("\nRatios (time of the other / ours, above 1 is faster), geometric means\n");
  std::vector<std::string> kernels;
  for (const Result& r : bench.results())
    if (std::find(kernels.begin(), kernels.end(), r.kernel) == kernels.end())
      kernels.push_back(r.kernel);
  for (const std::string& kernel : kernels) {
    double sum = 0, apart_sum = 0, least = INFINITY;
    int count = 0, apart_count = 0;
    std::string against;
    for (const Result& r : bench.results()) {
      if (r.kernel != kernel || r.against_time <= 0) continue;
      const double ratio = r.against_time / r.time;
      sum += std::log(ratio), ++count, least = std::min(least, ratio), against = r.against;
      if (r.apart_time > 0) apart_sum += std::log(r.apart_time / r.time), ++apart_count;
    }
    if (count == 0) continue;
    std::printf("%-22s %-9s %5.2f (least %.2f, of %d)", kernel.c_str(), against.c_str(),
                std::exp(sum / count), least, count);
    if (apart_count > 0) std::printf("   apart %5.2f", std::exp(apart_sum / apart_count));
    std::printf("\n");
  }
}

int run(const std::string& json, const std::string& only) {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess) stop(std::string("no GPU: ") + cudaGetErrorString(status));
  check(cudaSetDevice(0));
  Bench bench(only);
  std::printf("%s, %d multiprocessors; a copy moves %.0f GB/s\n", gpu_name().c_str(),
              bench.machine().multiprocessors, bench.copied_per_microsecond() * 1e-3);
  if (!bench.cublas().missing().empty())
    std::printf("without cuBLASLt: %s\n", bench.cublas().missing().c_str());
  time_products(bench);
  time_loss(bench);
  time_attention(bench);
  bench.heading("What moves memory");
  for (const int64_t tokens : kTokens) time_rows(bench, tokens);
  time_optimizer(bench);
  time_dora(bench);
  print_summary(bench);
  if (!json.empty()) write_json(json, bench, bench.cublas());
  if (bench.wrong() > 0) std::printf("%d results are WRONG\n", bench.wrong());
  return bench.wrong() > 0 ? 1 : 0;
}

}  // namespace
}  // namespace rora::cuda

int main(int argc, char** argv) {
  std::string json, only;
  for (int i = 1; i < argc; i += 2) {
    const std::string option = argv[i];
    if ((option != "--json" && option != "--only") || i + 1 == argc) {
      std::fprintf(stderr, "rora_gpu_bench [--json FILE] [--only PART_OF_A_KERNELS_NAME]\n");
      return 2;
    }
    (option == "--json" ? json : only) = argv[i + 1];
  }
  return rora::cuda::run(json, only);
}
