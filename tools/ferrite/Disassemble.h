//===- Disassemble.h - The machine code of one kernel -----------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_TOOLS_FERRITE_DISASSEMBLE_H
#define FERRITE_TOOLS_FERRITE_DISASSEMBLE_H

#include "ferrite/abi.h"

#include <string>

namespace ferrite::cli {

/// Prints the code of `function`, which lies in the loaded library `path`, with
/// the objdump that is installed. Throws Error when there is none, or when the
/// library was stripped of the symbol that says where the code ends.
void disassemble(const std::string &path, FerriteKernelFn function);

} // namespace ferrite::cli
#endif // FERRITE_TOOLS_FERRITE_DISASSEMBLE_H
