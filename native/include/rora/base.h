#ifndef RORA_BASE_H
#define RORA_BASE_H

#include <stddef.h>
#include <stdint.h>

#if defined(RORA_BUILDING_LIBRARY)
#define RORA_API __attribute__((visibility("default")))
#else
#define RORA_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/** What a call that can fail returns; the reason is in rora_last_error(). */
typedef enum rora_status {
  RORA_OK = 0,
  RORA_INVALID_ARGUMENT = 1, /**< a broken rule of the header; nothing was written */
  RORA_OUT_OF_MEMORY = 2,
  RORA_UNSUPPORTED = 3, /**< legal, but not on this device or in this build */
  RORA_INTERNAL = 4     /**< a fault of the library */
} rora_status;

/** Element types. Activations are F32 or BF16; F16 only ever comes from a file. */
typedef enum rora_dtype { RORA_F32 = 0, RORA_BF16 = 1, RORA_F16 = 2 } rora_dtype;

/** Why the last failing call of this thread failed; "" before the first. Valid until the next. */
RORA_API const char* rora_last_error(void);

/** The library's version, as `major.minor.patch`. */
RORA_API const char* rora_version(void);

#ifdef __cplusplus
}
#endif

#endif
