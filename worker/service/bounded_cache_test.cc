#include "worker/service/bounded_cache.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace espalier {
namespace {

TEST(BoundedCacheTest, DropsTheOneThatWasNotUsedForLongest) {
  BoundedCache<std::string, int> cache(2);
  cache.Insert("a", 1);
  cache.Insert("b", 2);
  ASSERT_NE(cache.Find("a"), nullptr);  // "b" is now the older
  cache.Insert("c", 3);
  EXPECT_EQ(cache.size(), 2u);
  EXPECT_EQ(cache.Find("b"), nullptr);
  ASSERT_NE(cache.Find("a"), nullptr);
  EXPECT_EQ(*cache.Find("a"), 1);
  ASSERT_NE(cache.Find("c"), nullptr);
  EXPECT_EQ(*cache.Find("c"), 3);
}

TEST(BoundedCacheTest, MakeRoomReleasesBeforeTheNextValueExists) {
  BoundedCache<int, std::shared_ptr<int>> cache(1);
  auto first = std::make_shared<int>(7);
  const std::weak_ptr<int> watched = first;
  cache.Insert(1, std::move(first));
  cache.MakeRoom();
  EXPECT_TRUE(watched.expired());
  EXPECT_EQ(cache.size(), 0u);
}

}  // namespace
}  // namespace espalier
