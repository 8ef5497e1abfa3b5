#include "cases.h"

#include <algorithm>
#include <cstdio>

namespace rora::testing {

void CaseResult::add(const std::string& where, double found, double expected, double rounded,
                     double bound) {
  const double error = std::fabs(found - expected);
  exact = exact && found == rounded;
  max_error = std::isnan(error) ? error : std::max(max_error, error);
  if (error <= bound || !wrong.empty()) return;  // NaN goes on
  char text[160];
  std::snprintf(text, sizeof text, " = %.9g, expected %.9g, off by %.3g, bound %.3g", found,
                expected, error, bound);
  wrong = where + text;
}

const std::vector<KernelCase>& kernel_cases() {
  static const std::vector<KernelCase> all = [] {
    std::vector<KernelCase> cases;
    for (const auto& family : {product_cases(), row_cases(), attention_cases()})
      cases.insert(cases.end(), family.begin(), family.end());
    return cases;
  }();
  return all;
}

}  // namespace rora::testing
