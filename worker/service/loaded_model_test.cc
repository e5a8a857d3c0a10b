#include "worker/service/loaded_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "common/model_folder.h"
#include "worker/service/testing/fake_engine.h"
#include "worker/service/testing/tiny_model.h"

namespace espalier {
namespace {

using ::testing::HasSubstr;

v1::ModelReference Reference(const std::filesystem::path& path,
                             const std::string& precision = "float32") {
  v1::ModelReference reference;
  reference.set_path(path.string());
  reference.set_precision(precision);
  return reference;
}

class LoadedModelTest : public ::testing::Test {
 protected:
  LoadedModelTest()
      : folder_(std::filesystem::path(::testing::TempDir()) /
                ::testing::UnitTest::GetInstance()->current_test_info()->name()) {
    std::filesystem::remove_all(folder_);
    WriteTinyModel(folder_ / "a", 1);
    WriteTinyModel(folder_ / "b", 2);
  }

  const std::filesystem::path folder_;
  const std::shared_ptr<FakeEngineControl> fake_ = std::make_shared<FakeEngineControl>();
  ModelCache cache_{{.device = "cpu", .threads = 1}, FakeEngineLoader(fake_)};
  TaskControl control_;
};

TEST_F(LoadedModelTest, LoadsOnceAndKnowsContentAndType) {
  WriteTinyModel(folder_ / "c", 3, DType::kBFloat16);
  const auto model = cache_.Get(Reference(folder_ / "c"), &control_);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ((*model)->hash(), ModelHash(*OpenModelFolder(folder_ / "c")));
  EXPECT_EQ((*model)->dtype(), DType::kBFloat16);
  v1::ModelReference again = Reference(folder_ / "c");
  again.set_hash((*model)->hash());
  EXPECT_EQ(*cache_.Get(again, &control_), *model);
  EXPECT_EQ(fake_->counts().loads, 1);
}

TEST_F(LoadedModelTest, ReleasesOneModelBeforeItLoadsAnother) {
  ASSERT_TRUE(cache_.Get(Reference(folder_ / "a"), &control_).ok());
  ASSERT_TRUE(cache_.Get(Reference(folder_ / "b"), &control_).ok());
  ASSERT_TRUE(cache_.Get(Reference(folder_ / "b", "bfloat16"), &control_).ok());
  EXPECT_EQ(fake_->counts().loads, 3);
  EXPECT_EQ(fake_->counts().most_live_engines, 1);
}

TEST_F(LoadedModelTest, NamesBothHashesOfAWrongModel) {
  const std::string expected = ModelHash(*OpenModelFolder(folder_ / "b"));
  const std::string actual = ModelHash(*OpenModelFolder(folder_ / "a"));
  ASSERT_NE(expected, actual);
  v1::ModelReference reference = Reference(folder_ / "a");
  reference.set_hash(expected);
  for (const bool resident : {false, true}) {
    if (resident) {
      ASSERT_TRUE(cache_.Get(Reference(folder_ / "a"), &control_).ok());
    }
    const absl::Status status = cache_.Get(reference, &control_).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(status.message(), HasSubstr(expected));
    EXPECT_THAT(status.message(), HasSubstr(actual));
    EXPECT_THAT(status.message(), HasSubstr((folder_ / "a").string()));
  }
}

TEST_F(LoadedModelTest, NoticesThatTheFolderChanged) {
  const auto before = cache_.Get(Reference(folder_ / "a"), &control_);
  ASSERT_TRUE(before.ok()) << before.status();
  v1::ModelReference expected = Reference(folder_ / "a");
  expected.set_hash((*before)->hash());
  WriteTinyModel(folder_ / "a", 5);
  // Equal sizes, and perhaps equal times on a coarse clock.
  std::filesystem::last_write_time(
      folder_ / "a/model.safetensors",
      std::filesystem::last_write_time(folder_ / "a/model.safetensors") + std::chrono::seconds(5));

  EXPECT_EQ(cache_.Get(expected, &control_).status().code(), absl::StatusCode::kFailedPrecondition);
  const auto after = cache_.Get(Reference(folder_ / "a"), &control_);
  ASSERT_TRUE(after.ok()) << after.status();
  EXPECT_EQ((*after)->hash(), ModelHash(*OpenModelFolder(folder_ / "a")));
  EXPECT_NE((*after)->hash(), expected.hash());
}

TEST_F(LoadedModelTest, MissingFolderAndUnknownPrecisionAreErrors) {
  EXPECT_EQ(cache_.Get(Reference(folder_ / "none"), &control_).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(cache_.Get(Reference(folder_ / "a", "float64"), &control_).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(cache_.Get(Reference(folder_ / "a"), &control_).ok());
}

TEST_F(LoadedModelTest, LoadsOnlyFromBelowItsRoots) {
  std::filesystem::create_directory(folder_ / "root");
  std::filesystem::rename(folder_ / "a", folder_ / "root/a");
  std::filesystem::create_symlink(folder_ / "b", folder_ / "root/link");
  ModelCache cache({.device = "cpu", .threads = 1}, FakeEngineLoader(fake_),
                   *PathRoots::Create("--model-root", {(folder_ / "root").string()}));
  EXPECT_TRUE(cache.Get(Reference(folder_ / "root/a"), &control_).ok());
  for (const auto& path : {folder_ / "b", folder_ / "root/link", folder_ / "root/../b"}) {
    const absl::Status status = cache.Get(Reference(path), &control_).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(path.string()));
    EXPECT_THAT(std::string(status.message()), HasSubstr((folder_ / "root").string()));
  }
  EXPECT_EQ(fake_->counts().loads, 1);
}

TEST_F(LoadedModelTest, KeepsOneCalibrationAndAFewReformations) {
  const auto found = cache_.Get(Reference(folder_ / "a"), &control_);
  ASSERT_TRUE(found.ok()) << found.status();
  LoadedModel& model = **found;
  const ReformationSpec spec;
  const TokenSequences first = TinySequences(2, 1);
  const TokenSequences second = TinySequences(2, 2);
  const auto reform = [&](const Subnet& subnet, const ReformationSpec& options,
                          const TokenSequences& text) {
    const bool there = *model.IsReformed(subnet, options, text.hash, {}, {});
    return model.Reform(subnet, options, text, there, {}, &control_, 0, 1).status();
  };
  const auto is_reformed = [&](const ReformationSpec& options, const TokenSequences& text) {
    return *model.IsReformed(TinySubnet(), options, text.hash, {}, {});
  };

  EXPECT_EQ(reform(TinySubnet(), spec, first).code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(model.Calibrate(first, {}).ok());
  ASSERT_TRUE(model.Calibrate(first, {}).ok());
  ASSERT_TRUE(reform(TinySubnet(), spec, first).ok());
  ASSERT_TRUE(reform(TinySubnet(), spec, first).ok());
  EXPECT_EQ(fake_->counts().calibrations, 1);
  EXPECT_EQ(fake_->counts().reformations, 1);

  // Other calibration text, other options: other weights.
  ASSERT_TRUE(model.Calibrate(second, {}).ok());
  ASSERT_TRUE(reform(TinySubnet(), spec, second).ok());
  const Subnet dense = Subnet::Dense(TinyConfig());
  EXPECT_FALSE(reform(dense, spec, first).ok());  // forgotten
  ASSERT_TRUE(is_reformed(spec, first));
  ReformationSpec damped = spec;
  damped.damping *= 2;
  EXPECT_FALSE(is_reformed(damped, second));
  ASSERT_TRUE(reform(TinySubnet(), damped, second).ok());
  EXPECT_FALSE(is_reformed(spec, second));  // the least recently used
  EXPECT_TRUE(is_reformed(spec, first));
}

TEST_F(LoadedModelTest, WhatAStageKeepsIsMadeAgainUnlessAllHaveIt) {
  LoadedModel& model = **cache_.Get(Reference(folder_ / "a"), &control_);
  const TokenSequences text = TinySequences(2, 1);
  const auto first = model.Calibrate(text, {});
  ASSERT_TRUE(first.ok()) << first.status();
  ASSERT_TRUE(model.Predict(text, {}).ok());
  fake_->OthersSay(false);
  const auto second = model.Calibrate(text, {});
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_NE(*first, *second);
  ASSERT_TRUE(model.Predict(text, {}).ok());
  fake_->OthersSay(true);
  EXPECT_EQ(*model.Calibrate(text, {}), *second);
  EXPECT_EQ(fake_->counts().calibrations, 2);
  EXPECT_EQ(fake_->counts().predictions, 2);
}

TEST_F(LoadedModelTest, UnitsAreOrderedOnceForATextAndSettings) {
  LoadedModel& model = **cache_.Get(Reference(folder_ / "a"), &control_);
  const TokenSequences text = TinySequences(2, 1);
  const TokenSequences other = TinySequences(2, 2);
  const auto orders = [&](const TokenSequences& sequences, double damping,
                          std::optional<CutSteps> steps) {
    const auto calibration = model.Calibrate(sequences, {});
    EXPECT_TRUE(calibration.ok()) << calibration.status();
    const LoadedModel::OrdersKey key{
        .data_set = sequences.hash, .damping = damping, .steps = steps};
    const auto found = model.Orders(**calibration, key, &control_, 0, 1);
    EXPECT_TRUE(found.ok()) << found.status();
    return *found;
  };
  const CutSteps steps{.channels = 1, .pairs = 1};
  const auto first = orders(text, 0.01, steps);
  EXPECT_FALSE(first->ranking.layers.empty());
  // Another job with that text, after one with another text: the calibration is made again, the
  // orders are not.
  EXPECT_NE(orders(other, 0.01, steps), first);
  EXPECT_EQ(orders(text, 0.01, steps), first);
  EXPECT_EQ(fake_->counts().calibrations, 3);
  EXPECT_EQ(fake_->counts().importances, 2);
  EXPECT_EQ(fake_->counts().rankings, 2);

  EXPECT_NE(orders(text, 0.02, steps), first);
  EXPECT_NE(orders(text, 0.01, CutSteps{.channels = 2, .pairs = 1}), first);
  EXPECT_TRUE(orders(text, 0.01, std::nullopt)->ranking.layers.empty());
  EXPECT_EQ(fake_->counts().importances, 5);
}

TEST_F(LoadedModelTest, AProgressiveReformationStaysWhileCandidatesAreMeasured) {
  LoadedModel& model = **cache_.Get(Reference(folder_ / "a"), &control_);
  const TokenSequences text = TinySequences(2, 1);
  ASSERT_TRUE(model.Calibrate(text, {}).ok());
  const ReformationSpec progressive{.method = ReformationMethod::kProgressive};
  ASSERT_TRUE(model.Reform(TinySubnet(), progressive, text, false, {}, &control_, 0, 1).ok());
  for (const double damping : {0.1, 0.2, 0.3}) {
    const ReformationSpec repair{.damping = damping};
    ASSERT_TRUE(model.Reform(TinySubnet(), repair, text, false, {}, &control_, 0, 1).ok());
  }
  EXPECT_TRUE(*model.IsReformed(TinySubnet(), progressive, text.hash, {}, {}));
  // Another stage has lost its weights: this one's are made again, and kept.
  const int made = fake_->counts().reformations;
  ASSERT_TRUE(model.Reform(TinySubnet(), progressive, text, false, {}, &control_, 0, 1).ok());
  EXPECT_EQ(fake_->counts().reformations, made + 1);
  EXPECT_TRUE(*model.IsReformed(TinySubnet(), progressive, text.hash, {}, {}));
}

}  // namespace
}  // namespace espalier
