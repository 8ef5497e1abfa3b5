// Kernels over rows: m tokens of n features, m rows of n logits, m tokens of n heads.
#include "cuda/loss.h"
#include "cuda/rmsnorm.h"
#include "cuda/rope.h"
#include "cuda/swiglu.h"
#include "operands.h"

namespace rora::testing {
namespace {

using namespace cuda;

double inverse_rms(const auto& x, int64_t t, int64_t width, double eps) {
  double squares = 0;
  for (int64_t f = 0; f < width; ++f) squares += x.get(t, f) * x.get(t, f);
  return 1 / std::sqrt(squares / double(width) + eps);
}

// Exact: x = 4 or -4, so that r = 1 / 4.
template <class T>
void rmsnorm_forward_case(Stream stream, const CaseSizes& s, bool whole, CaseResult& result) {
  Values values(s.seed, whole);
  Matrix<T> x(s.m, s.n, "x"), y(s.m, s.n, "y");
  Matrix<float> w(1, s.n, "weight");
  x.fill(values);
  w.fill(values);
  for (int64_t i = 0; whole && i < s.m * s.n; ++i)
    x.set(i / s.n, i % s.n, values.below(2) ? 4.0f : -4.0f);
  const float eps = whole ? 0.0f : 1e-5f;
  const RmsNormForward<T> op = {s.m, s.n, x.data(), x.pitch(), w.data(), eps, y.data(), y.pitch()};
  if (failed(rmsnorm_forward(stream, op), result)) return;
  // A sum of n squares errs by n half units, its root by half of that; bf16 rounds x r too.
  const double relative =
      (0.5 * double(s.n) + 8) * kFloatHalf + (std::is_same_v<T, float> ? 0 : kBf16Half);
  const auto expected = [&](int64_t t, int64_t f) {
    return x.get(t, f) * inverse_rms(x, t, s.n, double(eps)) * w.get(0, f);
  };
  y.check(
      0, s.n, result, expected,
      [&](int64_t t, int64_t f) { return relative * std::fabs(expected(t, f)); }, "y");
  y.check_padding(result, "y");
}

// Exact: x = 4 or -4, w = 1, and dy x sums to zero over each row.
template <class T>
void rmsnorm_backward_case(Stream stream, const CaseSizes& s, bool whole, CaseResult& result) {
  Values values(s.seed, whole);
  Matrix<T> x(s.m, s.n, "x"), dy(s.m, s.n, "dy"), dx(s.m, s.n, "dx"), before(s.m, s.n, "before");
  Matrix<float> w(1, s.n, "weight"), dw(1, s.n, "weight_gradient");
  x.fill(values);
  dy.fill(values);
  before.fill(values);
  w.fill(values);
  for (int64_t f = 0; f < s.n; ++f) {
    dw.set(0, f, 0.0f);
    if (whole) w.set(0, f, 1.0f);
  }
  for (int64_t t = 0; t < s.m; ++t)
    for (int64_t f = 0; f < s.n; ++f) {
      dx.set(t, f, float(before.get(t, f)));
      if (!whole) continue;
      x.set(t, f, values.below(2) ? 4.0f : -4.0f);
      if (f % 2 == 1)
        dy.set(t, f, float(-dy.get(t, f - 1) * x.get(t, f - 1) / x.get(t, f)));
      else if (f + 1 == s.n)
        dy.set(t, f, 0.0f);
    }
  const float eps = whole ? 0.0f : 1e-5f;
  simt::Memory<float> workspace(size_t(rmsnorm_workspace(s.m, s.n)), "workspace");
  const RmsNormBackward<T> op = {s.m,       s.n,        x.data(),  x.pitch(),
                                 w.data(),  eps,        dy.data(), dy.pitch(),
                                 dx.data(), dx.pitch(), dw.data(), workspace.data()};
  if (failed(rmsnorm_backward(stream, op), result)) return;
  std::vector<double> r, mean, terms;
  for (int64_t t = 0; t < s.m; ++t) {
    r.push_back(inverse_rms(x, t, s.n, double(eps)));
    double sum = 0, absolute = 0;
    for (int64_t f = 0; f < s.n; ++f) {
      const double product = x.get(t, f) * w.get(0, f) * dy.get(t, f);
      sum += product;
      absolute += std::fabs(product);
    }
    mean.push_back(sum / double(s.n));
    terms.push_back(absolute / double(s.n));
  }
  const double row = (2.0 * double(s.n) + 16) * kFloatHalf;  // of sums over a row and their root
  dx.check(
      0, s.n, result,
      [&](int64_t t, int64_t f) {
        const size_t i = size_t(t);
        return before.get(t, f) +
               r[i] * (w.get(0, f) * dy.get(t, f) - x.get(t, f) * r[i] * r[i] * mean[i]);
      },
      [&](int64_t t, int64_t f) {
        const size_t i = size_t(t);
        return 2 * kFloatHalf * std::fabs(before.get(t, f)) +
               row * r[i] *
                   (std::fabs(w.get(0, f) * dy.get(t, f)) +
                    std::fabs(x.get(t, f)) * r[i] * r[i] * terms[i]);
      },
      "dx");
  dx.check_padding(result, "dx");
  const auto sum = [&](int64_t f, bool absolute) {
    double total = 0;
    for (int64_t t = 0; t < s.m; ++t) {
      const double product = dy.get(t, f) * x.get(t, f) * r[size_t(t)];
      total += absolute ? std::fabs(product) : product;
    }
    return total;
  };
  const double column = (double(s.m) + 0.5 * double(s.n) + 16) * kFloatHalf +
                        (std::is_same_v<T, float> ? 0 : kBf16Half);
  dw.check(
      0, s.n, result, [&](int64_t, int64_t f) { return sum(f, false); },
      [&](int64_t, int64_t f) { return column * sum(f, true); }, "weight_gradient");
}

// The functions of bf16 are good to (2 + |x|) 2^-23.
template <class T>
double sigmoid_error(double x) {
  return std::is_same_v<T, float> ? 8 * kFloatHalf : (8 + 2 * std::fabs(x)) * kFloatHalf;
}

// Exact: gates of 0, where y is 0, and of 64 and -128, where the sigmoid is 1 and 0.
template <class T>
void fill_gates(Matrix<T>& gate, const CaseSizes& s, Values& values) {
  constexpr float kGates[] = {0.0f, 64.0f, -128.0f};
  for (int64_t t = 0; t < s.m; ++t)
    for (int64_t f = 0; f < s.n; ++f) gate.set(t, f, kGates[values.below(3)]);
}

template <class T>
void swiglu_forward_case(Stream stream, const CaseSizes& s, bool whole, CaseResult& result) {
  Values values(s.seed, whole);
  const int64_t up = (s.n + 7) / 8 * 8;
  Matrix<T> in(s.m, up + s.n, "gate and up"), y(s.m, s.n, "y");
  in.fill(values);
  if (whole) fill_gates(in, s, values);
  const SwigluForward<T> op = {s.m, s.n, in.data(), in.at(0, up), in.pitch(), y.data(), y.pitch()};
  if (failed(swiglu_forward(stream, op), result)) return;
  const auto expected = [&](int64_t t, int64_t f) {
    const double g = in.get(t, f);
    return g / (1 + std::exp(-g)) * in.get(t, up + f);
  };
  y.check(
      0, s.n, result, expected,
      [&](int64_t t, int64_t f) {
        return sigmoid_error<T>(in.get(t, f)) * std::fabs(expected(t, f)) + 0x1p-126;
      },
      "y");
  y.check_padding(result, "y");
}

template <class T>
void swiglu_backward_case(Stream stream, const CaseSizes& s, bool whole, CaseResult& result) {
  Values values(s.seed, whole);
  const int64_t up = (s.n + 7) / 8 * 8;
  Matrix<T> in(s.m, up + s.n, "gate and up"), dy(s.m, s.n, "dy"), d(s.m, up + s.n, "d");
  in.fill(values);
  dy.fill(values);
  if (whole) fill_gates(in, s, values);
  // A gate of 0 gives halves, which are exact too.
  const SwigluBackward<T> op = {s.m,       s.n,        in.data(), in.at(0, up), in.pitch(),
                                dy.data(), dy.pitch(), d.data(),  d.at(0, up),  d.pitch()};
  if (failed(swiglu_backward(stream, op), result)) return;
  const auto sigmoid = [&](int64_t t, int64_t f) { return 1 / (1 + std::exp(-in.get(t, f))); };
  const auto d_gate = [&](int64_t t, int64_t f) {
    const double g = in.get(t, f), p = sigmoid(t, f);
    return dy.get(t, f) * in.get(t, up + f) * p * (1 + g * (1 - p));
  };
  const auto d_up = [&](int64_t t, int64_t f) {
    return dy.get(t, f) * in.get(t, f) * sigmoid(t, f);
  };
  d.check(
      0, s.n, result, d_gate,
      [&](int64_t t, int64_t f) {
        const double g = in.get(t, f), p = sigmoid(t, f);
        return 4 * sigmoid_error<T>(g) * std::fabs(dy.get(t, f) * in.get(t, up + f)) * p *
                   (1 + std::fabs(g)) +
               0x1p-126;
      },
      "d_gate");
  d.check(
      up, s.n, result, d_up,
      [&](int64_t t, int64_t f) {
        return sigmoid_error<T>(in.get(t, f)) * std::fabs(d_up(t, f)) + 0x1p-126;
      },
      "d_up");
  d.check_padding(result, "d");
}

// m tokens, n heads, k features a head. Exact: quarter turns.
template <class T>
void rope_case(Stream stream, const CaseSizes& s, bool whole, CaseResult& result) {
  Values values(s.seed, whole);
  const int64_t dim = (s.k + 1) / 2 * 2, half = dim / 2, width = s.n * dim;
  Matrix<T> x(s.m, width, "x"), before(s.m, width, "before");
  before.fill(values);
  for (int64_t t = 0; t < s.m; ++t)
    for (int64_t f = 0; f < width; ++f) x.set(t, f, float(before.get(t, f)));
  simt::Memory<float> cosines(size_t(s.m * half), "cosines"), sines(size_t(s.m * half), "sines");
  simt::Memory<int32_t> positions(size_t(s.m), "positions");
  for (size_t i = 0; i < cosines.size(); ++i) {
    const int64_t quarter = values.below(4);
    const double angle = double(values.next());
    cosines[i] = whole ? float((1 - quarter) % 2) : float(std::cos(angle));
    sines[i] = whole ? float((2 - quarter) % 2) : float(std::sin(angle));
  }
  for (int32_t& position : positions) position = int32_t(values.below(s.m));
  const Rope<T> op = {s.m,          s.n,   dim,      positions.data(), cosines.data(),
                      sines.data(), false, x.data(), x.pitch()};
  if (failed(rope(stream, op), result)) return;
  const auto turned = [&](int64_t t, int64_t f, bool terms) {
    const bool second = f % dim >= half;
    const size_t i = size_t(positions[size_t(t)] * half + f % half);
    const double c = double(cosines[i]), n = double(sines[i]);
    const double a = before.get(t, f) * c,
                 b = before.get(t, second ? f - half : f + half) * (second ? n : -n);
    return terms ? std::fabs(a) + std::fabs(b) : a + b;
  };
  x.check(
      0, width, result, [&](int64_t t, int64_t f) { return turned(t, f, false); },
      [&](int64_t t, int64_t f) { return 2 * kFloatHalf * turned(t, f, true); }, "x");
  x.check_padding(result, "x");
}

// m rows of n logits. Exact: one logit of 256 among zeros.
template <class T>
void cross_entropy_case(Stream stream, const CaseSizes& s, bool whole, CaseResult& result) {
  Values values(s.seed, whole);
  Matrix<T> logits(s.m, s.n, "logits"), before(s.m, s.n, "before");
  Matrix<float> losses(1, s.m, "token_loss");
  simt::Memory<int32_t> labels(size_t(s.m), "labels");
  simt::Memory<double> row_losses(size_t(s.m), "row_losses"), loss_sum(1, "loss_sum");
  before.fill(values);
  for (int64_t t = 0; t < s.m; ++t) {
    labels[size_t(t)] = values.below(5) == 0 ? -100 : int32_t(values.below(s.n));
    for (int64_t f = 0; whole && f < s.n; ++f) before.set(t, f, 0.0f);
    if (whole) before.set(t, values.below(s.n), 256.0f);
    for (int64_t f = 0; f < s.n; ++f) logits.set(t, f, float(before.get(t, f)));
  }
  loss_sum[0] = 1.0;
  const double divisor = 8;
  const CrossEntropy<T> op = {s.m,     s.n,  logits.data(),     logits.pitch(), labels.data(),
                              divisor, true, row_losses.data(), losses.data(),  loss_sum.data()};
  if (failed(cross_entropy(stream, op), result)) return;
  std::vector<double> lse, loss;
  double sum = 1;
  for (int64_t t = 0; t < s.m; ++t) {
    double largest = before.get(t, 0), exponentials = 0;
    for (int64_t f = 0; f < s.n; ++f) largest = std::max(largest, before.get(t, f));
    for (int64_t f = 0; f < s.n; ++f) exponentials += std::exp(before.get(t, f) - largest);
    lse.push_back(largest + std::log(exponentials));
    const int32_t label = labels[size_t(t)];
    loss.push_back(label < 0 ? 0 : lse.back() - before.get(t, label));
    sum += loss.back();
  }
  // Of the sum of exponentials, whose arguments are at most 16 in size.
  const double relative = (double(s.n) + 64) * kFloatHalf;
  losses.check(
      0, s.m, result, [&](int64_t, int64_t t) { return loss[size_t(t)]; },
      [&](int64_t, int64_t) { return relative; }, "token_loss");
  result.add("loss_sum", loss_sum[0], sum, sum, relative * double(s.m));
  logits.check(
      0, s.n, result,
      [&](int64_t t, int64_t f) {
        const int32_t label = labels[size_t(t)];
        const double p = std::exp(before.get(t, f) - lse[size_t(t)]);
        return label < 0 ? 0 : (p - (f == label)) / divisor;
      },
      [&](int64_t t, int64_t f) {
        const double p = std::exp(before.get(t, f) - lse[size_t(t)]);
        return (p * (relative + 32 * kFloatHalf) + kFloatHalf) / divisor;
      },
      "logits");
  logits.check_padding(result, "logits");
}

}  // namespace

std::vector<KernelCase> row_cases() {
  return {
      {"rmsnorm_forward", "rmsnorm", rmsnorm_forward_case<float>, rmsnorm_forward_case<bf16>},
      {"rmsnorm_backward", "rmsnorm", rmsnorm_backward_case<float>, rmsnorm_backward_case<bf16>},
      {"swiglu_forward", "swiglu", swiglu_forward_case<float>, swiglu_forward_case<bf16>},
      {"swiglu_backward", "swiglu", swiglu_backward_case<float>, swiglu_backward_case<bf16>},
      {"rope", "rope", rope_case<float>, rope_case<bf16>},
      {"cross_entropy", "loss", cross_entropy_case<float>, cross_entropy_case<bf16>},
  };
}

}  // namespace rora::testing
