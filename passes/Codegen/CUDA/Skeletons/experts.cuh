// experts.cuh - Slots sorted by the expert that each belongs to
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
#ifndef FERRITE_EXPERTS_CUH
#define FERRITE_EXPERTS_CUH

#include "ferrite/scalar.cuh"

namespace ferrite {

/// ferrite.route, by one block: a thread counts and places the slots of every
/// 256th group, in order of slots.
template <class P, class Expert>
FERRITE_DEVICE void route(const P &p, i64 slots, i64 groups, i64 chunk,
                          Expert expert, i64 *result) {
  i64 *begins = shared<i64>(0);
  auto groupOf = [&](i64 slot) { return position(p, expert(slot), groups); };
  for (i64 g = thread(); g < groups; g += threads()) {
    i64 count = 0;
    for (i64 slot = 0; slot < slots; ++slot)
      count += groupOf(slot) == g;
    begins[g] = count;
  }
  sync();
  if (thread() == 0) {
    i64 place = 0, number = 0;
    for (i64 g = 0; g < groups; ++g) {
      const i64 count = begins[g];
      for (i64 at = 0; at < count; at += chunk, ++number) {
        result[3 * number] = g;
        result[3 * number + 1] = place + at;
        result[3 * number + 2] = minOf(chunk, count - at);
      }
      begins[g] = place;
      place += count;
    }
    for (; number < slots; ++number)
      result[3 * number] = result[3 * number + 1] = result[3 * number + 2] = 0;
  }
  sync();
  for (i64 g = thread(); g < groups; g += threads()) {
    i64 place = begins[g];
    for (i64 slot = 0; slot < slots; ++slot)
      if (groupOf(slot) == g)
        result[3 * slots + place++] = slot;
  }
}

} // namespace ferrite
#endif // FERRITE_EXPERTS_CUH
