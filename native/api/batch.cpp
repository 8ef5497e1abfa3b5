#include "api/device.h"
#include "cpu/panel.h"

namespace rora {
namespace {

constexpr int64_t kArrays = 5;

int64_t bytes_of(const rora_batch& batch) {
  return kArrays * batch.room * int64_t(sizeof(int32_t));
}

}  // namespace
}  // namespace rora

using namespace rora;

rora_status rora_batch_create(rora_context* context, int64_t max_tokens, rora_batch** batch) {
  return guard([&] {
    RORA_REQUIRE(context != nullptr && batch != nullptr, "context and batch must not be NULL");
    RORA_REQUIRE(max_tokens >= 1 && max_tokens <= INT32_MAX,
                 "max_tokens=%lld: must be 1 .. 2^31 - 1", static_cast<long long>(max_tokens));
    auto fresh = std::make_unique<rora_batch>();
    fresh->context = context, fresh->max_tokens = max_tokens;
    fresh->room = round_up(max_tokens, kPanel);
    if (!context->device->on_host) fresh->host_copy.resize(size_t(kArrays * fresh->room));
    fresh->device = static_cast<int32_t*>(allocate(context, bytes_of(*fresh)));
    int32_t* host = context->device->on_host ? fresh->device : fresh->host_copy.data();
    for (int32_t** array :
         {&fresh->ids, &fresh->labels, &fresh->positions, &fresh->begins, &fresh->order}) {
      *array = host;
      host += fresh->room;
    }
    *batch = fresh.release();
  });
}

void rora_batch_destroy(rora_batch* batch) {
  if (batch == nullptr) return;
  release(batch->context, batch->device);
  delete batch;
}

rora_status rora_batch_fill(rora_batch* batch, int64_t tokens, const int32_t* ids,
                            const int32_t* labels, const int32_t* positions, const int32_t* begins,
                            const int32_t* order) {
  return guard([&] {
    RORA_REQUIRE(batch != nullptr, "batch is NULL");
    RORA_REQUIRE(tokens >= 0 && tokens <= batch->max_tokens, "tokens=%lld: must be 0 .. %lld",
                 static_cast<long long>(tokens), static_cast<long long>(batch->max_tokens));
    RORA_REQUIRE(ids != nullptr && positions != nullptr && begins != nullptr,
                 "ids, positions and begins must not be NULL");
    for (int64_t t = 0; t < tokens; ++t) {
      RORA_REQUIRE(ids[t] >= 0, "ids[%lld]=%d: must not be negative", static_cast<long long>(t),
                   ids[t]);
      RORA_REQUIRE(
          positions[t] >= 0 && begins[t] >= 0 && begins[t] <= INT32_MAX - positions[t],
          "positions[%lld]=%d, begins[%lld]=%d: must not be negative, nor their sum overflow",
          static_cast<long long>(t), positions[t], static_cast<long long>(t), begins[t]);
      if (labels == nullptr) continue;
      RORA_REQUIRE(labels[t] >= 0 || labels[t] == -100,
                   "labels[%lld]=%d: must be a token id, or -100 for none",
                   static_cast<long long>(t), labels[t]);
    }
    const int64_t room = round_up(tokens, kPanel);
    for (int64_t t = 0; t < room; ++t) {
      const bool real = t < tokens;
      batch->ids[t] = real ? ids[t] : 0;
      batch->labels[t] = real && labels ? labels[t] : -100;
      batch->positions[t] = real ? positions[t] : 0;
      batch->begins[t] = real ? begins[t] : 0;
      batch->order[t] = !real ? 0 : order ? order[t] : int32_t(t);
    }
    batch->tokens = tokens;
    rora_context& context = *batch->context;
    if (!context.device->on_host)
      context.device->upload(context, batch->device, batch->ids, bytes_of(*batch));
  });
}
