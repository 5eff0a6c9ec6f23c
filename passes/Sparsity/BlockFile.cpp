//===- BlockFile.cpp - Reads lists of blocks from JSON --------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A file is data from elsewhere: its size is limited, and each number is looked
// at before it is believed.
//
//===----------------------------------------------------------------------===//
#include "passes/Sparsity/BlockLists.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/MemoryBuffer.h"

using namespace ferrite;
using llvm::StringRef;
using llvm::Twine;

static constexpr uint64_t kMostBytes = uint64_t(256) << 20;
static constexpr int64_t kMostColumn = 1 << 24;

static llvm::Error refuse(const Twine &message) {
  return llvm::createStringError(llvm::inconvertibleErrorCode(), message);
}

/// The rows of one head.
static llvm::Expected<BlockRows> readRows(const llvm::json::Value &value,
                                          const Twine &where) {
  const llvm::json::Array *rows = value.getAsArray();
  if (!rows || rows->empty())
    return refuse(where + ": expects an array of rows, each an array of the "
                          "blocks that it keeps");
  BlockRows result;
  for (size_t r = 0; r < rows->size(); ++r) {
    const llvm::json::Array *columns = (*rows)[r].getAsArray();
    if (!columns)
      return refuse(where + ": row " + Twine(r) + " is no array");
    if (columns->empty())
      return refuse(where + ": row " + Twine(r) + " keeps no block");
    std::vector<int32_t> row;
    for (const llvm::json::Value &column : *columns) {
      std::optional<int64_t> number = column.getAsInteger();
      if (!number || *number < 0 || *number >= kMostColumn)
        return refuse(where + ": row " + Twine(r) +
                      " has what is no block of keys");
      if (!row.empty() && *number <= row.back())
        return refuse(where + ": row " + Twine(r) + " has block " +
                      Twine(*number) + " behind block " + Twine(row.back()) +
                      ": they ascend");
      row.push_back(*number);
    }
    result.push_back(std::move(row));
  }
  return result;
}

static llvm::Expected<BlockFile> readFile(const llvm::json::Value &json) {
  const llvm::json::Object *file = json.getAsObject();
  const llvm::json::Object *layers = file ? file->getObject("layers") : nullptr;
  if (!layers || layers->empty())
    return refuse("expects an object with 'layers', an object by layer");
  BlockFile result;
  for (const auto &[key, value] : *file)
    if (key != "layers" && key != "block")
      return refuse("'" + StringRef(key) + "' means nothing");
  if (const llvm::json::Value *block = file->get("block")) {
    std::optional<int64_t> size = block->getAsInteger();
    if (!size || *size <= 0 || *size % 16 != 0 || *size > 512)
      return refuse("'block' is a multiple of 16 up to 512");
    result.block = *size;
  }
  for (const auto &[name, value] : *layers) {
    std::string where = "layer " + StringRef(name).str();
    const llvm::json::Object *heads = value.getAsObject();
    if (!heads || heads->empty())
      return refuse(where + ": expects an object by head");
    BlockFile::Layer &layer = result.layers[StringRef(name).str()];
    for (const auto &[head, list] : *heads) {
      std::string at = where + ", head " + StringRef(head).str();
      int64_t number = 0;
      bool isRest = StringRef(head) == "*";
      if (!isRest && (StringRef(head).getAsInteger(10, number) || number < 0))
        return refuse(at + ": expects the number of a head, or '*'");
      llvm::Expected<BlockRows> rows = readRows(list, at);
      if (!rows)
        return rows.takeError();
      (isRest ? layer.rest : layer.heads[number]) = std::move(*rows);
      layer.hasRest |= isRest;
    }
  }
  return result;
}

llvm::Expected<BlockFile> BlockFile::read(StringRef path) {
  auto fail = [&](const Twine &why) {
    return refuse("--sparsify: '" + path + "': " + why);
  };
  uint64_t bytes = 0;
  if (std::error_code error = llvm::sys::fs::file_size(path, bytes))
    return fail("cannot open it: " + error.message());
  if (bytes > kMostBytes)
    return fail("it has " + Twine(bytes >> 20) +
                " MiB; lists have 256 at most");
  auto buffer = llvm::MemoryBuffer::getFile(path, /*IsText=*/true);
  if (!buffer)
    return fail("cannot open it: " + buffer.getError().message());
  llvm::Expected<llvm::json::Value> json =
      llvm::json::parse((*buffer)->getBuffer());
  if (!json)
    return fail("it is no JSON: " + llvm::toString(json.takeError()));
  llvm::Expected<BlockFile> file = readFile(*json);
  if (!file)
    return fail(llvm::toString(file.takeError()));
  return file;
}
