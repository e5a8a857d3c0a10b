#include "worker/engine/repair_cache.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/rng.h"

namespace espalier {
namespace {

TEST(RepairCacheTest, ForgetsTheLeastRecentlyUsed) {
  const auto module = [] { return RepairedModule{{at::zeros({10, 10}, at::kFloat)}}; };
  RepairCache cache(1000);
  cache.Insert("a", module());
  cache.Insert("b", module());
  EXPECT_TRUE(cache.Find("a"));
  cache.Insert("c", module());
  EXPECT_FALSE(cache.Find("b"));
  EXPECT_TRUE(cache.Find("a"));
  EXPECT_TRUE(cache.Find("c"));
  EXPECT_EQ(cache.bytes(), 800);
  cache.Insert("large", {{at::zeros({20, 20}, at::kFloat)}});
  EXPECT_FALSE(cache.Find("large"));
  EXPECT_EQ(cache.bytes(), 800);
}

at::Tensor Numbers(int64_t rows, int64_t first) {
  return at::arange(first, first + rows * 10, at::kFloat).view({rows, 10});
}

TEST(RepairCacheTest, WhatMemoryHasNoRoomForComesBackFromDisk) {
  RepairCache cache(1000);
  cache.SpillTo(::testing::TempDir());
  for (int64_t i = 0; i < 8; ++i) cache.Insert(absl::StrCat(i), {{Numbers(10, i)}, 0.25 * i, 0.5});
  cache.Insert("large", {{Numbers(90, 7)}, 1, 2});
  EXPECT_EQ(cache.bytes(), 800);
  for (const int64_t i : {0, 7, 3, 0}) {
    const auto found = cache.Find(absl::StrCat(i));
    ASSERT_TRUE(found.has_value()) << i;
    EXPECT_TRUE(at::equal(found->tensors[0], Numbers(10, i)));
    EXPECT_EQ(found->before, 0.25 * i);
    EXPECT_EQ(found->after, 0.5);
  }
  EXPECT_TRUE(at::equal(cache.Find("large")->tensors[0], Numbers(90, 7)));
  cache.Insert("several", {{Numbers(60, 3), Numbers(20, 2), Numbers(1, 9).flatten()}, 0, 0});
  const auto several = cache.Find("several");
  ASSERT_TRUE(several.has_value() && several->tensors.size() == 3);
  EXPECT_TRUE(at::equal(several->tensors[0], Numbers(60, 3)));
  EXPECT_TRUE(at::equal(several->tensors[1], Numbers(20, 2)));
  EXPECT_TRUE(at::equal(several->tensors[2], Numbers(1, 9).flatten()));
  // Types side by side, where the second does not start at a multiple of its size.
  const at::Tensor narrow = Numbers(1, 3).flatten().narrow(0, 0, 3).to(at::kBFloat16);
  cache.Insert("types", {{narrow, Numbers(1, 9), Numbers(80, 1)}, 0, 0});
  const auto types = cache.Find("types");
  ASSERT_TRUE(types.has_value() && types->tensors.size() == 3);
  EXPECT_TRUE(at::equal(types->tensors[0], narrow));
  EXPECT_TRUE(at::equal(types->tensors[1], Numbers(1, 9)));
  EXPECT_TRUE(at::equal(types->tensors[2], Numbers(80, 1)));
  cache.Insert("bias", {{Numbers(30, 5).flatten()}, 0, 0});
  EXPECT_TRUE(at::equal(cache.Find("bias")->tensors[0], Numbers(30, 5).flatten()));
  EXPECT_EQ(cache.bytes(), 800);
  EXPECT_TRUE(cache.spill()->status().ok()) << cache.spill()->status();
}

// Against a model of it: the newest modules that fit, in the order in which they were written.
TEST(RepairSpillTest, TheOldestAreOverwritten) {
  RepairSpill spill(::testing::TempDir(), 1000);
  RandomStream random(3, RandomPurpose::kMutation, 0, 0);
  std::vector<int64_t> rows;
  for (int64_t i = 0; i < 200; ++i) {
    rows.push_back(static_cast<int64_t>(1 + random.Below(12)));
    spill.Write(absl::StrCat(i), {{Numbers(rows[i], i)}, 0, 0});
    int64_t found = 0;
    int64_t bytes = 0;
    bool ended = false;
    for (int64_t j = i; j >= 0; --j) {
      const auto module = spill.Read(absl::StrCat(j));
      if (!module.has_value()) {
        ended = true;
        continue;
      }
      EXPECT_FALSE(ended) << "module " << j << " outlived a newer one";
      EXPECT_TRUE(at::equal(module->tensors[0], Numbers(rows[j], j))) << j;
      ++found;
      bytes += rows[j] * 40;
    }
    EXPECT_EQ(spill.bytes(), bytes);
    EXPECT_GE(found, 1);
    EXPECT_LE(bytes, 1000);
  }
  spill.Write("too large", {{Numbers(26, 0)}, 0, 0});
  EXPECT_FALSE(spill.Read("too large").has_value());
}

TEST(RepairSpillTest, ADiskThatRefusesOnlyCostsTime) {
  RepairSpill spill("/nowhere/at/all");
  spill.Write("a", {{Numbers(1, 0)}, 0, 0});
  EXPECT_FALSE(spill.Read("a").has_value());
  EXPECT_EQ(spill.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(spill.status().message()), ::testing::HasSubstr("/nowhere/at/all"));
  RepairCache cache(500);
  cache.SpillTo("/nowhere/at/all");
  cache.Insert("a", {{Numbers(10, 0)}, 0, 0});
  EXPECT_TRUE(cache.TakeSpillError().ok());
  cache.Insert("b", {{Numbers(10, 0)}, 0, 0});
  EXPECT_EQ(cache.TakeSpillError().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(cache.TakeSpillError().ok());  // said once
  EXPECT_FALSE(cache.Find("a").has_value());
  EXPECT_TRUE(cache.Find("b").has_value());
}

}  // namespace
}  // namespace espalier
