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
};

/// A barrier turns when all came.
struct Barrier {
  int arrived = 0, generation = 0;
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
  int alive = 0;
};

Block *running;
void yieldFiber() {
  Fiber *fiber = running->current;
  swapcontext(&fiber->context, &running->scheduler);
}

void arrive(Barrier &barrier, int expected) {
  int generation = barrier.generation;
  if (++barrier.arrived == expected) {
    barrier.arrived = 0;
    ++barrier.generation;
    return;
  }
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
void barrierOfSome(FerriteMachine *, int number, int threads) {
  arrive(running->named[number], threads);
}
void yieldOf(FerriteMachine *) { yieldFiber(); }

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
    block.all = {};
    block.warps.assign(launch.threads / 32, {});
    for (Barrier &barrier : block.named)
      barrier = {};
    block.alive = launch.threads;
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
          base,
          barrierOfBlock,
          barrierOfWarp,
          barrierOfSome,
          yieldOf,
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
        moved = true;
        block.current = &fiber;
        *launch.machine = &fiber.machine;
        swapcontext(&block.scheduler, &fiber.context);
      }
      if (!moved)
        return "threads wait at a barrier that others never reach";
    }
  }
  return "";
}
