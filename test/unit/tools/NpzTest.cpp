//===- NpzTest.cpp - Archives of arrays, honest and hostile ---------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "npz/Npz.h"
#include "Error.h"
#include "Program.h"

#include <cmath>
#include <cstring>
#include <zip.h>

using namespace ferrite::cli;
using namespace ferrite::test;

namespace {
class NpzTest : public FolderTest {
protected:
  /// Makes an archive of files with these contents, as libzip would.
  std::string
  makeZip(const std::vector<std::pair<std::string, std::string>> &files,
          int method) {
    std::string archive = path("made.npz");
    int code = 0;
    zip_t *zip = zip_open(archive.c_str(), ZIP_CREATE | ZIP_TRUNCATE, &code);
    for (const auto &[name, content] : files) {
      zip_source_t *source =
          zip_source_buffer(zip, content.data(), content.size(), 0);
      auto index = zip_file_add(zip, name.c_str(), source, 0);
      EXPECT_GE(index, 0) << zip_strerror(zip);
      EXPECT_EQ(zip_set_file_compression(zip, index, method, 0), 0);
    }
    EXPECT_EQ(zip_close(zip), 0) << zip_strerror(zip);
    return archive;
  }

  std::string readMessage(const std::string &archive, const char *name) {
    try {
      NpzReader reader(archive);
      reader.read(name);
    } catch (const Error &error) {
      EXPECT_NE(std::string(error.what()).find(archive), std::string::npos)
          << "the message must name the file: " << error.what();
      return error.what();
    }
    return "";
  }
};
} // namespace

static std::string floatArray(const std::vector<float> &values) {
  int64_t shape[] = {int64_t(values.size())};
  return makeNpyHeader(FERRITE_F32, 1, shape) +
         std::string(reinterpret_cast<const char *>(values.data()),
                     4 * values.size());
}

TEST_F(NpzTest, what_is_written_comes_back) {
  float numbers[] = {1.5f, -0.0f, NAN, INFINITY, 1e-45f, 6};
  int64_t ids[] = {INT64_MIN, -1, INT64_MAX};
  uint8_t scalar = 1;
  std::vector<FerriteTensor> tensors = {
      {numbers,
       sizeof numbers,
       "a/b.c \xc3\xa4",
       FERRITE_F32,
       2,
       {2, 3},
       FERRITE_ON_HOST,
       0},
      {ids, sizeof ids, "ids", FERRITE_I64, 1, {3}, FERRITE_ON_HOST, 0},
      {&scalar, 1, "flag", FERRITE_BOOL, 0, {}, FERRITE_ON_HOST, 0},
      {nullptr, 0, "none", FERRITE_F16, 2, {0, 7}, FERRITE_ON_HOST, 0}};
  writeNpz(path("x.npz"), tensors);
  NpzReader reader(path("x.npz"));
  ASSERT_EQ(reader.names().size(), 4u);
  for (size_t i = 0; i < tensors.size(); ++i) {
    EXPECT_EQ(reader.names()[i], tensors[i].name);
    Array array = reader.read(tensors[i].name);
    EXPECT_EQ(array.dtype, tensors[i].dtype);
    ASSERT_EQ(array.rank, tensors[i].rank);
    EXPECT_TRUE(
        std::equal(array.shape, array.shape + array.rank, tensors[i].shape));
    ASSERT_EQ(array.bytes, tensors[i].bytes);
    if (array.bytes) {
      EXPECT_EQ(memcmp(array.data.get(), tensors[i].data, array.bytes), 0);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(array.data.get()) % 64, 0u);
    }
  }
}

// Files are compared and cached by content: no clock may be in them.
TEST_F(NpzTest, equal_arrays_make_equal_files) {
  float number = 3;
  std::vector<FerriteTensor> tensors = {
      {&number, 4, "x", FERRITE_F32, 1, {1}, FERRITE_ON_HOST, 0}};
  writeNpz(path("a.npz"), tensors);
  std::string first = readFile(path("a.npz"));
  sleep(3); // beyond the two seconds that zip's clock counts in
  writeNpz(path("a.npz"), tensors);
  EXPECT_EQ(readFile(path("a.npz")), first);
}

// A file that NumPy itself has written, deflated.
TEST_F(NpzTest, numpys_own_file) {
  NpzReader reader(NUMPY_FILE);
  EXPECT_TRUE(reader.contains("in.input_ids"));
  Array ids = reader.read("in.input_ids");
  EXPECT_EQ(ids.dtype, FERRITE_I64);
  ASSERT_EQ(ids.rank, 2);
  EXPECT_EQ(ids.shape[0], 1);
  EXPECT_EQ(ids.shape[1], 9);
  Array mask = reader.read("in.attention_mask");
  for (int i = 0; i < 9; ++i)
    EXPECT_EQ(static_cast<int64_t *>(mask.data.get())[i], 1);
}

