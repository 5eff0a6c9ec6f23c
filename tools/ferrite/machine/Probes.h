//===- Probes.h - What this machine can do at most --------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Short loops that do nothing but multiply-adds, or nothing but reads. `tune`
// writes their results into a profile; `bench --profile` and the kernel
// benchmarks run one beside each figure, since clocks and neighbours change
// within seconds.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_TOOLS_FERRITE_MACHINE_PROBES_H
#define FERRITE_TOOLS_FERRITE_MACHINE_PROBES_H

#include <cstddef>
#include <cstdint>
#include <functional>

namespace ferrite::machine {

/// Seconds since some start, and seconds that this thread has run: a neighbour
/// that takes the core is not counted in the second.
double wallSeconds();
double threadSeconds();

/// A multiply-add instruction. `name` is its key in a profile.
struct Instruction {
  const char *name;
  uint64_t features; ///< FERRITE_CPU_ bits that it needs
  int operations;    ///< a multiply-add is two
  void (*run)(long times, const void *zeros); ///< kPerRun instructions
  static constexpr long kPerRun = 1200;
};

/// All that we know on this architecture; the machine may lack some.
struct InstructionList {
  const Instruction *first;
  size_t count;
  const Instruction *begin() const { return first; }
  const Instruction *end() const { return first + count; }
};
InstructionList instructions();
/// Null when there is none of that name or this machine cannot run it.
const Instruction *findInstruction(const char *name);

/// Operations a second of one thread while it runs, the best of some trials of
/// about `seconds` together.
double peak(const Instruction &instruction, double seconds = 0.005);

/// The same of `threads` at once, together, by the clock on the wall.
double peakTogether(const Instruction &instruction, int threads,
                    double seconds = 0.1);

/// Runs `work(thread)` in all threads at once, some times; the shortest time
/// from the first start to the last end. Threads wait for each other by
/// spinning, as the workers of a run do. The caller is thread 0.
double together(int threads, double seconds,
                const std::function<void(int thread)> &work);

/// Bytes a second that `threads` read, each its own part of `bytes`, one stream
/// each, over and over: the rate of the level of caches that holds the parts.
/// `data` is at least `bytes` long and 64-byte aligned.
double readRate(const void *data, size_t bytes, int threads,
                double seconds = 0.1);

/// Memory for readRate, in huge pages where the system has some, all written;
/// null when there is none.
class Buffer {
public:
  explicit Buffer(size_t bytes);
  ~Buffer();
  Buffer(const Buffer &) = delete;
  Buffer &operator=(const Buffer &) = delete;
  char *data() const { return memory; }

private:
  char *memory = nullptr;
  size_t bytes;
};

} // namespace ferrite::machine
#endif // FERRITE_TOOLS_FERRITE_MACHINE_PROBES_H
