// What an operator that overwrites an activation owes its unused places: zero in the row that an
// odd width leaves over and in the lanes past the last token.
#pragma once

#include "cpu/panel.h"

namespace rora {

// Zeroes the lanes past the last token in rows [row, row + rows).
inline void clear_unused_lanes(rora_activation& a, int64_t row, int64_t rows) {
  for (int64_t t = a.tokens; t < panels(a.tokens) * kPanel; ++t)
    for (int64_t r = row; r < row + rows; ++r) set(a, t, r, 0.0f);
}

// Zeroes the odd width's row and the unused lanes of all features.
inline void clear_padding(rora_activation& a) {
  if (a.width < even(a.width))
    for (int64_t t = 0; t < a.tokens; ++t) set(a, t, a.width, 0.0f);
  clear_unused_lanes(a, 0, even(a.width));
}

}  // namespace rora