TEST_F(NpzTest, entries_that_are_no_arrays_are_skipped) {
  std::string archive = makeZip(
      {{"README", "hello"}, {".npy", "x"}, {"x.npy", floatArray({1, 2})}},
      ZIP_CM_STORE);
  NpzReader reader(archive);
  EXPECT_EQ(reader.names(), std::vector<std::string>{"x"});
  EXPECT_EQ(static_cast<float *>(reader.read("x").data.get())[1], 2);
}

TEST_F(NpzTest, unreadable_files) {
  writeFile(path("text.npz"), "this is not a zip archive");
  writeFile(path("empty.npz"), "");
  EXPECT_NE(readMessage(path("missing.npz"), "x").find("No such file"),
            std::string::npos);
  EXPECT_NE(readMessage(folder.string(), "x").find("not a file"),
            std::string::npos);
  EXPECT_NE(readMessage(path("text.npz"), "x").find("zip archive"),
            std::string::npos);
  EXPECT_NE(readMessage(path("empty.npz"), "x"), "");
  std::string archive =
      makeZip({{"x.npy", "not an array at all"}}, ZIP_CM_STORE);
  EXPECT_NE(readMessage(archive, "x").find("not a NumPy array"),
            std::string::npos);
}

// Wherever the file ends, there is a message and no crash. minizip takes the
// last bytes of the end record, which are 0, for 0 when they are not there;
// then the array is right all the same.
TEST_F(NpzTest, every_truncation_is_refused) {
  std::string whole = readFile(makeZip(
      {{"x.npy", floatArray(std::vector<float>(100, 1.5f))}}, ZIP_CM_DEFLATE));
  for (size_t length = 0; length < whole.size(); ++length) {
    writeFile(path("cut.npz"), whole.substr(0, length));
    std::string message = readMessage(path("cut.npz"), "x");
    if (length + 4 < whole.size()) {
      EXPECT_NE(message, "") << length;
    } else if (message.empty()) {
      Array array = NpzReader(path("cut.npz")).read("x");
      ASSERT_EQ(array.bytes, 400u) << length;
      for (int i = 0; i < 100; ++i)
        EXPECT_EQ(static_cast<float *>(array.data.get())[i], 1.5f) << length;
    }
  }
}

// A bit flipped anywhere in the elements is found by the checksum, whether the
// entry is compressed or read straight.
TEST_F(NpzTest, damaged_elements_are_refused) {
  for (int method : {ZIP_CM_STORE, ZIP_CM_DEFLATE}) {
    std::vector<float> values;
    for (int i = 0; i < 64; ++i)
      values.push_back(std::sin(float(i)));
    std::string whole =
        readFile(makeZip({{"x.npy", floatArray(values)}}, method));
    size_t middle = whole.find("x.npy") + 5 + 128 + 100;
    whole[middle] = char(whole[middle] ^ 16);
    writeFile(path("damaged.npz"), whole);
    EXPECT_NE(readMessage(path("damaged.npz"), "x"), "") << method;
  }
}

// The directory says 4 GB for an entry of some bytes: nothing is allocated.
TEST_F(NpzTest, size_that_is_a_lie) {
  std::string whole =
      readFile(makeZip({{"x.npy", floatArray({1, 2, 3})}}, ZIP_CM_DEFLATE));
  size_t directory = whole.find("PK\1\2");
  ASSERT_NE(directory, std::string::npos);
  for (size_t i = 0; i < 4; ++i) // the uncompressed size
    whole[directory + 24 + i] = char(0xf0);
  writeFile(path("lie.npz"), whole);
  EXPECT_NE(readMessage(path("lie.npz"), "x").find("size"), std::string::npos);
}

TEST_F(NpzTest, failed_write_leaves_the_old_file) {
  float number = 3;
  std::vector<FerriteTensor> tensors = {
      {&number, 4, "x", FERRITE_F32, 1, {1}, FERRITE_ON_HOST, 0}};
  EXPECT_THROW(writeNpz(path("none/a.npz"), tensors), Error);
  EXPECT_THROW(writeNpz(folder.string(), tensors), Error);
  writeNpz(path("a.npz"), tensors);
  std::string old = readFile(path("a.npz"));
  tensors[0].dtype = 99;
  EXPECT_THROW(writeNpz(path("a.npz"), tensors), Error);
  EXPECT_EQ(readFile(path("a.npz")), old);
  size_t files = 0;
  for (const auto &entry : std::filesystem::directory_iterator(folder)) {
    (void)entry;
    ++files;
  }
  EXPECT_EQ(files, 1u) << "a temporary file was left";
}
