//===- NpyTest.cpp - Headers of arrays, honest and hostile ----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "npz/Npy.h"
#include "Error.h"

#include <cstring>
#include <gtest/gtest.h>

using namespace ferrite::cli;

/// A header as NumPy frames it.
static std::string frame(const std::string &dictionary, int version = 1) {
  size_t length = dictionary.size();
  std::string result = "\x93NUMPY";
  result += {char(version), '\0', char(length & 255), char(length >> 8 & 255)};
  if (version > 1)
    result += {char(length >> 16 & 255), char(length >> 24 & 255)};
  return result + dictionary;
}

static std::string messageOf(const std::string &header, uint64_t dataBytes) {
  try {
    parseNpyHeader(header, header.size() + dataBytes);
  } catch (const Error &error) {
    return error.what();
  }
  return "";
}

TEST(NpyTest, every_type_and_rank_comes_back) {
  const int64_t shape[FERRITE_MAX_RANK] = {2, 1, 3, 1, 1, 5, 1, 2};
  for (int32_t dtype = FERRITE_F32; dtype <= FERRITE_BOOL; ++dtype)
    for (int32_t rank = 0; rank <= FERRITE_MAX_RANK; ++rank) {
      std::string text = makeNpyHeader(dtype, rank, shape);
      uint64_t bytes = ferriteDTypeSize(dtype);
      for (int32_t i = 0; i < rank; ++i)
        bytes *= shape[i];
      NpyHeader header = parseNpyHeader(text, text.size() + bytes);
      EXPECT_EQ(header.dtype, dtype);
      EXPECT_EQ(header.rank, rank);
      EXPECT_EQ(header.dataBytes, bytes);
      EXPECT_EQ(header.headerBytes, text.size());
      EXPECT_EQ(text.size() % 64, 0u) << "elements would not be aligned";
      EXPECT_TRUE(std::equal(shape, shape + rank, header.shape));
    }
}

// What NumPy 2 writes, letter for letter: others must read our files.
TEST(NpyTest, header_is_numpys) {
  const int64_t shape[] = {2, 3};
  std::string text = makeNpyHeader(FERRITE_F32, 2, shape);
  EXPECT_EQ(text.size(), 128u);
  EXPECT_EQ(text.substr(0, 10), std::string("\x93NUMPY\1\0v\0", 10));
  EXPECT_EQ(text.substr(10, 57),
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3),");
  EXPECT_EQ(text.back(), '\n');
  EXPECT_NE(makeNpyHeader(FERRITE_I64, 1, shape).find("(2,), }"),
            std::string::npos);
  EXPECT_NE(makeNpyHeader(FERRITE_BF16, 0, shape).find("'|V2'"),
            std::string::npos);
}

TEST(NpyTest, all_versions_and_spellings) {
  const char *const spellings[] = {
      "{'descr': '<i8', 'fortran_order': False, 'shape': (2, 3), }  \n",
      "{'shape': (2L, 3L), \"descr\": \"<i8\", 'fortran_order': False}",
      "{'fortran_order':False,'shape':(2,3),'descr':'=i8'}"};
  for (const char *spelling : spellings)
    for (int version = 1; version <= 3; ++version) {
      std::string text = frame(spelling, version);
      NpyHeader header = parseNpyHeader(text, text.size() + 48);
      EXPECT_EQ(header.dtype, FERRITE_I64);
      EXPECT_EQ(header.rank, 2);
      EXPECT_EQ(header.shape[1], 3);
      EXPECT_EQ(header.headerBytes, text.size());
    }
}

