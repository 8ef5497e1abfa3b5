// What a backend provides besides its kernels (api/kernel_table.h): memory, and the layout of
// activations in it. Entry points reach device memory through these functions and through
// api/host_access.h alone.
#pragma once

#include "api/guard.h"
#include "api/objects.h"

namespace rora {

struct Device {
  // Whether the host may read and write the device's memory in place.
  bool on_host;
  // Rows of weights and, behind each other, the two parts of activations' rows are padded to a
  // multiple of so many elements.
  int64_t row_elements;

  // Zeroed memory aligned to 64 bytes, counted in the context. Throws Error. Weights may be kept
  // apart from the rest.
  void* (*allocate)(rora_context&, int64_t bytes);
  void (*release)(rora_context&, void* memory) noexcept;
  void* (*allocate_weight)(rora_context&, int64_t bytes);
  void (*release_weight)(rora_context&, void* memory, int64_t bytes) noexcept;

  void (*upload)(rora_context&, void* target, const void* source, int64_t bytes);
  void (*download)(rora_context&, void* target, const void* source, int64_t bytes);
  void (*clear)(rora_context&, void* target, int64_t bytes);
  // `rows` rows of `columns` floats between matrices of the device; strides in floats.
  void (*copy_rows)(rora_context&, const float* source, int64_t source_stride, float* target,
                    int64_t target_stride, int64_t rows, int64_t columns);

  // Sets an activation's layout (`rows` or `pitch`) from its width and tail. Returns the bytes it
  // takes, INT64_MAX if they are too many to count.
  int64_t (*lay_out)(rora_activation&);
  // Zeroes what pads the rows of an activation whose memory has been used before.
  void (*clear_padding)(rora_context&, rora_activation&);
  // rora_activation_copy, _clear and _copy_tokens, arguments checked and tokens set.
  void (*copy_activation)(rora_context&, const rora_activation& source, rora_activation& target);
  void (*clear_activation)(rora_context&, rora_activation&);
  void (*copy_tokens)(rora_context&, const rora_activation& source, int64_t source_token,
                      rora_activation& target, int64_t target_token, int64_t count);

  // Bytes of memory in all and free; -1 where they are the host's. NULL stands for that.
  void (*memory)(rora_context&, int64_t* total, int64_t* free) noexcept;
  // Whether kernels may read and write memory at this address, as far as the device can tell.
  bool (*reaches)(rora_context&, const void* memory);
  // rora_weight_write of F32 or BF16, arguments checked, from memory that the device reaches; done
  // when it returns. Not called where the device is the host.
  void (*write_weight)(rora_context&, const rora_weight&, int64_t row, int64_t rows,
                       rora_dtype source_dtype, const void* source, int64_t stride);
  // rora_context_use_stream.
  void (*use_stream)(rora_context&, void* stream);

  // Frees what the backend keeps in the context.
  void (*close)(rora_context&) noexcept;
};

const Device& cpu_device();

}  // namespace rora
