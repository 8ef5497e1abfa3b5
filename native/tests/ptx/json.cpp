#include "json.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>

namespace rora::testing {
namespace {

class Reader {
 public:
  explicit Reader(const std::string& text) : text_(text) {}

  Json document() {
    const Json result = value();
    if (next() != '\0') fail();
    return result;
  }

 private:
  [[noreturn]] void fail() const {
    throw std::runtime_error("no JSON at byte " + std::to_string(at_) + ": " +
                             text_.substr(0, 200));
  }
  char next() {
    at_ = std::min(text_.find_first_not_of(" \t\r\n", at_), text_.size());
    return text_[at_];
  }
  bool take(char c) {
    if (next() != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!take(c)) fail();
  }

  Json value() {
    Json result;
    switch (next()) {
      case '{':
        result.kind = Json::Kind::kObject;
        ++at_;
        while (!take('}')) {
          if (!result.members.empty()) expect(',');
          const std::string name = string();
          expect(':');
          result.members[name] = value();
        }
        return result;
      case '[':
        result.kind = Json::Kind::kArray;
        ++at_;
        while (!take(']')) {
          if (!result.items.empty()) expect(',');
          result.items.push_back(value());
        }
        return result;
      case '"':
        result.kind = Json::Kind::kString;
        result.text = string();
        return result;
      default:
        return scalar();
    }
  }

  Json scalar() {
    Json result;
    for (const char* word : {"true", "false", "null"})
      if (text_.compare(at_, std::string(word).size(), word) == 0) {
        at_ += std::string(word).size();
        if (*word != 'n') result.kind = Json::Kind::kBool;
        result.truth = *word == 't';
        return result;
      }
    char* end = nullptr;
    result.kind = Json::Kind::kNumber;
    result.number = std::strtod(text_.c_str() + at_, &end);
    if (end == text_.c_str() + at_) fail();
    at_ = size_t(end - text_.c_str());
    return result;
  }

  std::string string() {
    expect('"');
    std::string result;
    while (at_ < text_.size() && text_[at_] != '"') {
      char c = text_[at_++];
      if (c == '\\') {
        c = text_[at_++];
        if (c == 'n') c = '\n';
        if (c == 't') c = '\t';
        if (c == 'u') {  // control characters alone
          c = char(std::strtol(text_.substr(at_, 4).c_str(), nullptr, 16));
          at_ += 4;
        }
      }
      result += c;
    }
    expect('"');
    return result;
  }

  const std::string& text_;
  size_t at_ = 0;
};

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    if (static_cast<unsigned char>(c) >= 0x20) {
      result += c;
    } else {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", unsigned(c));
      result += escape;
    }
  }
  return result + "\"";
}

}  // namespace

Json Json::parse(const std::string& text) { return Reader(text).document(); }

const Json& Json::operator[](const std::string& name) const {
  static const Json none;
  const auto found = members.find(name);
  return found == members.end() ? none : found->second;
}

std::string Json::write() const {
  std::string result;
  char digits[32];
  switch (kind) {
    case Kind::kNull:
      return "null";
    case Kind::kBool:
      return truth ? "true" : "false";
    case Kind::kNumber:
      if (!std::isfinite(number)) return "null";
      std::snprintf(digits, sizeof digits, number == std::rint(number) ? "%.0f" : "%.6g", number);
      return digits;
    case Kind::kString:
      return quoted(text);
    case Kind::kArray:
      for (const Json& item : items) result += (result.empty() ? "" : ", ") + item.write();
      return "[" + result + "]";
    case Kind::kObject:
      for (const auto& [name, member] : members)
        result += (result.empty() ? "" : ", ") + quoted(name) + ": " + member.write();
      return "{" + result + "}";
  }
  return result;
}

}  // namespace rora::testing
