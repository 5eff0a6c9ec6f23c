//===- Report.cpp - What was compiled, for people -------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "Report.h"
#include "CommandLine.h"
#include "Error.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <map>

namespace ferrite::cli {

using Json = nlohmann::ordered_json;

// Tolerant readers: a report with a hole is better than none.
static std::string text(const Json &object, const char *key) {
  auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>()
                                                     : "";
}

static double number(const Json &object, const char *key) {
  auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<double>()
                                                     : 0.0;
}

static const Json &list(const Json &object, const char *key) {
  static const Json empty = Json::array();
  auto found = object.find(key);
  return found != object.end() && found->is_array() ? *found : empty;
}

/// Nodes by reason, equal ones together: 12 layers fail for one reason.
using Reasons = std::map<std::string, std::vector<std::string>>;

static void printReasons(const char *indent, const Reasons &reasons) {
  for (const auto &[reason, nodes] : reasons)
    printf("%s%s%s: %s\n", indent, nodes.front().c_str(),
           nodes.size() > 1 ? format(" and %zu more", nodes.size() - 1).c_str()
                            : "",
           reason.c_str());
}

void printFusions(const Json &fusions) {
  for (const Json &fusion : fusions) {
    if (!fusion.is_object())
      continue;
    double fused = number(fusion, "fused");
    double candidates = number(fusion, "candidates");
    printf("  %-22s %4.0f of %.0f\n", text(fusion, "kind").c_str(), fused,
           candidates);
    Reasons reasons;
    for (const Json &record : list(fusion, "records"))
      if (record.is_object() && record.value("fused", true) == false)
        reasons[text(record, "reason")].push_back(text(record, "node"));
    printReasons("    not ", reasons);
  }
}

/// What is part of no named op, by concept and reason.
static void printConcepts(const Json &concepts) {
  std::map<std::string, Reasons> kinds;
  for (const Json &row : concepts)
    if (row.is_object() && row.value("matched", true) == false)
      kinds[text(row, "concept") + " in " + text(row, "into")]
           [text(row, "reason")]
               .push_back(text(row, "nodes"));
  for (const auto &[kind, reasons] : kinds) {
    printf("  %s\n", kind.c_str());
    printReasons("    ", reasons);
  }
}

void printNotes(const Json &notes) {
  Reasons reasons;
  for (const Json &note : notes)
    if (note.is_object())
      reasons[text(note, "reason")].push_back(text(note, "node"));
  printReasons("  ", reasons);
}

void printKernels(const Json &kernels) {
  // Kernels that differ in shape alone have one description.
  std::map<std::string, std::pair<double, double>> rows;
  for (const Json &kernel : kernels) {
    if (!kernel.is_object())
      continue;
    std::string what = text(kernel, "kernel");
    auto &row = rows[what.empty() ? text(kernel, "name") : what];
    row.first += number(kernel, "launches");
    row.second += 1;
  }
  std::vector<std::pair<std::string, std::pair<double, double>>> sorted(
      rows.begin(), rows.end());
  std::stable_sort(sorted.begin(), sorted.end(), [](auto &a, auto &b) {
    return a.second.first > b.second.first;
  });
  for (const auto &[what, counts] : sorted)
    printf("  %4.0f x %s%s\n", counts.first, what.c_str(),
           counts.second > 1 ? format(" (%.0f variants)", counts.second).c_str()
                             : "");
}

static void printArena(const Json &arena) {
  for (const Json &row : arena) {
    if (!row.is_object())
      continue;
    std::string shape;
    auto found = row.find("shape");
    if (found != row.end() && found->is_object())
      for (const auto &[name, size] : found->items())
        shape += (shape.empty() ? "" : ", ") + name + " " + size.dump();
    printf("  %s%s%s (lower bound %s, without sharing %s)\n", shape.c_str(),
           shape.empty() ? "" : ": ",
           bytesString(number(row, "planned")).c_str(),
           bytesString(number(row, "lower_bound")).c_str(),
           bytesString(number(row, "naive")).c_str());
  }
}

static void printSection(const Json &summary, const char *title,
                         const char *key, void (*print)(const Json &)) {
  const Json &rows = list(summary, key);
  if (rows.empty())
    return;
  printf("%s\n", title);
  print(rows);
}

void printArenas(const Json &summary) {
  const char *title = "memory for intermediate results";
  const Json &entries = list(summary, "entries");
  if (entries.size() < 2)
    return printSection(summary, title, "arena", printArena);
  for (const Json &entry : entries) {
    if (!entry.is_object())
      continue;
    printf("%s of entry %s\n", title, text(entry, "name").c_str());
    printArena(list(entry, "arena"));
  }
}

void printLayers(const Json &layers) {
  double wide = 0, stored = 0;
  printf("%-14s %9s %10s %10s  weight\n", "  format", "error", "stored",
         "before");
  for (const Json &layer : layers) {
    if (!layer.is_object())
      continue;
    wide += number(layer, "wide_bytes");
    stored += number(layer, "stored_bytes");
    printf("  %-12s %9.5f %10s %10s  %s\n", text(layer, "format").c_str(),
           number(layer, "error"),
           bytesString(number(layer, "stored_bytes")).c_str(),
           bytesString(number(layer, "wide_bytes")).c_str(),
           text(layer, "weight").c_str());
    if (std::string why = text(layer, "reason"); !why.empty())
      printf("  %-12s %s\n", "", why.c_str());
  }
  printf("  %s of weights became %s: %s less to read for a token\n",
         bytesString(wide).c_str(), bytesString(stored).c_str(),
         bytesString(wide - stored).c_str());
}

void printCompileReport(const Json &summary) {
  std::string levels, phases;
  for (const Json &level : list(summary, "levels"))
    if (level.is_string())
      levels += (levels.empty() ? ", for " : ", ") + level.get<std::string>();
  for (const Json &phase : list(summary, "phases"))
    if (phase.is_object())
      phases += format("%s%s %.2f", phases.empty() ? ": " : ", ",
                       text(phase, "name").c_str(), number(phase, "seconds"));
  if (summary.contains("output"))
    printf("%s: %s, weights %s%s%s\n", text(summary, "output").c_str(),
           bytesString(number(summary, "artifact_bytes")).c_str(),
           bytesString(number(summary, "weights_bytes")).c_str(),
           text(summary, "weights_file").empty()
               ? ""
               : (" in " + text(summary, "weights_file")).c_str(),
           levels.c_str());
  if (summary.contains("onnx_nodes"))
    printf("%.0f ONNX nodes became %.0f launches\n",
           number(summary, "onnx_nodes"), number(summary, "launches"));
  printSection(summary, "fused", "fusions", printFusions);
  printSection(summary, "left over", "concepts", printConcepts);
  printSection(summary, "quantized", "layers", printLayers);
  printSection(summary, "noted", "notes", printNotes);
  printSection(summary, "kernels", "kernels", printKernels);
  printArenas(summary);
  if (summary.contains("seconds"))
    printf("%.2f s%s\n", number(summary, "seconds"), phases.c_str());
}

} // namespace ferrite::cli
