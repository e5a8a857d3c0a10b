#include "common/path_roots.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace espalier {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

class PathRootsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::remove_all(base_);
    fs::create_directories(base_ / "root" / "model");
    fs::create_directories(base_ / "root-2");
    fs::create_directories(base_ / "outside");
    std::ofstream(base_ / "outside" / "secret") << "s";
    auto roots = PathRoots::Create("--model-root", {(base_ / "root").string()});
    ASSERT_TRUE(roots.ok()) << roots.status();
    roots_ = *roots;
  }
  bool Allows(const fs::path& path) const { return roots_.Check(path).ok(); }

  const fs::path base_ = fs::canonical(::testing::TempDir()) / "path_roots";
  PathRoots roots_;
};

TEST_F(PathRootsTest, WithoutRootsEverythingIsAllowed) {
  const PathRoots none;
  EXPECT_FALSE(none.restricts());
  EXPECT_EQ(*none.Check("a/../b"), "a/../b");
  EXPECT_TRUE(none.CheckFolder("/nowhere").ok());
}

TEST_F(PathRootsTest, TheRootAndWhatLiesBelowIsAllowed) {
  EXPECT_TRUE(Allows(base_ / "root"));
  EXPECT_TRUE(Allows(base_ / "root" / "model"));
  EXPECT_EQ(*roots_.Check(base_ / "root" / "new" / "." / "out"), base_ / "root" / "new" / "out");
  EXPECT_EQ(*roots_.Check(base_ / "outside" / ".." / "root" / "x"), base_ / "root" / "x");
  const auto relative = roots_.Check(fs::relative(base_ / "root" / "model"));
  ASSERT_TRUE(relative.ok()) << relative.status();
  EXPECT_EQ(*relative, base_ / "root" / "model");
}

TEST_F(PathRootsTest, WhatLiesElsewhereIsRefusedByName) {
  const fs::path path = base_ / "outside" / "secret";
  const absl::Status status = roots_.Check(path).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr(path.string()), HasSubstr((base_ / "root").string()),
                    HasSubstr("--model-root")));
  EXPECT_FALSE(Allows(base_));
  EXPECT_FALSE(Allows("/"));
  EXPECT_FALSE(Allows(""));
  EXPECT_FALSE(Allows(base_ / "root-2"));  // a name that only begins like the root's
  EXPECT_FALSE(Allows(base_ / "root" / ".." / "outside"));
  EXPECT_FALSE(Allows(base_ / "root" / "new" / ".." / ".." / "outside"));
}

TEST_F(PathRootsTest, DoesNotTellWhatExistsElsewhere) {
  const auto words = [&](const char* name) {
    std::string text(roots_.Check(base_ / "outside" / name).status().message());
    text.replace(text.find(name), std::string(name).size(), "NAME");
    return text;
  };
  EXPECT_EQ(words("secret"), words("absent"));
}

TEST_F(PathRootsTest, LinksAreFollowedBeforeTheComparison) {
  fs::create_symlink(base_ / "outside", base_ / "root" / "out-link");
  fs::create_symlink(base_ / "root" / "model", base_ / "outside" / "in-link");
  fs::create_symlink(base_ / "nowhere", base_ / "root" / "dangling");
  fs::create_symlink("loop", base_ / "root" / "loop");
  EXPECT_FALSE(Allows(base_ / "root" / "out-link"));
  EXPECT_FALSE(Allows(base_ / "root" / "out-link" / "secret"));
  EXPECT_FALSE(Allows(base_ / "root" / "out-link" / "new" / "result"));
  EXPECT_FALSE(Allows(base_ / "root" / "out-link" / ".." / "root-2"));  // the system goes up there
  EXPECT_EQ(*roots_.Check(base_ / "outside" / "in-link"), base_ / "root" / "model");
  EXPECT_FALSE(Allows(base_ / "root" / "dangling"));
  EXPECT_FALSE(Allows(base_ / "root" / "dangling" / "new"));
  EXPECT_FALSE(Allows(base_ / "root" / "dangling" / ""));
  EXPECT_FALSE(Allows(base_ / "root" / "loop"));
}

TEST_F(PathRootsTest, AFoldersLinksMustStayInsideToo) {
  const fs::path model = base_ / "root" / "model";
  std::ofstream(base_ / "root" / "blob") << "b";
  fs::create_symlink("../blob", model / "weights");
  EXPECT_TRUE(roots_.CheckFolder(model).ok());
  EXPECT_TRUE(roots_.CheckFolder(base_ / "root" / "absent").ok());
  fs::create_symlink(base_ / "outside" / "secret", model / "tokenizer.json");
  const absl::Status status = roots_.CheckFolder(model);
  EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_THAT(std::string(status.message()), HasSubstr("tokenizer.json"));
}

TEST_F(PathRootsTest, ARootMayItselfBeALink) {
  fs::create_symlink(base_ / "root", base_ / "alias");
  roots_ = *PathRoots::Create("--model-root", {(base_ / "alias").string()});
  EXPECT_TRUE(Allows(base_ / "alias" / "model"));
  EXPECT_TRUE(Allows(base_ / "root" / "model"));
}

TEST_F(PathRootsTest, RootsMustBeFolders) {
  for (const fs::path& root : {base_ / "none", base_ / "outside" / "secret"}) {
    const auto roots = PathRoots::Create("--output-root", {root.string()});
    EXPECT_EQ(roots.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(roots.status().message()),
                AllOf(HasSubstr("--output-root"), HasSubstr(root.string())));
  }
}

}  // namespace
}  // namespace espalier
