#include "common/safetensors.h"

#include <cstring>
#include <filesystem>
#include <fstream>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

// Written by safetensors 0.8.0 (Python) from a = float32 [1.5, -2], b = bfloat16 [[1, 2, 3],
// [4, 5, 6]], h = float16 0.5, ids = int64 [7], empty = float32 of shape [0, 3].
std::string PythonFile() {
  return absl::HexStringToBytes(
      "40010000000000007b225f5f6d657461646174615f5f223a7b22666f726d6174223a227074227d2c22696473223a"
      "7b226474797065223a22493634222c227368617065223a5b315d2c22646174615f6f666673657473223a5b302c38"
      "5d7d2c2261223a7b226474797065223a22463332222c227368617065223a5b325d2c22646174615f6f6666736574"
      "73223a5b382c31365d7d2c22656d707479223a7b226474797065223a22463332222c227368617065223a5b302c33"
      "5d2c22646174615f6f666673657473223a5b31362c31365d7d2c2262223a7b226474797065223a2242463136222c"
      "227368617065223a5b322c335d2c22646174615f6f666673657473223a5b31362c32385d7d2c2268223a7b226474"
      "797065223a22463136222c227368617065223a5b5d2c22646174615f6f666673657473223a5b32382c33305d7d7d"
      "20202020202007000000000000000000c03f000000c0803f004040408040a040c0400038");
}

// A file of the given header and data, with the length word that belongs to the header.
std::string File(std::string_view header, std::string_view data) {
  std::string length(8, '\0');
  const uint64_t size = header.size();
  std::memcpy(length.data(), &size, 8);
  return absl::StrCat(length, std::string(header), std::string(data));
}

