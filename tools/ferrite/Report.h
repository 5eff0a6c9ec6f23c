//===- Report.h - What was compiled, for people -----------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Prints parts of the JSON that include/ferrite/compiler.h describes. A key
// that is absent is a line that is not printed.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_TOOLS_FERRITE_REPORT_H
#define FERRITE_TOOLS_FERRITE_REPORT_H

#include <nlohmann/json_fwd.hpp>

namespace ferrite::cli {

/// The whole summary of `ferrite compile`.
void printCompileReport(const nlohmann::ordered_json &summary);

/// Its parts, which `ferrite inspect` prints from the description.
void printFusions(const nlohmann::ordered_json &fusions);
void printNotes(const nlohmann::ordered_json &notes);
void printKernels(const nlohmann::ordered_json &kernels);
/// What --quantize did to each weight.
void printLayers(const nlohmann::ordered_json &layers);
/// Of each entry, by name where there are several.
void printArenas(const nlohmann::ordered_json &summary);

} // namespace ferrite::cli
#endif // FERRITE_TOOLS_FERRITE_REPORT_H
