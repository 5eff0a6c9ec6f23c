//===- Threads.cpp - How many threads this process may use ----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A container limited to two CPUs on a machine of 64 still sees 64 in its
// affinity mask. 64 threads on a quota of two are all stopped, at a barrier of
// the team, for most of each period: the quota must count.
//
//===----------------------------------------------------------------------===//
#include "cpu/Threads.h"
#include "core/Error.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

using namespace ferrite::rt;

int32_t ferrite::rt::affinityCpus() {
  // The kernel refuses a mask smaller than its own: 64 Ki CPUs end the search.
  for (size_t bytes = sizeof(cpu_set_t); bytes <= 8192; bytes *= 2) {
    alignas(cpu_set_t) char mask[8192];
    memset(mask, 0, sizeof mask);
    cpu_set_t *set = reinterpret_cast<cpu_set_t *>(mask);
    if (sched_getaffinity(0, bytes, set) == 0) {
      int count = CPU_COUNT_S(bytes, set);
      return count > 0 ? count : 1;
    }
  }
  long online = sysconf(_SC_NPROCESSORS_ONLN);
  return online > 0 ? static_cast<int32_t>(online) : 1;
}

/// Reads a small file as text. False when it is not there.
static bool readText(const char *path, char *text, size_t size) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return false;
  size_t length = 0;
  while (length < size - 1) {
    ssize_t got = read(fd, text + length, size - 1 - length);
    if (got <= 0)
      break;
    length += static_cast<size_t>(got);
  }
  close(fd);
  text[length] = 0;
  return true;
}

static int32_t wholeCpus(long long quota, long long period) {
  if (quota <= 0 || period <= 0)
    return INT32_MAX;
  long long cpus = (quota + period - 1) / period;
  return cpus < INT32_MAX ? static_cast<int32_t>(cpus) : INT32_MAX;
}

/// The quota that one folder of either version of cgroups sets.
static int32_t folderQuota(const char *folder) {
  char path[1200], text[64], periodText[64];
  snprintf(path, sizeof path, "%s/cpu.max", folder);
  if (readText(path, text, sizeof text)) {
    char *rest = text;
    long long quota = strtoll(text, &rest, 10);
    if (rest == text) // "max 100000"
      return INT32_MAX;
    return wholeCpus(quota, strtoll(rest, nullptr, 10));
  }
  snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", folder);
  if (!readText(path, text, sizeof text))
    return INT32_MAX;
  snprintf(path, sizeof path, "%s/cpu.cfs_period_us", folder);
  if (!readText(path, periodText, sizeof periodText))
    return INT32_MAX;
  return wholeCpus(strtoll(text, nullptr, 10),
                   strtoll(periodText, nullptr, 10));
}

/// The least quota of `group` and of all above it: each limits the sum of what
/// is below. Inside a container the named folder may be absent, as the mount
/// begins further down; then the mount's own root speaks.
static int32_t leastQuota(const char *root, const char *mount,
                          const char *group) {
  char folder[1100];
  int length = snprintf(folder, sizeof folder, "%s%s", root, mount);
  if (length < 0 || static_cast<size_t>(length) >= sizeof folder)
    return INT32_MAX;
  snprintf(folder + length, sizeof folder - static_cast<size_t>(length), "%s",
           group);
  int32_t least = INT32_MAX;
  for (;;) {
    int32_t quota = folderQuota(folder);
    if (quota < least)
      least = quota;
    char *slash = strrchr(folder, '/');
    if (!slash || slash < folder + length)
      return least;
    *slash = 0;
  }
}

int32_t ferrite::rt::quotaCpus(const char *membership, const char *root) {
  char text[8192];
  if (!readText(membership, text, sizeof text))
    return INT32_MAX;
  int32_t least = INT32_MAX;
  char *save = nullptr;
  // Each line is "number:controllers:path"; version 2 has number 0 and no
  // controllers.
  for (char *line = strtok_r(text, "\n", &save); line;
       line = strtok_r(nullptr, "\n", &save)) {
    char *controllers = strchr(line, ':');
    char *group = controllers ? strchr(controllers + 1, ':') : nullptr;
    if (!group)
      continue;
    *controllers++ = 0;
    *group++ = 0;
    static const char *const mounts[] = {"", "/unified", "/cpu",
                                         "/cpu,cpuacct"};
    bool unified = *controllers == 0;
    bool cpu = false;
    char *next = nullptr;
    for (char *name = strtok_r(controllers, ",", &next); name;
         name = strtok_r(nullptr, ",", &next))
      cpu |= strcmp(name, "cpu") == 0;
    if (!unified && !cpu)
      continue;
    for (int i = unified ? 0 : 2, end = unified ? 2 : 4; i < end; ++i) {
      int32_t quota = leastQuota(root, mounts[i], group);
      if (quota < least)
        least = quota;
    }
  }
  return least;
}

int32_t ferriteDefaultThreads(void) {
  int32_t cpus = affinityCpus();
  int32_t quota = quotaCpus("/proc/self/cgroup", "/sys/fs/cgroup");
  int32_t threads = cpus < quota ? cpus : quota;
  return threads < maxThreads ? threads : maxThreads;
}
