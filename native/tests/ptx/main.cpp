// One case of one kernel. Options:
//   --list           prints the names of the kernels and ends
//   --kernel NAME    which
//   --m --n --k      sizes: of a product, [m, k] times [k, n]; of kernels over rows, m tokens of n
//                    features; of attention, m tokens, n heads, k features a head
//   --rank           of the adapters of a product
//   --dtype          fp32 or bf16: activations and weights
//   --seed           of the operands, the order of warps and the order of blocks
//   --schedule       inorder or random: the order in which warps and blocks run
//   --arch           what nvcc compiles for: sm_80, 86, 89, 90, 100, 120
//   --emulate        on the emulation (tests/simt) instead of the simulator; no counters then
//
// The case runs twice, on whole numbers and on random ones. Prints one JSON object:
//   ok         every value within its bound, the whole numbers exact, and no findings
//   exact      the result on whole numbers has the very bits
//   max_error  the largest difference from the double loop on random numbers
//   findings   what the simulator, or the comparison, found wrong
//   counters   the simulator's, of the run on random numbers, all launches together
//
// Exit status: 0 ok, 1 not, 2 bad options or no way to run the case, 77 skipped.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>

#include "cases.h"
#include "json.h"
#include "simulator.h"

namespace rora::testing {
namespace {

// Shared memory of a block, and multiprocessors of a usual GPU of each architecture.
const std::map<std::string, cuda::Machine>& machines() {
  static const std::map<std::string, cuda::Machine> all = {
      {"sm_80", {163 * 1024, 108}}, {"sm_86", {99 * 1024, 84}},    {"sm_89", {99 * 1024, 128}},
      {"sm_90", {227 * 1024, 132}}, {"sm_100", {227 * 1024, 148}}, {"sm_120", {99 * 1024, 170}}};
  return all;
}

struct Options {
  std::map<std::string, std::string> text = {
      {"kernel", ""},   {"m", "128"},      {"n", "128"},  {"k", "128"},
      {"rank", "16"},   {"dtype", "bf16"}, {"seed", "1"}, {"schedule", "inorder"},
      {"arch", "sm_80"}};
  bool list = false, emulate = false;

  Options(int argc, char** argv) {
    for (int i = 1; i < argc; ++i) {
      const std::string word = argv[i];
      if (word == "--list") {
        list = true;
      } else if (word == "--emulate") {
        emulate = true;
      } else if (word.rfind("--", 0) == 0 && text.count(word.substr(2)) != 0 && i + 1 < argc) {
        text[word.substr(2)] = argv[++i];
      } else {
        throw std::invalid_argument(word + ": no such option, or no value for it");
      }
    }
    choose("dtype", {"fp32", "bf16"});
    choose("schedule", {"inorder", "random"});
    std::vector<std::string> names;
    for (const auto& [name, machine] : machines()) names.push_back(name);
    choose("arch", names);
  }

  int64_t number(const std::string& name, int64_t least) const {
    char* end = nullptr;
    const long long value = std::strtoll(text.at(name).c_str(), &end, 10);
    if (*end != '\0' || end == text.at(name).c_str() || value < least)
      throw std::invalid_argument("--" + name + " " + text.at(name) + ": must be a number from " +
                                  std::to_string(least) + " on");
    return value;
  }

 private:
  void choose(const std::string& name, const std::vector<std::string>& values) const {
    std::string all;
    for (const std::string& value : values) {
      if (value == text.at(name)) return;
      all += " " + value;
    }
    throw std::invalid_argument("--" + name + " " + text.at(name) + ": must be one of" + all);
  }
};

const KernelCase& case_named(const std::string& name) {
  for (const KernelCase& c : kernel_cases())
    if (c.name == name) return c;
  throw std::invalid_argument("--kernel " + name + ": --list names the kernels");
}

Json text_of(const std::string& text) {
  Json result;
  result.kind = Json::Kind::kString;
  result.text = text;
  return result;
}
Json truth_of(bool truth) {
  Json result;
  result.kind = Json::Kind::kBool;
  result.truth = truth;
  return result;
}

// Why the case cannot run here, or "".
std::string missing() {
  const char* const simulator = std::getenv("RORA_PTXSIM");
  if (simulator == nullptr || *simulator == '\0') return "RORA_PTXSIM names no PTX simulator";
  if (access(simulator, X_OK) != 0)
    throw std::invalid_argument(std::string("RORA_PTXSIM=") + simulator + ": not an executable");
  if (std::system("nvcc --version >/dev/null 2>&1") != 0) return "there is no nvcc";
  return "";
}

int run_case(const Options& options) {
  if (options.list) {
    for (const KernelCase& c : kernel_cases()) std::printf("%s\n", c.name);
    return 0;
  }
  const KernelCase& kernel = case_named(options.text.at("kernel"));
  const CaseSizes sizes = {options.number("m", 1),
                           options.number("n", 1),
                           options.number("k", 1),
                           options.number("rank", 0),
                           options.text.at("dtype") == "bf16",
                           uint64_t(options.number("seed", 0)),
                           machines().at(options.text.at("arch"))};
  cuda::simt::Stream stream(sizes.seed);
  std::unique_ptr<Simulator> simulator;
  if (!options.emulate) {
    const std::string why = missing();
    if (!why.empty()) {
      std::fprintf(stderr, "skipped: %s: %s\n", kernel.name, why.c_str());
      return 77;
    }
    simulator = std::make_unique<Simulator>(
        Simulator::Options{std::getenv("RORA_PTXSIM"), options.text.at("arch"),
                           options.text.at("schedule"), sizes.seed},
        kernel.family);
    stream.instead = [&](const cuda::simt::Launch& launch) { return simulator->launch(launch); };
  }

  const KernelCase::Run run = sizes.bf16 ? kernel.bf16 : kernel.fp32;
  CaseResult whole, random;
  run(&stream, sizes, true, whole);
  if (simulator) simulator->take_counters();
  run(&stream, sizes, false, random);

  std::vector<std::string> findings;
  if (simulator) findings = simulator->findings();
  for (const CaseResult* result : {&whole, &random})
    if (!result->wrong.empty()) findings.push_back(result->wrong);
  Json out;
  out.kind = Json::Kind::kObject;
  out.members["ok"] = truth_of(findings.empty() && whole.exact);
  out.members["exact"] = truth_of(whole.exact);
  Json& error = out.members["max_error"];
  error.kind = Json::Kind::kNumber;
  error.number = random.max_error;
  Json& found = out.members["findings"];
  found.kind = Json::Kind::kArray;
  const std::set<std::string> once(findings.begin(), findings.end());
  for (const std::string& finding : once) found.items.push_back(text_of(finding));
  Json& counters = out.members["counters"];
  if (simulator) counters = simulator->take_counters();
  counters.kind = Json::Kind::kObject;
  std::printf("%s\n", out.write().c_str());
  return out["ok"].truth ? 0 : 1;
}

}  // namespace
}  // namespace rora::testing

int main(int argc, char** argv) {
  try {
    return rora::testing::run_case(rora::testing::Options(argc, argv));
  } catch (const std::exception& e) {
    std::fprintf(stderr, "rora_ptx: %s\n", e.what());
    return 2;
  }
}
