// ring.cuh - Places of shared memory that are filled and read in turn
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
#ifndef FERRITE_RING_CUH
#define FERRITE_RING_CUH

#include "ferrite/warpgroup.cuh"

namespace ferrite {

/// A place of a ring, and how often it was gone round.
template <int STAGES>
struct RingPlace {
  int stage = 0;
  u32 parity = 0;
  FERRITE_DEVICE void advance() {
    if (++stage == STAGES) {
      stage = 0;
      parity ^= 1;
    }
  }
};

} // namespace ferrite
#endif // FERRITE_RING_CUH
