#include "simulator.h"

#include <cxxabi.h>
#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <thread>

namespace rora::testing {
namespace {

namespace fs = std::filesystem;
using cuda::simt::Region;

std::string read(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

void write(const std::string& file, const void* data, size_t bytes) {
  std::ofstream out(file, std::ios::binary);
  out.write(static_cast<const char*>(data), std::streamsize(bytes));
  if (!out.flush()) throw std::runtime_error("cannot write " + file);
}

// What a command prints; throws if it exits with more than `most`.
std::string output_of(const std::string& command, int most = 0) {
  std::FILE* const pipe = popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) throw std::runtime_error("cannot run " + command);
  std::string text;
  char part[4096];
  for (size_t n; (n = std::fread(part, 1, sizeof part, pipe)) > 0;) text.append(part, n);
  const int status = pclose(pipe);
  if (!WIFEXITED(status) || WEXITSTATUS(status) > most)
    throw std::runtime_error(command + ": " + text);
  return text;
}

std::string shell_word(const std::string& path) { return "'" + path + "'"; }

// Names are compared demangled: nvcc and g++ spell unnamed namespaces in different ways.
std::string demangled(const std::string& name) {
  int status = 0;
  char* const text = abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status);
  const std::string result = text == nullptr ? name : text;
  std::free(text);
  return result;
}

// The PTX of a family, compiled anew when any of the kernels' files is younger.
std::string compiled(const std::string& family, const std::string& arch) {
  const fs::path sources = fs::path(RORA_SOURCES) / "native";
  const std::string ptx = std::string(RORA_PTX_CACHE) + "/" + family + "." + arch + ".ptx";
  fs::create_directories(RORA_PTX_CACHE);
  std::error_code none;
  const auto made = fs::last_write_time(ptx, none);
  bool old = bool(none);
  for (const auto& file : fs::directory_iterator(sources / "cuda"))
    old = old || file.last_write_time() > made;
  if (!old) return ptx;
  const std::string fresh = ptx + "." + std::to_string(getpid());
  output_of("nvcc -ptx -std=c++17 -O3 -lineinfo -arch=" + shell_word(arch) + " -I" +
            shell_word(sources.string()) + " " +
            shell_word((sources / "cuda" / (family + ".cu")).string()) + " -o " +
            shell_word(fresh));
  fs::rename(fresh, ptx);  // another process may be reading the old one
  return ptx;
}

// The name of a function of this program, exported or not.
std::string symbol_of(const void* function) {
  Dl_info info = {};
  if (dladdr(function, &info) == 0) throw std::runtime_error("a kernel without a name");
  const auto offset =
      reinterpret_cast<uintptr_t>(function) - reinterpret_cast<uintptr_t>(info.dli_fbase);
  const std::string self = fs::read_symlink("/proc/self/exe").string();
  std::istringstream symbols(output_of(RORA_NM " " + shell_word(self)));
  for (std::string line; std::getline(symbols, line);) {
    std::istringstream words(line);
    std::string address, kind, name;
    if (words >> address >> kind >> name && kind.find_first_of("tTwW") == 0 &&
        std::stoull(address, nullptr, 16) == offset)
      return name;
  }
  throw std::runtime_error("a kernel without a name");
}

// One 8-byte word after another: an address in global memory becomes a buffer's, the rest is
// copied.
std::string parameter(const cuda::simt::Launch& launch, const std::vector<Region>& regions) {
  const auto* const bytes = static_cast<const unsigned char*>(launch.op);
  std::string text;
  for (size_t at = 0; at < launch.op_bytes; at += 8) {
    const size_t count = std::min<size_t>(8, launch.op_bytes - at);
    const std::byte* address = nullptr;
    if (count == 8) std::memcpy(&address, bytes + at, 8);
    size_t i = 0;
    const auto holds = [&](const Region& r) {
      return r.bytes > 0 && address >= r.begin && address <= r.begin + r.bytes;
    };
    while (i < regions.size() && !holds(regions[i])) ++i;
    text += text.empty() ? "" : ", ";
    if (count == 8 && i < regions.size()) {
      text += "{\"buf\": \"b" + std::to_string(i) +
              "\", \"offset\": " + std::to_string(address - regions[i].begin) + "}";
      continue;
    }
    text += "{\"hex\": \"";
    for (size_t b = 0; b < count; ++b) {
      char digits[3];
      std::snprintf(digits, sizeof digits, "%02x", unsigned(bytes[at + b]));
      text += digits;
    }
    text += "\"}";
  }
  return "{\"struct\": [" + text + "]}";
}

// Adds up what can be added up: counts do, and of what each launch has the most counts.
void add(Json& sum, const Json& more, const std::string& name = "") {
  if (more.kind == Json::Kind::kObject) {
    sum.kind = Json::Kind::kObject;
    for (const auto& [member, value] : more.members) add(sum.members[member], value, member);
    return;
  }
  const bool most = name.find("shared_bytes") != std::string::npos ||
                    name == "local_bytes_per_thread" || name == "inactive_lane_share";
  sum.number = most ? std::max(sum.number, more.number) : sum.number + more.number;
  sum.kind = more.kind;
}

void finish(Json& counters) {
  counters.members.erase("seconds");
  counters.members.erase("thread_insts_per_second");
  for (auto& [name, group] : counters.members) {
    const auto efficiency = group.members.find("sector_efficiency");
    if (efficiency == group.members.end()) continue;
    const double sectors = group["sectors"].number;
    efficiency->second.number = sectors > 0 ? group["ideal_sectors"].number / sectors : 1;
  }
}

}  // namespace

