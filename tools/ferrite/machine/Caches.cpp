//===- Caches.cpp - The sizes of the caches of this machine ---------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "machine/Caches.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace ferrite::machine {

/// The first line of a small file, or "".
static std::string lineOf(const std::string &path) {
  FILE *file = fopen(path.c_str(), "re");
  if (!file)
    return "";
  char line[256] = "";
  char *found = fgets(line, sizeof line, file);
  fclose(file);
  std::string text = found ? line : "";
  return text.substr(0, text.find('\n'));
}

Caches caches() {
  Caches sizes;
  for (int i = 0; i < 8; ++i) {
    std::string folder =
        "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(i) + "/";
    std::string level = lineOf(folder + "level"),
                text = lineOf(folder + "size");
    if (level.empty() || lineOf(folder + "type") == "Instruction")
      continue;
    char *unit = nullptr;
    int64_t size = strtoll(text.c_str(), &unit, 10);
    size <<= *unit == 'K' ? 10 : *unit == 'M' ? 20 : 0;
    if (size <= 0 || size > INT64_C(1) << 40)
      continue;
    (level == "1" ? sizes.l1d : level == "2" ? sizes.l2 : sizes.l3) = size;
  }
  return sizes;
}

std::string cpuName() {
  std::string name = "unknown";
  if (FILE *file = fopen("/proc/cpuinfo", "re")) {
    char line[512];
    while (fgets(line, sizeof line, file))
      if (!strncmp(line, "model name", 10))
        if (const char *colon = strchr(line, ':')) {
          name = colon + 2;
          name = name.substr(0, name.find('\n'));
          break;
        }
    fclose(file);
  }
  return name;
}

} // namespace ferrite::machine