class SafetensorsTest : public ::testing::Test {
 protected:
  SafetensorsTest() {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    std::string name = absl::StrCat("safetensors_test_", info->name());
    for (char& c : name) c = c == '/' ? '_' : c;
    folder_ = fs::path(::testing::TempDir()) / name;
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~SafetensorsTest() override { fs::remove_all(folder_); }

  void Write(const std::string& name, std::string_view bytes) {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
  }
  absl::Status OpenStatus(std::string_view bytes) {
    Write("f.safetensors", bytes);
    return SafetensorsReader::OpenFile(folder_ / "f.safetensors").status();
  }

  fs::path folder_;
};

TEST_F(SafetensorsTest, ReadsWhatPythonWrote) {
  Write("model.safetensors", PythonFile());
  const auto opened = SafetensorsReader::OpenModel(folder_);
  ASSERT_TRUE(opened.ok()) << opened.status();
  const SafetensorsReader& reader = **opened;
  EXPECT_THAT(reader.Names(), ElementsAre("a", "b", "empty", "h", "ids"));
  EXPECT_THAT(reader.metadata(), ElementsAre(Pair("format", "pt")));
  EXPECT_TRUE(reader.Contains("b"));
  EXPECT_FALSE(reader.Contains("c"));

  const auto a = reader.Get("a", {2});
  ASSERT_TRUE(a.ok()) << a.status();
  EXPECT_EQ(a->dtype, DType::kFloat32);
  float values[2];
  ASSERT_EQ(a->bytes.size(), sizeof(values));
  std::memcpy(values, a->bytes.data(), sizeof(values));
  EXPECT_THAT(values, ElementsAre(1.5f, -2.0f));

  const auto b = reader.Get("b");
  ASSERT_TRUE(b.ok()) << b.status();
  EXPECT_EQ(b->dtype, DType::kBFloat16);
  EXPECT_THAT(b->shape, ElementsAre(2, 3));
  EXPECT_EQ(absl::BytesToHexString(std::string(b->bytes)), "803f004040408040a040c040");

  const auto h = reader.Get("h", {});
  ASSERT_TRUE(h.ok()) << h.status();
  EXPECT_EQ(h->dtype, DType::kFloat16);
  EXPECT_EQ(absl::BytesToHexString(std::string(h->bytes)), "0038");

  const auto empty = reader.Get("empty", {0, 3});
  ASSERT_TRUE(empty.ok()) << empty.status();
  EXPECT_TRUE(empty->bytes.empty());
}

TEST_F(SafetensorsTest, GetSaysWhyNot) {
  Write("model.safetensors", PythonFile());
  const auto reader = SafetensorsReader::OpenModel(folder_);
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_EQ((*reader)->Get("zz").status(),
            absl::NotFoundError(absl::StrCat(folder_.string(), ": has no tensor \"zz\"")));
  const absl::Status shape = (*reader)->Get("b", {3, 2}).status();
  EXPECT_EQ(shape.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(shape.message(), AllOf(HasSubstr("\"b\" has shape [2, 3]"), HasSubstr("[3, 2]")));
  const absl::Status dtype = (*reader)->Get("ids", {1}).status();
  EXPECT_EQ(dtype.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(dtype.message(), HasSubstr("\"ids\" is of type I64"));
}

// The bytes that safetensors 0.8.0 (Python) writes for these tensors.
TEST_F(SafetensorsTest, WritesTheHeaderThatPythonWrites) {
  const std::string header =
      SafetensorsHeader({{.name = "a", .dtype = DType::kFloat32, .shape = {2}},
                         {.name = "empty", .dtype = DType::kFloat32, .shape = {0, 3}},
                         {.name = "b", .dtype = DType::kBFloat16, .shape = {2, 3}},
                         {.name = "h", .dtype = DType::kFloat16, .shape = {}}},
                        {{"format", "pt"}});
  const std::string json =
      R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
      R"("empty":{"dtype":"F32","shape":[0,3],"data_offsets":[8,8]},)"
      R"("b":{"dtype":"BF16","shape":[2,3],"data_offsets":[8,20]},)"
      R"("h":{"dtype":"F16","shape":[],"data_offsets":[20,22]}})";
  EXPECT_EQ(header, File(json + std::string((8 - json.size() % 8) % 8, ' '), ""));
  EXPECT_EQ(header.size() % 8, 0);
}

TEST_F(SafetensorsTest, ReadsWhatItWrites) {
  const std::vector<TensorSpec> specs = {
      {.name = "quote\" and \xc3\xbc", .dtype = DType::kFloat16, .shape = {2, 2}},
      {.name = "second", .dtype = DType::kFloat32, .shape = {1}}};
  EXPECT_EQ(specs[0].ByteSize(), 8);
  Write("f", SafetensorsHeader(specs, {}) + "abcdefgh1234");
  const auto reader = SafetensorsReader::OpenFile(folder_ / "f");
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_EQ((*reader)->Get(specs[0].name, {2, 2})->bytes, "abcdefgh");
  EXPECT_EQ((*reader)->Get("second", {1})->bytes, "1234");
  EXPECT_TRUE((*reader)->metadata().empty());
}

TEST_F(SafetensorsTest, EveryTruncationIsRefused) {
  const std::string whole = PythonFile();
  for (size_t size = 0; size < whole.size(); ++size) {
    const absl::Status status = OpenStatus(std::string_view(whole).substr(0, size));
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << size;
    EXPECT_THAT(status.message(), HasSubstr("f.safetensors")) << size;
  }
  EXPECT_THAT(OpenStatus(whole + "x").message(), HasSubstr("last 1 bytes belong to no tensor"));
}

struct BadFile {
  const char* header;
  int data_bytes;
  const char* message;
};

class SafetensorsBadFileTest : public SafetensorsTest,
                               public ::testing::WithParamInterface<BadFile> {};

TEST_P(SafetensorsBadFileTest, IsRefusedByName) {
  const absl::Status status =
      OpenStatus(File(GetParam().header, std::string(GetParam().data_bytes, 'x')));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), AllOf(HasSubstr("f.safetensors: "), HasSubstr(GetParam().message)));
}

INSTANTIATE_TEST_SUITE_P(
    All, SafetensorsBadFileTest,
    ::testing::Values(
        BadFile{"", 0, "not a JSON object"}, BadFile{"[]", 0, "not a JSON object"},
        BadFile{R"({"a":)", 0, "not a JSON object"}, BadFile{" {}", 0, "not a JSON object"},
        BadFile{R"({"a":3})", 0, "tensor \"a\": is not an object"},
        BadFile{R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
                    "a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
                4, "\"a\" twice"},
        BadFile{R"({"a":{"dtype":"F16","dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4,
                "\"dtype\" twice"},
        BadFile{R"({"a":{"shape":[1],"data_offsets":[0,4]}})", 4, "\"a\": has no string \"dtype\""},
        BadFile{R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", 4,
                "\"a\": has no array \"shape\""},
        BadFile{R"({"a":{"dtype":"F32","shape":[1]}})", 4, "\"a\": has no array \"data_offsets\""},
        BadFile{R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4, "\"shape\""},
        BadFile{R"({"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", 4, "\"shape\""},
        BadFile{R"({"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,4]}})", 4,
                "\"shape\""},
        BadFile{R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4, "begin <= end"},
        BadFile{R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}})", 8, "begin <= end"},
        BadFile{R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 4,
                "\"a\": ends at byte 8 of the data, but the file has only 4"},
        BadFile{R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4,
                "\"a\": shape [2] of F32 takes 8 bytes, its data_offsets span 4"},
        BadFile{R"({"a":{"dtype":"I64","shape":[2],"data_offsets":[0,4]}})", 4,
                "\"a\": shape [2] of I64 takes 16 bytes"},
        // 2^62 * 4 bytes = 2^64, which is 0 in 64 bits.
        BadFile{R"({"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}})", 0,
                "more than 2^64 bytes"},
        BadFile{R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0,
                "more than 2^64 bytes"},
        BadFile{R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
                    "b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
                8, "tensor \"b\": overlaps another tensor"},
        BadFile{R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
                    "b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}})",
                12, "tensor \"b\": comes after a hole of 4 bytes"},
        BadFile{R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8, "hole of 4 bytes"},
        BadFile{R"({"__metadata__":[]})", 0, "__metadata__ is not an object"},
        BadFile{R"({"__metadata__":{"k":1}})", 0, "__metadata__ \"k\" is not a string"}));

