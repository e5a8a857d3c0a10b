#include "common/json.h"

#include <gtest/gtest.h>

#include <string>

namespace espalier {
namespace {

std::string Nested(int depth) { return std::string(depth, '[') + std::string(depth, ']'); }

TEST(JsonTest, ParsesWhatIsJson) {
  EXPECT_EQ(ParseJson(R"({"a": [1, "]]\"[["]})")["a"][1], "]]\"[[");
  EXPECT_EQ(ParseJson<nlohmann::ordered_json>(R"({"b": 1, "a": 2})").begin().key(), "b");
  EXPECT_TRUE(ParseJson("{").is_discarded());
  EXPECT_TRUE(ParseJson("").is_discarded());
}

TEST(JsonTest, RefusesDepth) {
  EXPECT_TRUE(ParseJson(Nested(kMaxJsonDepth)).is_array());
  EXPECT_TRUE(ParseJson(Nested(kMaxJsonDepth + 1)).is_discarded());
  EXPECT_TRUE(ParseJson(std::string(1 << 20, '[')).is_discarded());
  std::string objects;
  for (int i = 0; i <= kMaxJsonDepth; ++i) objects += "{\"a\":";
  EXPECT_FALSE(IsSafeJson(objects));
}

TEST(JsonTest, DepthIsNotLength) {
  std::string list = "[";
  for (int i = 0; i < 2 * kMaxJsonDepth; ++i) list += "[],{},\"[[\",";
  EXPECT_TRUE(ParseJson(list + "1]").is_array());
}

TEST(JsonTest, NotesTheFirstKeyThatComesTwice) {
  EXPECT_EQ(ParseJsonNotingDuplicates(R"({"a": {"b": 1}, "c": {"b": 2}})").duplicate, std::nullopt);
  EXPECT_EQ(ParseJsonNotingDuplicates(R"([{"a": {"b": 1, "c": 2, "b": 3}, "a": 1}])").duplicate,
            "b");
  EXPECT_TRUE(ParseJsonNotingDuplicates(Nested(kMaxJsonDepth + 1)).value.is_discarded());
}

TEST(JsonTest, ANulByteIsNotTheEnd) {
  using namespace std::string_literals;
  EXPECT_TRUE(ParseJson("{}\0 {\"a\": 1}"s).is_discarded());
  EXPECT_TRUE(ParseJson("{}\0"s).is_discarded());
  EXPECT_TRUE(ParseJson("[\"\\\0\"]"s).is_discarded());
}

}  // namespace
}  // namespace espalier
