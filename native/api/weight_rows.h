// What other objects ask of a weight's rows.
#pragma once

#include <vector>

#include "api/objects.h"

namespace rora {

// |W[n]|^2 of every row n, summed in double on the host.
std::vector<double> row_squares(const rora_weight& weight);

}  // namespace rora