Simulator::Simulator(const Options& options, const std::string& family) : options_(options) {
  std::string name = (fs::temp_directory_path() / "rora-ptx-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot make " + name);
  directory_ = name;
  // nvcc's names differ from run to run, and another process may put a newer file in its place.
  ptx_ = (fs::path(directory_) / "kernels.ptx").string();
  fs::copy_file(compiled(family, options.arch), ptx_);
}

Simulator::~Simulator() {
  std::error_code ignored;
  fs::remove_all(directory_, ignored);
}

std::string Simulator::entry_of(const void* kernel) {
  const std::string symbol = symbol_of(kernel), name = demangled(symbol);
  std::istringstream lines(read(ptx_));
  for (std::string line; std::getline(lines, line);) {
    const size_t at = line.find(".entry ");
    if (at == std::string::npos) continue;
    const std::string entry = line.substr(at + 7, line.find('(') - at - 7);
    if (demangled(entry) == name) return entry;
  }
  throw std::runtime_error(ptx_ + " has no kernel " + name);
}

std::string Simulator::launch(const cuda::simt::Launch& launch) {
  const std::vector<Region> regions = cuda::simt::regions();
  std::string buffers;
  for (size_t i = 0; i < regions.size(); ++i) {
    const Region& r = regions[i];
    if (r.bytes == 0) continue;
    const std::string file = directory_ + "/" + std::to_string(i);
    // What nobody has written the simulator is to know as such.
    const bool written =
        std::any_of(r.begin, r.begin + r.bytes, [](std::byte b) { return b != std::byte(0xff); });
    if (written) write(file, r.begin, r.bytes);
    buffers += (buffers.empty() ? "" : ",\n  ") + ("\"b" + std::to_string(i)) +
               "\": {\"bytes\": " + std::to_string(r.bytes) +
               (written ? ", \"file\": \"" + file + "\"" : std::string()) + ", \"out\": \"" + file +
               "\"}";
  }
  std::ostringstream job;
  job << "{\"ptx\": \"" << ptx_ << "\",\n\"options\": {\"schedule\": \"" << options_.schedule
      << "\", \"block_order\": \"" << (options_.schedule == "random" ? "random" : "linear")
      << "\", \"seed\": " << options_.seed
      << ", \"threads\": " << std::max(1u, std::thread::hardware_concurrency())
      << "},\n\"buffers\": {" << buffers << "},\n\"launches\": [{\"entry\": \""
      << entry_of(launch.kernel) << "\", \"grid\": [" << launch.grid.x << ", " << launch.grid.y
      << ", " << launch.grid.z << "], \"block\": [" << launch.block
      << "], \"dynamic_smem\": " << launch.shared_bytes << ",\n  \"params\": ["
      << parameter(launch, regions) << "]}]}\n";
  const std::string file = directory_ + "/job.json", text = job.str();
  write(file, text.data(), text.size());
  const Json report =
      Json::parse(output_of(shell_word(options_.executable) + " " + shell_word(file), 1));
  for (const Json& run : report["launches"].items) {
    for (const char* kind : {"errors", "warnings"})
      for (const Json& e : run[kind].items)
        findings_.push_back(e["kind"].text + " at " + e["where"].text + ": " + e["message"].text);
    add(counters_, run["counters"]);
  }
  if (!report["ok"].truth && findings_.empty()) findings_.push_back("the simulator is not content");
  for (size_t i = 0; i < regions.size(); ++i) {
    if (regions[i].bytes == 0) continue;
    const std::string bytes = read(directory_ + "/" + std::to_string(i));
    if (bytes.size() != regions[i].bytes) throw std::runtime_error("the simulator lost a buffer");
    std::memcpy(const_cast<std::byte*>(regions[i].begin), bytes.data(), bytes.size());
  }
  return "";
}

Json Simulator::take_counters() {
  Json result;
  std::swap(result, counters_);
  finish(result);
  return result;
}

}  // namespace rora::testing
