#include "client/model_source.h"

#include <filesystem>
#include <string>

#include "client/testing/small_model.h"
#include "common/model_folder.h"
#include "common/subnet.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace espalier {
namespace {

using ::testing::HasSubstr;

TEST(LocateModelTest, TakesAModelOrTheCompactFolderOfAResult) {
  const std::filesystem::path folder = NewTestFolder("locate_model");
  WriteTestFile(folder / "model/config.json", "{}");
  EXPECT_EQ(*LocateModel(folder / "model"), folder / "model");
  WriteTestFile(folder / "result/subnet.json", "{}");
  WriteTestFile(folder / "result/compact/config.json", "{}");
  EXPECT_EQ(*LocateModel(folder / "result"), folder / "result/compact");
}

TEST(LocateModelTest, OfSeveralSizesOneMustBeNamed) {
  const std::filesystem::path folder = NewTestFolder("locate_sizes");
  WriteTestFile(folder / "sizes.csv", "");
  WriteTestFile(folder / "0.8/subnet.json", "{}");
  WriteTestFile(folder / "0.8/compact/config.json", "{}");
  EXPECT_THAT(std::string(LocateModel(folder).status().message()), HasSubstr("several sizes"));
  EXPECT_EQ(*LocateModel(folder / "0.8"), folder / "0.8/compact");
}

TEST(LocateModelTest, OtherFoldersAreRefusedByName) {
  const std::filesystem::path folder = NewTestFolder("locate_nothing");
  for (const std::filesystem::path& path : {folder, folder / "missing"}) {
    const auto located = LocateModel(path);
    EXPECT_TRUE(absl::IsNotFound(located.status()));
    EXPECT_THAT(std::string(located.status().message()), HasSubstr(path.string()));
  }
}

class ChooseSubnetTest : public ::testing::Test {
 protected:
  ChooseSubnetTest() {
    model_.path = "/model";
    model_.config = SmallConfig();
    some_ = Subnet::Dense(model_.config);
    some_.layers[1].mlp.Set(7, false);
    file_ = (NewTestFolder("choose_subnet") / "masks.json").string();
    WriteTestFile(file_, MasksToJson(some_));
  }

  ModelFolder model_;
  Subnet some_;
  std::string file_;
};

TEST_F(ChooseSubnetTest, WithoutMasksItIsTheFoldersOwn) {
  EXPECT_EQ(*ChooseSubnet(model_, ""), Subnet::Dense(model_.config));
  model_.masks = some_;
  EXPECT_EQ(*ChooseSubnet(model_, ""), some_);
}

TEST_F(ChooseSubnetTest, MasksApplyToADenseModel) {
  EXPECT_EQ(*ChooseSubnet(model_, file_), some_);
}

TEST_F(ChooseSubnetTest, ACompactModelTakesItsOwnMasksOnly) {
  model_.masks = some_;
  EXPECT_EQ(*ChooseSubnet(model_, file_), some_);
  model_.masks->layers[0].mlp.Set(0, false);
  const auto chosen = ChooseSubnet(model_, file_);
  EXPECT_TRUE(absl::IsInvalidArgument(chosen.status()));
  EXPECT_THAT(std::string(chosen.status().message()), HasSubstr(file_));
}

}  // namespace
}  // namespace espalier