TEST_F(SafetensorsTest, NothingHidesInAHeader) {
  using namespace std::string_literals;
  EXPECT_THAT(std::string(OpenStatus(File("{}\0{\"a\": 1}"s, "")).message()),
              HasSubstr("f.safetensors: its header is not a JSON object"));
  const std::string deep = "{\"a\": " + std::string(1 << 20, '[') + std::string(1 << 20, ']') + "}";
  EXPECT_THAT(std::string(OpenStatus(File(deep, "")).message()),
              HasSubstr("f.safetensors: its header is not a JSON object"));
}

TEST_F(SafetensorsTest, AbsurdHeaderLengthsAreRefused) {
  EXPECT_THAT(OpenStatus(std::string(8, '\xff') + "{}").message(),
              HasSubstr("not a safetensors file"));
  EXPECT_THAT(OpenStatus(std::string("\x03\0\0\0\0\0\0\0{}", 10)).message(),
              HasSubstr("truncated: its header takes 3 bytes, the file has 10 in all"));
  EXPECT_THAT(OpenStatus("").message(), HasSubstr("truncated"));
}

TEST_F(SafetensorsTest, TypesOfLaterFormatsAreRefusedOnlyWhenAskedFor) {
  Write("f", File(R"({"odd":{"dtype":"F4","shape":[3],"data_offsets":[0,2]},
                      "a":{"dtype":"F16","shape":[1],"data_offsets":[2,4]}})",
                  "abcd"));
  const auto reader = SafetensorsReader::OpenFile(folder_ / "f");
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_EQ((*reader)->Get("a")->bytes, "cd");
  EXPECT_THAT((*reader)->Get("odd").status().message(), HasSubstr("of type F4"));
}

