//===- Emulation.cpp - Blocks of a kernel as fibers -----------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Runs the functions that fake-nvcc compiled: block after block, the threads of
// a block as fibers that take turns at barriers. FERRITE_FAKE_ORDER=reverse
// lets the last thread of a block go first: what depends on the order of
// threads between barriers gives other results then, and a test that compares
// both finds a barrier that is missing.
//
//===----------------------------------------------------------------------===//
#include "Emulation.h"

#include "emulation/ferrite/device.cuh"

#include <stdint.h>
#include <string>
#include <ucontext.h>
#include <vector>

namespace {

struct Fiber {
  ucontext_t context;
  std::vector<char> stack;
  FerriteMachine machine;
  bool done = false;
  /// What it waits for: the count that its barrier had.
  const int *waitFor = nullptr;
  int generation = 0;
  bool spins = false; ///< it waits for something in memory
};

/// A barrier turns when all came.
struct Barrier {
  int arrived = 0, generation = 0;
};

/// What an engine of its own does.
struct Task {
  void (*run)(const void *);
  std::vector<unsigned char> data;
};

struct Block {
  std::vector<Fiber> fibers;
  ucontext_t scheduler;
  Barrier all;
  std::vector<Barrier> warps;
  Barrier named[16];
  Fiber *current = nullptr;
  void (*kernel)() = nullptr;
  std::vector<unsigned char> exchange;
  std::vector<Task> tasks;
  std::string problem;
  int alive = 0;
};

Block *running;
void yieldFiber() {
  Fiber *fiber = running->current;
  swapcontext(&fiber->context, &running->scheduler);
}

void arrive(Barrier &barrier, int expected, bool waits = true) {
  int generation = barrier.generation;
  if (++barrier.arrived == expected) {
    barrier.arrived = 0;
    ++barrier.generation;
    return;
  }
  if (!waits)
    return;
  Fiber *fiber = running->current;
  fiber->waitFor = &barrier.generation;
  fiber->generation = generation;
  yieldFiber();
}

void barrierOfBlock(FerriteMachine *machine) {
  arrive(running->all, machine->threads);
}
void barrierOfWarp(FerriteMachine *machine) {
  arrive(running->warps[machine->thread / 32], 32);
}
void barrierOfSome(FerriteMachine *, int number, int threads, bool waits) {
  arrive(running->named[number], threads, waits);
}
void yieldOf(FerriteMachine *) {
  running->current->spins = true;
  yieldFiber();
}
void laterOf(FerriteMachine *, void (*run)(const void *), const void *data,
             size_t bytes) {
  const auto *from = static_cast<const unsigned char *>(data);
  running->tasks.push_back({run, {from, from + bytes}});
}
void failOf(FerriteMachine *, const char *why) {
  running->problem = why;
  running->current->done = true;
  yieldFiber(); // for good
}

void fiberMain() {
  running->kernel();
  running->current->done = true;
  --running->alive;
  yieldFiber();
}

} // namespace

std::string emulateLaunch(const EmulatedLaunch &launch) {
  static const char *order = getenv("FERRITE_FAKE_ORDER");
  bool reverse = order && strcmp(order, "reverse") == 0;
  if (launch.threads % 32 != 0)
    return "a block of no whole warps";
  static Block block; // stacks are kept
  running = &block;
  block.kernel = launch.function;
  block.exchange.assign(size_t(launch.threads) * 64, 0);
  constexpr size_t stackBytes = 64 << 10;
  if (block.fibers.size() < size_t(launch.threads))
    block.fibers.resize(launch.threads);
  std::vector<unsigned char> shared(launch.sharedBytes + 1024);
  // Tiles are aligned to 1024 bytes, as in the real header.
  unsigned char *base = reinterpret_cast<unsigned char *>(
      (reinterpret_cast<uintptr_t>(shared.data()) + 1023) / 1024 * 1024);
  for (unsigned b = 0; b < launch.grid; ++b) {
    // What a block finds there is no zero: NaN in every float.
    memset(base, 0xff, launch.sharedBytes);
    static unsigned long long blocks;
    const unsigned long long serial = ++blocks;
    block.all = {};
    block.warps.assign(launch.threads / 32, {});
    for (Barrier &barrier : block.named)
      barrier = {};
    block.alive = launch.threads;
    block.tasks.clear();
    block.problem.clear();
    for (unsigned t = 0; t < launch.threads; ++t) {
      Fiber &fiber = block.fibers[t];
      fiber.stack.resize(stackBytes);
      fiber.done = false;
      fiber.waitFor = nullptr;
      fiber.machine = {
          int(t),
          int(launch.threads),
          b,
          launch.grid,
          serial,
          base,
          barrierOfBlock,
          barrierOfWarp,
          barrierOfSome,
          yieldOf,
          false,
          laterOf,
          failOf,
          reinterpret_cast<unsigned char (*)[64]>(block.exchange.data()),
          launch.parameters};
      getcontext(&fiber.context);
      fiber.context.uc_stack.ss_sp = fiber.stack.data();
      fiber.context.uc_stack.ss_size = stackBytes;
      fiber.context.uc_link = nullptr;
      makecontext(&fiber.context, fiberMain, 0);
    }
    while (block.alive) {
      bool moved = false;
      for (unsigned i = 0; i < launch.threads; ++i) {
        Fiber &fiber = block.fibers[reverse ? launch.threads - 1 - i : i];
        if (fiber.done || (fiber.waitFor && *fiber.waitFor == fiber.generation))
          continue;
        fiber.waitFor = nullptr;
        fiber.spins = fiber.machine.moved = false;
        block.current = &fiber;
        *launch.machine = &fiber.machine;
        swapcontext(&block.scheduler, &fiber.context);
        moved |= !fiber.spins || fiber.machine.moved;
        if (!block.problem.empty())
          return block.problem;
      }
      moved |= !block.tasks.empty();
      std::vector<Task> tasks;
      tasks.swap(block.tasks);
      for (const Task &task : tasks)
        task.run(task.data.data());
      if (!moved)
        return "threads wait at a barrier that others never reach";
    }
  }
  return "";
}
