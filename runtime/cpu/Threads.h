//===- Threads.h - How many threads this process may use --------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_RUNTIME_CPU_THREADS_H
#define FERRITE_RUNTIME_CPU_THREADS_H

#include <stdint.h>

namespace ferrite::rt {

/// The most threads of a session, and the members of the team.
constexpr int32_t maxThreads = 1024;

/// The CPUs in the affinity mask of the calling thread; at least 1.
int32_t affinityCpus();

/// The CPU quota of this process's cgroups in whole CPUs, rounded up, or
/// INT32_MAX without one. `membership` is /proc/self/cgroup and `root`
/// /sys/fs/cgroup, except in tests.
int32_t quotaCpus(const char *membership, const char *root);

} // namespace ferrite::rt

#endif // FERRITE_RUNTIME_CPU_THREADS_H
