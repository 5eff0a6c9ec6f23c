//===- MachineProfile.cpp - What a machine can do -------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Support/MachineProfile.h"

#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/JSON.h"
#include "llvm/TargetParser/Host.h"

#include <cmath>

using namespace ferrite;
using llvm::json::Object;

namespace {
/// One thread; two of a core's neighbours share memory. Figures of
/// codegen.md (Zen 4, Emerald Rapids) and of our own probes (Zen 5); the
/// generic row is below all of them, with the caches of a common core.
struct Row {
  const char *name;
  int64_t l1, l2, l3;
  double f32_256, f32_512, f16, bf16, i8_256, i8_512; // G operations/s
  double l2Rate, l3Rate, memoryRate, memoryAll;       // GB/s
};
constexpr int64_t kK = 1 << 10, kM = 1 << 20;
const Row rows[] = {
    {"generic", 32 * kK, 512 * kK, 16 * kM, 96, 96, 0, 0, 0, 0, 100, 30, 15,
     25},
    {"zen4", 32 * kK, 1 * kM, 32 * kM, 117, 117, 0, 235, 0, 469, 110, 60, 29,
     45},
    {"zen5", 48 * kK, 1 * kM, 32 * kM, 125, 250, 0, 500, 500, 1000, 250, 115,
     45, 57},
    {"sapphire-rapids", 48 * kK, 2 * kM, 64 * kM, 113, 227, 454, 114, 0, 877,
     180, 34, 18, 36},
};

MachineProfile profileOf(const Row &row) {
  MachineProfile profile;
  profile.name = row.name;
  profile.threads = 2;
  profile.l1Bytes = row.l1;
  profile.l2Bytes = row.l2;
  profile.l3Bytes = row.l3;
  for (auto [name, rate] : {std::pair("f32_256", row.f32_256),
                            {"f32_512", row.f32_512},
                            {"f16_512", row.f16},
                            {"bf16_dot_512", row.bf16},
                            {"i8_dot_256", row.i8_256},
                            {"i8_dot_512", row.i8_512}})
    if (rate > 0)
      profile.operations[name] = {rate * 1e9, rate * 2e9};
  profile.l2 = {row.l2Rate * 1e9, row.l2Rate * 2e9};
  profile.l3 = {row.l3Rate * 1e9, row.l3Rate * 2e9};
  profile.memory = {row.memoryRate * 1e9, row.memoryAll * 1e9};
  return profile;
}

const std::vector<MachineProfile> &builtins() {
  static const std::vector<MachineProfile> all = [] {
    std::vector<MachineProfile> profiles;
    for (const Row &row : rows)
      profiles.push_back(profileOf(row));
    return profiles;
  }();
  return all;
}
} // namespace

const MachineProfile *MachineProfile::builtin(llvm::StringRef name) {
  for (const MachineProfile &profile : builtins())
    if (name == profile.name)
      return &profile;
  return nullptr;
}

std::string MachineProfile::builtinNames() {
  std::string names;
  for (const Row &row : rows)
    names += (names.empty() ? "" : ", ") + std::string(row.name);
  return names;
}

const MachineProfile &MachineProfile::ofHost() {
  llvm::StringRef name =
      llvm::StringSwitch<llvm::StringRef>(llvm::sys::getHostCPUName())
          .Case("znver4", "zen4")
          .Case("znver5", "zen5")
          .Cases({"sapphirerapids", "emeraldrapids"}, "sapphire-rapids")
          .Default("generic");
  return *builtin(name);
}

//===----------------------------------------------------------------------===//
// Files
//===----------------------------------------------------------------------===//

llvm::Expected<MachineProfile> MachineProfile::parse(llvm::StringRef text) {
  auto error = [](const llvm::Twine &what) {
    return llvm::createStringError(what.str());
  };
  // JSON of some nesting would overflow the parser's stack.
  if (text.size() > size_t(64 * kK))
    return error("is no machine profile: longer than 64 KiB");
  llvm::Expected<llvm::json::Value> json = llvm::json::parse(text);
  if (!json)
    return error("is no JSON: " + llvm::toString(json.takeError()));
  const Object *object = json->getAsObject();
  if (!object || object->getInteger("ferrite_machine_profile") != 1)
    return error("is no machine profile of version 1: write one with "
                 "'ferrite tune'");
  std::string wrong;
  auto positive = [&](const Object *from, llvm::StringRef key, double most,
                      bool needed) {
    std::optional<double> value = from ? from->getNumber(key) : std::nullopt;
    if (value && std::isfinite(*value) && *value > 0 && *value <= most)
      return *value;
    if ((needed || (from && from->get(key))) && wrong.empty())
      wrong = key.str();
    return 0.0;
  };
  auto rate = [&](const Object *from) {
    return Rate{positive(from, "one", 1e18, true),
                positive(from, "all", 1e18, true)};
  };
  MachineProfile profile;
  profile.name = object->getString("cpu").value_or("unnamed").str();
  profile.threads = int64_t(positive(object, "threads", 4096, true));
  const Object *caches = object->getObject("caches");
  profile.l1Bytes = int64_t(positive(caches, "l1d", 1e15, true));
  profile.l2Bytes = int64_t(positive(caches, "l2", 1e15, true));
  profile.l3Bytes = int64_t(positive(caches, "l3", 1e15, false));
  if (const Object *rates = object->getObject("operations_per_second"))
    for (const auto &[name, value] : *rates)
      profile.operations[name] = rate(value.getAsObject());
  if (profile.operations.empty() && wrong.empty())
    wrong = "operations_per_second";
  const Object *reads = object->getObject("bytes_per_second");
  auto read = [&](llvm::StringRef key) {
    return rate(reads ? reads->getObject(key) : nullptr);
  };
  profile.l2 = read("l2");
  profile.l3 = profile.l3Bytes ? read("l3") : Rate();
  profile.memory = read("memory");
  if (!wrong.empty())
    return error("has no number that can be for '" + wrong + "'");
  return profile;
}

//===----------------------------------------------------------------------===//
// What follows
//===----------------------------------------------------------------------===//

const MachineProfile::Rate &MachineProfile::rateOf(int64_t bytes) const {
  return bytes <= l2Bytes ? l2 : bytes <= l3Bytes ? l3 : memory;
}

double MachineProfile::bf16DotGain() const {
  auto dot = operations.find("bf16_dot_512"), fma = operations.find("f32_512");
  if (dot == operations.end() || fma == operations.end())
    return 0;
  return dot->second.one / fma->second.one;
}
