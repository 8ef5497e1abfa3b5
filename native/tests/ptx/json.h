// Just enough JSON for the reports of the PTX simulator.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace rora::testing {

struct Json {
  enum class Kind { kNull, kBool, kNumber, kString, kArray, kObject } kind = Kind::kNull;
  bool truth = false;
  double number = 0;
  std::string text;
  std::vector<Json> items;
  std::map<std::string, Json> members;

  // Throws std::runtime_error if the text is not JSON.
  static Json parse(const std::string& text);
  // A member, or null.
  const Json& operator[](const std::string& name) const;
  std::string write() const;
};

}  // namespace rora::testing
