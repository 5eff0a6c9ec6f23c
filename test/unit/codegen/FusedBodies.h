//===- FusedBodies.h - Bodies and cases of the fused tests ------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_TEST_UNIT_CODEGEN_FUSEDBODIES_H
#define FERRITE_TEST_UNIT_CODEGEN_FUSEDBODIES_H

#include "test/unit/codegen/FusedCase.h"

namespace ferrite::test {

inline std::string unary(const std::string &in, const std::string &ops,
                         const std::string &out) {
  return "^bb0(%a: " + in + "):\n" + ops + "\n\"test.yield\"(%r) : (" + out +
         ") -> ()";
}

inline std::string identity(const std::string &type) {
  return "^bb0(%a: " + type + "):\n\"test.yield\"(%a) : (" + type + ") -> ()";
}

inline const std::string addBody = R"(^bb0(%a: f32, %b: f32):
  %r = arith.addf %a, %b : f32
  "test.yield"(%r) : (f32) -> ())";

inline Point sum(const Point &in, const std::vector<int64_t> &) {
  return {double(float(in[0] + in[1]))};
}
inline Point first(const Point &in, const std::vector<int64_t> &) {
  return {in[0]};
}

inline FusedCase copyCase(const std::string &type, std::vector<unsigned> from,
                          std::vector<int64_t> sizes) {
  FusedCase c;
  c.body = identity(type == "bool" ? "i1" : type == "u8" ? "i8" : type);
  c.inputs = {{type, from}};
  std::vector<unsigned> to;
  for (unsigned d = 0; d < sizes.size(); ++d)
    to.push_back(d);
  c.results = {{type, to}};
  c.sizes = sizes;
  c.point = first;
  return c;
}

inline FusedCase sumCase(std::vector<int64_t> sizes,
                         std::vector<bool> reduction) {
  FusedCase c;
  c.body = identity("f32");
  std::vector<unsigned> all, kept;
  for (unsigned d = 0; d < sizes.size(); ++d) {
    all.push_back(d);
    if (!reduction[d])
      kept.push_back(d);
  }
  c.inputs = {{"f32", all}};
  c.results = {{"f32", kept}};
  c.sizes = sizes;
  c.reduction = reduction;
  c.combines = {cpu::Combine::Sum};
  c.point = first;
  c.tolerance = 2e-5;
  return c;
}

} // namespace ferrite::test
#endif // FERRITE_TEST_UNIT_CODEGEN_FUSEDBODIES_H
