// The host's view of device memory and the device's of the host's: where both are the same memory
// these are the pointers themselves, elsewhere copies.
#pragma once

#include <cstddef>
#include <vector>

#include "api/device.h"

namespace rora {

// Device memory that the host reads.
class HostRead {
 public:
  HostRead(rora_context& context, const void* memory, int64_t bytes) : data_(memory) {
    if (context.device->on_host) return;
    copy_.resize(size_t(bytes));
    context.device->download(context, copy_.data(), memory, bytes);
    data_ = copy_.data();
  }
  template <class T>
  const T* as() const {
    return static_cast<const T*>(data_);
  }

 private:
  std::vector<std::byte> copy_;
  const void* data_;
};

// Device memory that the host writes: all of it, then commit().
class HostWrite {
 public:
  HostWrite(rora_context& context, void* memory, int64_t bytes)
      : context_(context), memory_(memory), data_(memory), bytes_(bytes) {
    if (context.device->on_host) return;
    copy_.resize(size_t(bytes));
    data_ = copy_.data();
  }
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  void commit() const {
    if (data_ != memory_) context_.device->upload(context_, memory_, data_, bytes_);
  }

 private:
  rora_context& context_;
  void* memory_;
  void* data_;
  int64_t bytes_;
  std::vector<std::byte> copy_;
};

// Host memory that the device reads and writes; what it has written comes by bring_back().
class DeviceCopy {
 public:
  DeviceCopy(rora_context& context, void* host, int64_t bytes)
      : context_(context), host_(host), data_(host), bytes_(bytes) {
    if (context.device->on_host || bytes == 0) return;
    data_ = context.device->allocate(context, bytes);
    try {
      context.device->upload(context, data_, host, bytes);
    } catch (...) {  // the destructor of an object that is not made does not run
      context.device->release(context, data_);
      throw;
    }
  }
  ~DeviceCopy() {
    if (data_ != host_) context_.device->release(context_, data_);
  }
  DeviceCopy(const DeviceCopy&) = delete;
  DeviceCopy& operator=(const DeviceCopy&) = delete;

  void* data() const { return data_; }
  void bring_back() const {
    if (data_ != host_) context_.device->download(context_, host_, data_, bytes_);
  }

 private:
  rora_context& context_;
  void* host_;
  void* data_;
  int64_t bytes_;
};

}  // namespace rora
