//===- DiagnosticSink.h - Diagnostics to the caller's function --*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_DRIVER_DIAGNOSTICSINK_H
#define FERRITE_LIB_DRIVER_DIAGNOSTICSINK_H

#include "ferrite/compiler.h"
#include "lib/Driver/RemarkLog.h"

#include "mlir/IR/Diagnostics.h"
#include "llvm/Support/JSON.h"

namespace ferrite {

/// Hands diagnostics to the caller as lines, and counts what they mean.
class DiagnosticSink {
public:
  DiagnosticSink(mlir::MLIRContext &context, FerriteDiagnostic function,
                 void *data)
      : handler(&context,
                [this](mlir::Diagnostic &diagnostic) {
                  report(diagnostic);
                  return mlir::success();
                }),
        function(function), data(data) {}

  void send(FerriteSeverity severity, const std::string &text) {
    if (function)
      function(data, severity, text.c_str());
  }
  bool sawBug = false;
  llvm::json::Array problems;

private:
  void report(mlir::Diagnostic &diagnostic) {
    std::string text = diagnostic.str();
    // Paths need not be UTF-8; what reads us takes nothing else.
    if (!llvm::json::isUTF8(text))
      text = llvm::json::fixUTF8(text);
    // One line each, whoever wrote it.
    for (char &c : text)
      c = c == '\n' ? ' ' : c;
    sawBug |= llvm::StringRef(text).starts_with("bug:");
    std::string nodes = nodeNames(diagnostic.getLocation());
    if (!nodes.empty() && !llvm::StringRef(text).contains(nodes))
      text = "node '" + nodes + "': " + text;
    static constexpr FerriteSeverity severities[] = {
        FERRITE_SEVERITY_NOTE, FERRITE_SEVERITY_WARNING, FERRITE_SEVERITY_ERROR,
        FERRITE_SEVERITY_REMARK};
    FerriteSeverity severity =
        severities[static_cast<int>(diagnostic.getSeverity())];
    if (severity == FERRITE_SEVERITY_ERROR)
      problems.push_back(
          llvm::json::Object{{"node", nodes}, {"message", text}});
    // Remarks go to the report.
    if (severity != FERRITE_SEVERITY_REMARK)
      send(severity, text);
    for (mlir::Diagnostic &note : diagnostic.getNotes())
      report(note);
  }

  mlir::ScopedDiagnosticHandler handler;
  FerriteDiagnostic function;
  void *data;
};

} // namespace ferrite
#endif // FERRITE_LIB_DRIVER_DIAGNOSTICSINK_H
