//===- Futex.h - Sleep until a word changes ---------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_RUNTIME_CORE_FUTEX_H
#define FERRITE_RUNTIME_CORE_FUTEX_H

#include <atomic>
#include <linux/futex.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

namespace ferrite::rt {

static_assert(sizeof(std::atomic<uint32_t>) == 4, "a futex word");

/// Sleeps while `word` is `value`, for less than a second if `nanoseconds` is
/// not 0. May return early: the caller looks again.
inline void futexWait(std::atomic<uint32_t> &word, uint32_t value,
                      int32_t nanoseconds = 0) {
  timespec timeout = {0, nanoseconds};
  syscall(SYS_futex, reinterpret_cast<uint32_t *>(&word), FUTEX_WAIT_PRIVATE,
          value, nanoseconds ? &timeout : nullptr, nullptr, 0);
}

/// Wakes the one thread that sleeps on `word`, if it does.
inline void futexWake(std::atomic<uint32_t> &word) {
  syscall(SYS_futex, reinterpret_cast<uint32_t *>(&word), FUTEX_WAKE_PRIVATE, 1,
          nullptr, nullptr, 0);
}

/// Tells the core that this is a loop that waits.
inline void cpuRelax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb" ::: "memory");
#endif
}

} // namespace ferrite::rt

#endif // FERRITE_RUNTIME_CORE_FUTEX_H
