// rows.cuh - Norms and softmax: a warp has a row
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Rows are read again in each pass: they are in L1 then. A lane has every 32nd
// element, so sums have one order, whatever the grid.
#ifndef FERRITE_ROWS_CUH
#define FERRITE_ROWS_CUH

#include "ferrite/scalar.cuh"

namespace ferrite {

/// write(d, (x(d) - mean) / sqrt(variance + epsilon)); no mean when not
/// `centered`. All reads of a row come before its first write.
template <class T, class Read, class Write>
FERRITE_DEVICE void normRow(i64 size, double epsilon, bool centered, Read x,
                            Write write) {
  T mean = 0, squares = 0;
  if (centered) {
    for (i64 d = lane(); d < size; d += 32)
      mean += x(d);
    mean = combineWarp(mean, Sum()) / (T)size;
  }
  for (i64 d = lane(); d < size; d += 32) {
    T c = x(d) - mean;
    squares = fma(c, c, squares);
  }
  squares = combineWarp(squares, Sum());
  T scale = (T)1 / sqrt(squares / (T)size + (T)epsilon);
  for (i64 d = lane(); d < size; d += 32)
    write(d, (x(d) - mean) * scale);
}

template <class T, class Read, class Write>
FERRITE_DEVICE void softmaxRow(i64 size, Read x, Write write) {
  T highest = -(T)FERRITE_INFINITY, total = 0;
  for (i64 d = lane(); d < size; d += 32)
    highest = maximum(highest, x(d));
  highest = combineWarp(highest, Largest());
  for (i64 d = lane(); d < size; d += 32)
    total += exp(x(d) - highest);
  total = combineWarp(total, Sum());
  for (i64 d = lane(); d < size; d += 32)
    write(d, exp(x(d) - highest) / total);
}

} // namespace ferrite
#endif // FERRITE_ROWS_CUH