// Two shards, and a third file that the index does not name.
class ShardsTest : public SafetensorsTest {
 protected:
  ShardsTest() {
    const TensorSpec a{.name = "a", .dtype = DType::kFloat16, .shape = {1}};
    const TensorSpec b{.name = "b", .dtype = DType::kFloat16, .shape = {1}};
    Write("one.safetensors", SafetensorsHeader({a}, {{"format", "pt"}}) + "aa");
    Write("two.safetensors", SafetensorsHeader({a, b}, {{"format", "pt"}}) + "xxbb");
    Write("model.safetensors", "not looked at");
  }
  absl::StatusOr<std::unique_ptr<SafetensorsReader>> Open(std::string_view index) {
    Write("model.safetensors.index.json", index);
    return SafetensorsReader::OpenModel(folder_);
  }
};

TEST_F(ShardsTest, EachTensorComesFromTheShardThatTheIndexNames) {
  const auto reader =
      Open(R"({"metadata":{},"weight_map":{"a":"one.safetensors","b":"two.safetensors"}})");
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_THAT((*reader)->Names(), ElementsAre("a", "b"));
  EXPECT_EQ((*reader)->Get("a")->bytes, "aa");
  EXPECT_EQ((*reader)->Get("b")->bytes, "bb");
  EXPECT_THAT((*reader)->metadata(), ElementsAre(Pair("format", "pt")));
}

TEST_F(ShardsTest, ErrorsNameTheShardAndTheTensor) {
  EXPECT_THAT(Open(R"({"weight_map":{"b":"one.safetensors"}})").status().message(),
              AllOf(HasSubstr("one.safetensors"), HasSubstr("has no tensor \"b\"")));
  const absl::Status missing = Open(R"({"weight_map":{"a":"three.safetensors"}})").status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(missing.message(), HasSubstr("three.safetensors"));
  Write("two.safetensors", "cut");
  EXPECT_THAT(Open(R"({"weight_map":{"b":"two.safetensors"}})").status().message(),
              HasSubstr("two.safetensors: is truncated"));
}

TEST_F(ShardsTest, ShardsMustLieInTheFolder) {
  for (const char* shard :
       {"\"../one.safetensors\"", "\"/etc/passwd\"", "\"..\"", "\"\"", "3", "\"a\\u0000b\""}) {
    const absl::Status status = Open(absl::StrCat("{\"weight_map\":{\"a\":", shard, "}}")).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << shard;
    EXPECT_THAT(status.message(), AllOf(HasSubstr("tensor \"a\""), HasSubstr("same folder")));
  }
}

TEST_F(ShardsTest, AMalformedIndexIsRefused) {
  const std::string deep = "{\"weight_map\": {\"a\": " + std::string(1 << 20, '[');
  for (const std::string& index :
       {std::string(), std::string("[]"), std::string("{}"), std::string(R"({"weight_map":[]})"),
        deep + std::string(1 << 20, ']') + "}}"}) {
    EXPECT_THAT(Open(index).status().message(), HasSubstr("index.json: is not a JSON object"));
  }
}

// One reader could take the first, another the last.
TEST_F(ShardsTest, ATensorIsInOneShard) {
  EXPECT_THAT(
      Open(R"({"weight_map":{"a":"one.safetensors","a":"two.safetensors"}})").status().message(),
      HasSubstr("index.json: has \"a\" twice"));
}

TEST_F(SafetensorsTest, AFolderWithoutWeightsIsNamed) {
  const auto reader = SafetensorsReader::OpenModel(folder_);
  EXPECT_EQ(reader.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(reader.status().message(),
              AllOf(HasSubstr(folder_.string()), HasSubstr("model.safetensors")));
}

}  // namespace
}  // namespace espalier
