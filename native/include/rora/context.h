#ifndef RORA_CONTEXT_H
#define RORA_CONTEXT_H

#include "rora/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * A device, its threads and the memory handed out on it. Not thread-safe: one caller at a time.
 * Every object made on a context must be destroyed before it.
 */
typedef struct rora_context rora_context;

/**
 * Opens a device.
 *
 * The instruction set is chosen here, once, by cpuid. The environment variable RORA_MAX_ISA
 * (reference, portable, avx2, avx512, avx512bf16, amx) caps it; another value is an error.
 *
 * On a GPU the context lives in a CUDA context. "cuda" takes the one that is current in the calling
 * thread, which is the primary context of its current device unless a caller of the driver API has
 * set another: so it shares memory and streams with whatever else the thread does. "cuda:i" makes
 * the primary context of device i current first. Later calls must find the same one current.
 *
 * @param device   "cpu"; "cuda" or "cuda:i" where that backend is built
 * @param threads  threads that compute, the caller's included; 0 takes one for each core. Results
 * do not depend on it.
 * @return RORA_UNSUPPORTED if the device cannot be used; the message says why
 */
RORA_API rora_status rora_context_open(const char* device, int32_t threads, rora_context** context);

/**
 * Names the folder of the libraries of other devices, librora_cuda.so above all; by default that is
 * the one librora.so lies in. For contexts opened afterwards, by any thread.
 *
 * @param folder  NULL or empty: the default again
 */
RORA_API rora_status rora_backend_folder(const char* folder);

/**
 * Queues the context's work on a stream of the caller's from now on, behind what it has queued so
 * far, without waiting for anything. Operators then read what the caller's earlier work on that
 * stream wrote, and the caller's later work on it reads what they wrote.
 *
 * @param stream  a cudaStream_t (CUstream) of the same CUDA context, which must live until another
 *                is chosen or the context is closed; NULL: the context's own again. CUDA's default
 *                stream, whose handle is 0 too, is named cudaStreamLegacy (1) or
 *                cudaStreamPerThread (2) here
 * @return RORA_INVALID_ARGUMENT if the stream belongs to another CUDA context, RORA_UNSUPPORTED on
 *         the CPU for any but NULL; then nothing has changed
 */
RORA_API rora_status rora_context_use_stream(rora_context* context, void* stream);

/** Stops the threads and frees the context. NULL does nothing. */
RORA_API void rora_context_close(rora_context* context);

/**
 * The instruction set chosen: reference, portable, avx2, avx512, avx512bf16 or amx; on other
 * devices their kind, cuda.
 */
RORA_API const char* rora_context_isa(const rora_context* context);

/** The number of threads that compute. */
RORA_API int32_t rora_context_threads(const rora_context* context);

/** Bytes of this context's memory in use: all objects and every rora_alloc not yet freed. */
RORA_API int64_t rora_context_bytes(const rora_context* context);

/**
 * Bytes of the device's memory in all, and those that can still be had; -1 where it is the host's
 * own, of which the system knows more.
 */
RORA_API int64_t rora_context_memory(const rora_context* context);
RORA_API int64_t rora_context_free_memory(const rora_context* context);

/** What cpuid reports, of that which rora can use, separated by spaces: `avx2 fma avx512f ...`. */
RORA_API const char* rora_cpu_features(void);

/**
 * Allocates zeroed memory of the device, aligned to 64 bytes. Zero bytes are legal. Only a CPU's
 * may be read and written by the host; a GPU's through rora_upload and rora_download.
 */
RORA_API rora_status rora_alloc(rora_context* context, int64_t bytes, void** memory);

/** Frees what rora_alloc gave. NULL does nothing. */
RORA_API void rora_free(rora_context* context, void* memory);

/** Copies host memory into the device's. */
RORA_API rora_status rora_upload(rora_context* context, void* device, const void* host,
                                 int64_t bytes);

/** Copies the device's memory to the host, after everything before it is done. */
RORA_API rora_status rora_download(rora_context* context, void* host, const void* device,
                                   int64_t bytes);

#ifdef __cplusplus
}
#endif

#endif
