// Weak placeholders until linear.cpp lands; deleted with it.
#include "api/guard.h"
#include "cpu/reference/reference.h"
namespace rora {
__attribute__((weak)) void reference_linear_shrink(rora_context&, const LinearOp&) { fail(RORA_UNSUPPORTED, "pending"); }
__attribute__((weak)) void reference_linear_forward(rora_context&, const LinearOp&) { fail(RORA_UNSUPPORTED, "pending"); }
__attribute__((weak)) void reference_linear_backward(rora_context&, const LinearOp&) { fail(RORA_UNSUPPORTED, "pending"); }
}
