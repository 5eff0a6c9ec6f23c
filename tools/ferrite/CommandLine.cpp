//===- CommandLine.cpp - What commands share of parsing -------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "CommandLine.h"
#include "Error.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cctype>
#include <cstring>

namespace ferrite::cli {

//===----------------------------------------------------------------------===//
// Names
//===----------------------------------------------------------------------===//

/// Insertions, deletions, changes and swaps of neighbours between two words.
static size_t editDistance(const std::string &a, const std::string &b) {
  std::vector<std::vector<size_t>> d(a.size() + 1,
                                     std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i)
    d[i][0] = i;
  for (size_t j = 0; j <= b.size(); ++j)
    d[0][j] = j;
  for (size_t i = 1; i <= a.size(); ++i)
    for (size_t j = 1; j <= b.size(); ++j) {
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1,
                          d[i - 1][j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
    }
  return d[a.size()][b.size()];
}

std::string suggestion(const std::string &word,
                       const std::vector<std::string> &known) {
  const std::string *best = nullptr;
  // A third of the letters may differ: beyond that it is another word.
  size_t least = std::min(word.size(), size_t(64)) / 3 + 1;
  for (const std::string &candidate : known) {
    if (word.size() > 64)
      break;
    size_t distance = editDistance(word, candidate);
    if (distance < least ||
        (!best && distance == least && least < 3 && word.size() > 2)) {
      least = distance;
      best = &candidate;
    }
  }
  return best ? "; did you mean '" + *best + "'?" : "";
}

static void checkOption(const CLI::App &command, const std::string &argument) {
  std::string name = argument.substr(0, argument.find('='));
  bool isLong = name.compare(0, 2, "--") == 0;
  if (!isLong)
    name = name.substr(0, 2); // -oFILE
  std::vector<std::string> known;
  for (const CLI::Option *option : command.get_options()) {
    for (const std::string &word : option->get_lnames())
      known.push_back("--" + word);
    for (const std::string &word : option->get_snames())
      known.push_back("-" + word);
  }
  if (std::find(known.begin(), known.end(), name) != known.end())
    return;
  bool isCommand = command.get_parent();
  throw Error(format("unknown option '%s'%s%s%s", name.c_str(),
                     isCommand ? " of " : "", command.get_name().c_str(),
                     suggestion(name, known).c_str()));
}

void checkNames(const CLI::App &app, int argc, char **argv) {
  const CLI::App *command = &app;
  for (int i = 1; i < argc; ++i) {
    std::string argument = argv[i];
    if (argument == "--")
      return;
    if (argument.size() > 1 && argument[0] == '-' &&
        !isdigit(static_cast<unsigned char>(argument[1])) &&
        argument[1] != '.') {
      checkOption(*command, argument);
    } else if (command == &app) {
      std::vector<std::string> known;
      for (const CLI::App *each : app.get_subcommands(nullptr)) {
        known.push_back(each->get_name());
        if (argument == known.back())
          command = each;
      }
      if (command == &app)
        throw Error(format("unknown command '%s'%s", argument.c_str(),
                           suggestion(argument, known).c_str()));
    }
  }
  if (command == &app && argc < 2)
    throw Error("which command? See ferrite --help");
}

std::string quotedList(const std::vector<std::string> &words) {
  std::string result;
  for (size_t i = 0; i < words.size(); ++i) {
    if (i == 20 && words.size() > 21)
      return result + format(" and %zu more", words.size() - i);
    result += (i == 0                  ? "'"
               : i + 1 == words.size() ? " and '"
                                       : ", '") +
              words[i] + "'";
  }
  return words.empty() ? "nothing" : result;
}

//===----------------------------------------------------------------------===//
// Values
//===----------------------------------------------------------------------===//

std::vector<std::string> splitList(const std::string &text, char separator) {
  std::vector<std::string> result;
  for (size_t begin = 0; begin <= text.size();) {
    size_t end = std::min(text.find(separator, begin), text.size());
    if (end > begin)
      result.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return result;
}

/// A decimal number of 0 or more; -1 for anything else.
static int64_t parseSize(const std::string &text) {
  if (text.empty())
    return -1;
  int64_t value = 0;
  for (char c : text)
    if (c < '0' || c > '9' || __builtin_mul_overflow(value, 10, &value) ||
        __builtin_add_overflow(value, c - '0', &value))
      return -1;
  return value;
}

NamedShape parseNamedShape(const std::string &text) {
  // Names of tensors may have '=' in them; shapes have none.
  size_t equal = text.rfind('=');
  NamedShape result;
  bool good = equal != std::string::npos && equal > 0;
  if (good) {
    result.name = text.substr(0, equal);
    std::string shape = text.substr(equal + 1);
    for (const std::string &part : splitList(shape, 'x')) {
      result.sizes.push_back(parseSize(part));
      good &= result.sizes.back() >= 0;
    }
    good &= shape == "scalar" ||
            size_t(std::count(shape.begin(), shape.end(), 'x')) + 1 ==
                result.sizes.size();
    if (shape == "scalar")
      good = true, result.sizes.clear();
  }
  if (!good)
    throw Error(
        format("--shape: '%s' is not of the form NAME=2x128", text.c_str()));
  return result;
}

std::vector<FerriteDimBounds> parseDims(const std::vector<std::string> &texts,
                                        std::vector<std::string> &names) {
  std::vector<FerriteDimBounds> result;
  names.reserve(names.size() + texts.size()); // c_str() stays where it is
  for (const std::string &text : texts) {
    size_t equal = text.rfind('=');
    std::string range =
        equal == std::string::npos ? "" : text.substr(equal + 1);
    size_t dots = range.find("..");
    size_t width = 2;
    if (dots == std::string::npos)
      dots = range.find(':'), width = 1;
    FerriteDimBounds bounds = {};
    bounds.min = parseSize(range.substr(0, dots));
    bounds.max = bounds.min;
    if (dots != std::string::npos)
      bounds.max = dots + width == range.size()
                       ? INT64_MAX
                       : parseSize(range.substr(dots + width));
    if (equal == std::string::npos || equal == 0 || bounds.min < 0 ||
        bounds.max < 0)
      throw Error(
          format("--dim: '%s' is not of the form NAME=1..512, NAME=8 or "
                 "NAME=1..",
                 text.c_str()));
    if (bounds.min < 1 || bounds.max < bounds.min)
      throw Error(
          format("--dim: '%s' allows no size of 1 or more", text.c_str()));
    names.push_back(text.substr(0, equal));
    bounds.name = names.back().c_str();
    result.push_back(bounds);
  }
  return result;
}

std::string bytesString(double bytes) {
  const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  for (; bytes >= 1024 && unit < 4; ++unit)
    bytes /= 1024;
  return format(unit ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
}

} // namespace ferrite::cli
