#include <cmath>

#include "api/device.h"
#include "api/layer_checks.h"
#include "api/weight_rows.h"

namespace rora {
namespace {

// |W[n]|^2 of every row, which stays as long as the adapter keeps its weight.
void keep_base_squares(rora_adapter& adapter, const rora_weight& weight) {
  if (adapter.norm_weight == &weight && adapter.norm_version == weight.version) return;
  const std::vector<double> squares = row_squares(weight);
  adapter.context->device->upload(*adapter.context, adapter.base_squares, squares.data(),
                                  weight.out_features * int64_t(sizeof(double)));
  adapter.norm_weight = &weight;
  adapter.norm_version = weight.version;
}

}  // namespace
}  // namespace rora

using namespace rora;

rora_status rora_adapter_create(rora_context* context, int64_t out_features, int64_t in_features,
                                int64_t rank, float scaling, const float* lora_A,
                                const float* lora_B, const float* magnitude, float* lora_A_gradient,
                                float* lora_B_gradient, float* magnitude_gradient,
                                rora_adapter** adapter) {
  return guard([&] {
    RORA_REQUIRE(context != nullptr && adapter != nullptr, "context and adapter must not be NULL");
    RORA_REQUIRE(lora_A != nullptr && lora_B != nullptr, "lora_A and lora_B must not be NULL");
    RORA_REQUIRE(out_features >= 1 && in_features >= 1,
                 "projection [%lld, %lld]: sizes must be positive",
                 static_cast<long long>(out_features), static_cast<long long>(in_features));
    RORA_REQUIRE(rank >= 1 && rank <= INT32_MAX, "rank=%lld: must be at least 1",
                 static_cast<long long>(rank));
    RORA_REQUIRE(std::isfinite(scaling), "scaling=%g: must be finite", double(scaling));
    RORA_REQUIRE((lora_A_gradient == nullptr) == (lora_B_gradient == nullptr),
                 "the gradients of lora_A and lora_B must be both given or both NULL");
    RORA_REQUIRE(
        magnitude_gradient == nullptr || (magnitude != nullptr && lora_A_gradient != nullptr),
        "a gradient of the magnitude needs a magnitude and the other gradients");
    auto fresh = std::make_unique<rora_adapter>();
    *fresh = {context,
              out_features,
              in_features,
              rank,
              rank,
              scaling,
              lora_A,
              lora_B,
              magnitude,
              lora_A_gradient,
              lora_B_gradient,
              magnitude_gradient,
              nullptr,
              0,
              nullptr,
              nullptr,
              nullptr};
    if (magnitude != nullptr) {
      auto* memory =
          static_cast<double*>(allocate(context, 2 * out_features * int64_t(sizeof(double))));
      fresh->base_squares = memory;
      fresh->norms = reinterpret_cast<float*>(memory + out_features);
      fresh->row_scale = fresh->norms + out_features;
    }
    *adapter = fresh.release();
  });
}

void rora_adapter_destroy(rora_adapter* adapter) {
  if (adapter == nullptr) return;
  release(adapter->context, adapter->base_squares);
  delete adapter;
}

rora_status rora_adapter_train_rank(rora_adapter* adapter, int64_t rows) {
  return guard([&] {
    RORA_REQUIRE(adapter != nullptr, "adapter is NULL");
    RORA_REQUIRE(rows >= 1 && rows <= adapter->rank, "rows=%lld: must be 1 .. rank (%lld)",
                 static_cast<long long>(rows), static_cast<long long>(adapter->rank));
    adapter->train_rank = rows;
  });
}

rora_status rora_adapter_refresh(rora_adapter* adapter, const rora_weight* weight) {
  return guard([&] {
    RORA_REQUIRE(adapter != nullptr && weight != nullptr, "adapter and weight must not be NULL");
    require_same_context(adapter->context, weight->context, "weight");
    RORA_REQUIRE(
        adapter->out_features == weight->out_features &&
            adapter->in_features == weight->in_features,
        "adapter of a [%lld, %lld] projection, weight [%lld, %lld]: must have the same shape",
        static_cast<long long>(adapter->out_features), static_cast<long long>(adapter->in_features),
        static_cast<long long>(weight->out_features), static_cast<long long>(weight->in_features));
    if (adapter->magnitude == nullptr) return;
    keep_base_squares(*adapter, *weight);
    adapter->context->kernels->dora_norms(
        *adapter->context, DoraNormsOp{adapter, weight, adapter->norms, adapter->row_scale});
  });
}

rora_status rora_adapter_norms(const rora_adapter* adapter, float* norms) {
  return guard([&] {
    RORA_REQUIRE(adapter != nullptr && norms != nullptr, "adapter and norms must not be NULL");
    RORA_REQUIRE(adapter->magnitude != nullptr,
                 "the adapter has no magnitude: only DoRA has norms");
    adapter->context->device->download(*adapter->context, norms, adapter->norms,
                                       adapter->out_features * int64_t(sizeof(float)));
  });
}