TEST(NpyTest, hostile_headers_are_refused) {
  auto dictionary = [](const std::string &type, const std::string &shape) {
    return frame("{'descr': " + type +
                 ", 'fortran_order': False, 'shape': " + shape + ", }");
  };
  const struct {
    std::string header;
    uint64_t dataBytes;
    const char *message;
  } cases[] = {
      {"", 0, "not a NumPy array"},
      {"PK\3\4 and more text", 0, "not a NumPy array"},
      {std::string("\x93NUMPY\1", 7), 0, "not a NumPy array"},
      {frame("{}", 9) + "  ", 0, "version 9"},
      {std::string("\x93NUMPY\1\0\xff\xff", 10) + "{}", 0, "truncated"},
      {std::string("\x93NUMPY\2\0\xff\xff\xff\xff", 12), 0, "truncated"},
      {frame("{}"), 0, "missing"},
      {frame("{'descr': '<f4'"), 0, "malformed"},
      {frame("{'descr': '<f4"), 0, "string without an end"},
      {frame("__import__('os').system('true')"), 0, "malformed"},
      {frame("{'descr': '<f4', 'descr': '<f8'}"), 0, "twice"},
      {dictionary("'<f4'", "(2, 3)") + "x", 24, "25 are there"},
      {frame("{'descr': '<f4', 'fortran_order': False, 'shape': ()} x"), 4,
       "after the dictionary"},
      {frame(std::string("{'descr': '<f4', 'fortran_order': False, 'shape': "
                         "()}\0\0",
                         55)),
       4, "after the dictionary"},
      {frame("{'descr': '<f4', 'fortran_order': 1, 'shape': ()}"), 4,
       "True or False"},
      {dictionary("'<f4'", "(2, 3)"), 20, "needs 24 bytes, but 20"},
      {dictionary("'<f4'", "(-1,)"), 4, "0 or more"},
      {dictionary("'<f4'", "(2"), 8, "malformed"},
      {dictionary("'<f4'", "(99999999999999999999,)"), 0, "beyond 64 bits"},
      {dictionary("'<f4'", "(4294967296, 4294967296)"), 0, "beyond all memory"},
      // The zero must not hide the overflow.
      {dictionary("'<f4'", "(0, 9223372036854775807, 9)"), 0,
       "beyond all memory"},
      {dictionary("'<f4'", "(1, 1, 1, 1, 1, 1, 1, 1, 1)"), 4,
       "more than 8 dimensions"},
      {dictionary("'<c8'", "(1,)"), 8, "'<c8' are not supported"},
      {dictionary("'|O'", "(1,)"), 8, "'|O' are not supported"},
      {dictionary("'<U4'", "(1,)"), 16, "not supported"},
      {dictionary("[('a', '<f4')]", "(1,)"), 4, "structured"},
  };
  for (const auto &row : cases)
    EXPECT_NE(messageOf(row.header, row.dataBytes).find(row.message),
              std::string::npos)
        << "no '" << row.message << "' in '"
        << messageOf(row.header, row.dataBytes) << "' for " << row.header;
}

// No prefix of a header may be read past its end or accepted.
TEST(NpyTest, every_prefix_is_refused) {
  const int64_t shape[] = {2, 3};
  std::string text = makeNpyHeader(FERRITE_F32, 2, shape);
  for (size_t length = 0; length < text.size(); ++length) {
    auto exact = std::make_unique<char[]>(length); // so that ASan sees its end
    memcpy(exact.get(), text.data(), length);
    EXPECT_THROW(parseNpyHeader({exact.get(), length}, length), Error);
  }
}

TEST(NpyTest, column_major_big_endian) {
  // [[1, 2, 3], [4, 5, 6]] by columns, high byte first.
  const unsigned char bytes[] = {0, 1, 0, 4, 0, 2, 0, 5, 0, 3, 0, 6};
  Array array;
  array.dtype = FERRITE_I16;
  array.rank = 2;
  array.shape[0] = 2;
  array.shape[1] = 3;
  array.bytes = sizeof bytes;
  array.allocate();
  memcpy(array.data.get(), bytes, sizeof bytes);
  NpyHeader header;
  header.bigEndian = header.fortranOrder = true;
  normalizeElements(array, header);
  const int16_t expected[] = {1, 2, 3, 4, 5, 6};
  EXPECT_EQ(memcmp(array.data.get(), expected, sizeof expected), 0);
}
