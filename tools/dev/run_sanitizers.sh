#!/usr/bin/env bash
# The runtime and the program under AddressSanitizer, UndefinedBehaviorSanitizer
# and ThreadSanitizer: builds both trees without the compiler (the packaged LLVM is
# not instrumented) and runs their tests.
set -uo pipefail
cd "$(dirname "$0")/../.."
status=0
for kind in address,undefined thread; do
  tree=build-${kind%%,*}
  cmake -S . -B "$tree" -G Ninja -DCMAKE_C_COMPILER=clang-22 -DCMAKE_CXX_COMPILER=clang++-22 \
    -DCMAKE_BUILD_TYPE=Release -DFERRITE_ENABLE_COMPILER=OFF -DFERRITE_SANITIZE="$kind" >/dev/null &&
    ninja -C "$tree" >/dev/null || { echo "the $kind tree does not build"; exit 1; }
  for program in "$tree"/bin/ferrite-*-tests; do
    "$program" --gtest_brief=1 || status=1
  done
done
exit $status
