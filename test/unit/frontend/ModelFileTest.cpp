//===- ModelFileTest.cpp - Models as files --------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/ModelFile.h"
#include "lib/Frontend/ONNX/WireScanner.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include <fstream>
#include <gtest/gtest.h>
#include <numeric>
#include <unistd.h>

using namespace ferrite::frontend;

namespace {

struct ModelFileTest : ::testing::Test {
  llvm::SmallString<128> folder;

  void SetUp() override {
    ASSERT_FALSE(
        llvm::sys::fs::createUniqueDirectory("ferrite-frontend", folder));
  }
  void TearDown() override { llvm::sys::fs::remove_directories(folder); }

  std::string write(const std::string &name, const std::string &bytes) {
    std::string path = (folder + "/" + name).str();
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }

  /// A model with one float initializer of `count` elements, 0, 1, 2, ...
  static onnx::ModelProto makeModel(int64_t count, bool raw) {
    onnx::ModelProto model;
    model.set_ir_version(8);
    onnx::TensorProto &weight = *model.mutable_graph()->add_initializer();
    weight.set_name("weight");
    weight.set_data_type(onnx::TensorProto::FLOAT);
    weight.add_dims(count);
    std::vector<float> data(count);
    std::iota(data.begin(), data.end(), 0.0f);
    if (raw)
      weight.set_raw_data(data.data(), data.size() * sizeof(float));
    else
      weight.mutable_float_data()->Assign(data.begin(), data.end());
    return model;
  }

  static std::string open(const std::string &path,
                          std::unique_ptr<ModelFile> &file) {
    auto result = ModelFile::open(path);
    if (!result)
      return llvm::toString(result.takeError());
    file = std::move(*result);
    return "";
  }
};

TEST_F(ModelFileTest, LargeWeightsStayInTheFile) {
  for (bool raw : {true, false}) {
    std::string bytes = makeModel(100000, raw).SerializeAsString();
    std::unique_ptr<ModelFile> file;
    ASSERT_EQ(open(write("m.onnx", bytes), file), "");
    const onnx::TensorProto &weight = file->getModel().graph().initializer(0);
    EXPECT_FALSE(weight.has_raw_data());
    EXPECT_EQ(weight.float_data_size(), 0);
    const TensorSource *source = file->getSource(weight);
    ASSERT_TRUE(source);
    EXPECT_EQ(source->bytes, 400000u);
    float last;
    std::memcpy(&last, file->getBytes(*source).data() + 399996, 4);
    EXPECT_EQ(last, 99999.0f);
    // The bytes are those of the mapped file, at the offset that is told.
    EXPECT_EQ(file->getBytes(*source).data(),
              file->getFiles()[0].file->bytes().data() + source->offset);
  }
}

/// As onnx writes a model whose external data it has loaded: it says behind the
/// data that they are inside.
TEST_F(ModelFileTest, LargeWeightsMaySayThatTheyAreInside) {
  onnx::ModelProto model = makeModel(100000, true);
  model.mutable_graph()->mutable_initializer(0)->set_data_location(
      onnx::TensorProto::DEFAULT);
  std::unique_ptr<ModelFile> file;
  ASSERT_EQ(open(write("m.onnx", model.SerializeAsString()), file), "");
  const TensorSource *source =
      file->getSource(file->getModel().graph().initializer(0));
  ASSERT_TRUE(source);
  EXPECT_EQ(source->bytes, 400000u);
}

TEST_F(ModelFileTest, SmallWeightsAreRead) {
  std::unique_ptr<ModelFile> file;
  ASSERT_EQ(
      open(write("m.onnx", makeModel(10, false).SerializeAsString()), file),
      "");
  const onnx::TensorProto &weight = file->getModel().graph().initializer(0);
  EXPECT_FALSE(file->getSource(weight));
  std::string storage;
  auto elements = file->getElements(weight, storage);
  ASSERT_TRUE(static_cast<bool>(elements));
  EXPECT_EQ(elements->size(), 40u);
}

TEST_F(ModelFileTest, TheCheckerSeesNoSourcesAndThenTheyAreBack) {
  std::unique_ptr<ModelFile> file;
  ASSERT_EQ(
      open(write("m.onnx", makeModel(100000, true).SerializeAsString()), file),
      "");
  const onnx::TensorProto &weight = file->getModel().graph().initializer(0);
  file->hideSources();
  EXPECT_FALSE(file->getSource(weight));
  EXPECT_EQ(weight.dims(0), 0);
  file->restoreSources();
  ASSERT_TRUE(file->getSource(weight));
  EXPECT_EQ(weight.dims(0), 100000);
}

/// Every prefix of a model is refused or, at a field's end, a smaller model;
/// none may crash.
TEST_F(ModelFileTest, NoPrefixOfAModelCrashes) {
  std::string bytes = makeModel(40, true).SerializeAsString();
  for (size_t length = 0; length < bytes.size(); ++length) {
    std::unique_ptr<ModelFile> file;
    EXPECT_NE(open(write("m.onnx", bytes.substr(0, length)), file), "");
  }
}

TEST_F(ModelFileTest, NoFlippedByteCrashes) {
  std::string bytes = makeModel(30000, true).SerializeAsString();
  for (size_t at = 0; at < 64; ++at)
    for (int flip : {1, 0x80, 0xff}) {
      std::string changed = bytes;
      changed[at] ^= flip;
      std::unique_ptr<ModelFile> file;
      (void)open(write("m.onnx", changed), file);
    }
}

TEST_F(ModelFileTest, AForgedMarkReachesNothingElse) {
  onnx::ModelProto model = makeModel(4, false);
  onnx::TensorProto &weight = *model.mutable_graph()->mutable_initializer(0);
  weight.clear_float_data();
  weight.set_data_location(onnx::TensorProto::EXTERNAL);
  auto *entry = weight.add_external_data();
  entry->set_key(kInlineDataKey.str());
  entry->set_value("0");
  std::unique_ptr<ModelFile> file;
  EXPECT_NE(
      open(write("m.onnx", model.SerializeAsString()), file).find("malformed"),
      std::string::npos);
}

TEST_F(ModelFileTest, ALinkInTheFolderMayLeadElsewhere) {
  write("elsewhere.bin", std::string(16, '\0'));
  ASSERT_FALSE(llvm::sys::fs::create_directory(folder + "/model"));
  ASSERT_EQ(
      ::symlink("../elsewhere.bin", (folder + "/model/data.bin").str().c_str()),
      0);
  onnx::ModelProto model = makeModel(4, false);
  onnx::TensorProto &weight = *model.mutable_graph()->mutable_initializer(0);
  weight.clear_float_data();
  weight.set_data_location(onnx::TensorProto::EXTERNAL);
  auto *entry = weight.add_external_data();
  entry->set_key("location");
  entry->set_value("data.bin");
  std::unique_ptr<ModelFile> file;
  EXPECT_EQ(open(write("model/m.onnx", model.SerializeAsString()), file), "");
  entry->set_value("../elsewhere.bin");
  EXPECT_NE(open(write("model/m.onnx", model.SerializeAsString()), file)
                .find("outside"),
            std::string::npos);
}

} // namespace
