#include "worker/service/messages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "proto/statistics_messages.h"
#include "worker/service/testing/tiny_model.h"

namespace espalier {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(MessagesTest, UnpacksMasks) {
  const auto subnet =
      SubnetFromMessage(ToMessage(TinySubnet()), TinyConfig(), Subnet::Dense(TinyConfig()));
  ASSERT_TRUE(subnet.ok()) << subnet.status();
  EXPECT_EQ(*subnet, TinySubnet());
}

TEST(MessagesTest, NoLayersMeanTheResidentModel) {
  const auto subnet = SubnetFromMessage({}, TinyConfig(), TinySubnet());
  ASSERT_TRUE(subnet.ok()) << subnet.status();
  EXPECT_EQ(*subnet, TinySubnet());
}

TEST(MessagesTest, RefusesMasksOfAnotherShapeByLayerAndMask) {
  const Subnet dense = Subnet::Dense(TinyConfig());
  v1::SubnetMasks message = ToMessage(dense);
  message.mutable_layers(1)->set_mlp("\xff");
  absl::Status status = SubnetFromMessage(message, TinyConfig(), dense).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("layer 1, mlp"));

  message = ToMessage(dense);
  message.mutable_layers(2)->set_attention(1, "\xff");  // only 4 bits exist
  status = SubnetFromMessage(message, TinyConfig(), dense).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("layer 2, attention group 1"));

  message = ToMessage(dense);
  message.mutable_layers(0)->mutable_attention()->RemoveLast();
  EXPECT_EQ(SubnetFromMessage(message, TinyConfig(), dense).status().code(),
            absl::StatusCode::kInvalidArgument);

  message = ToMessage(dense);
  message.mutable_layers()->RemoveLast();
  EXPECT_EQ(SubnetFromMessage(message, TinyConfig(), dense).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(MessagesTest, ReadsReformationOptions) {
  v1::ReformationOptions message;
  EXPECT_EQ(ReformationFromMessage(message)->method, ReformationMethod::kNone);
  message.set_method("none");
  EXPECT_EQ(ReformationFromMessage(message)->method, ReformationMethod::kNone);
  message.set_method("closed_form");
  message.set_damping(0.25);
  EXPECT_EQ(ReformationFromMessage(message)->method, ReformationMethod::kClosedForm);
  EXPECT_EQ(ReformationFromMessage(message)->damping, 0.25);
  message.set_method("admm");
  message.set_rho(2);
  message.set_iterations(7);
  EXPECT_EQ(ReformationFromMessage(message)->method, ReformationMethod::kAdmm);
  EXPECT_EQ(ReformationFromMessage(message)->rho, 2);
  EXPECT_EQ(ReformationFromMessage(message)->iterations, 7);
  message.set_method("projected");
  EXPECT_EQ(ReformationFromMessage(message)->method, ReformationMethod::kProjected);
  message.set_method("magic");
  EXPECT_EQ(ReformationFromMessage(message).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(ReformationFromMessage(message).status().message(), HasSubstr("'magic'"));
}

TEST(MessagesTest, TakesPartOfADataSet) {
  const TokenSequences all = TinySequences(4);
  const auto middle = SubRange(all, 1, 2);
  ASSERT_TRUE(middle.ok()) << middle.status();
  EXPECT_EQ(middle->tokens, std::vector<int32_t>(all.tokens.begin() + 8, all.tokens.begin() + 24));
  const auto whole = SubRange(all, 0, 4);
  ASSERT_TRUE(whole.ok()) << whole.status();
  EXPECT_EQ(whole->tokens, all.tokens);
}

TEST(MessagesTest, RefusesAPartThatIsNotThere) {
  const TokenSequences all = TinySequences(4);
  const int64_t most = std::numeric_limits<int64_t>::max();
  for (const auto& [first, count] : std::vector<std::pair<int64_t, int64_t>>{
           {-1, 2}, {0, 0}, {0, -1}, {0, 5}, {3, 2}, {4, 1}, {1, most}, {most, 1}}) {
    EXPECT_EQ(SubRange(all, first, count).status().code(), absl::StatusCode::kInvalidArgument)
        << first << " " << count;
  }
}

TEST(MessagesTest, WritesLosses) {
  v1::EvaluateOutcome outcome;
  ASSERT_TRUE(WriteLosses({{.nll_sum = 1.5, .predictions = 7}, {.nll_sum = 2.5, .predictions = 7}},
                          false, &outcome)
                  .ok());
  EXPECT_THAT(outcome.nll_sums(), ElementsAre(1.5, 2.5));
  EXPECT_EQ(outcome.predictions_per_sequence(), 7);
  EXPECT_EQ(WriteLosses({{.nll_sum = 1, .predictions = 7}, {.nll_sum = 1, .predictions = 6}}, false,
                        &outcome)
                .code(),
            absl::StatusCode::kInternal);
}

TEST(MessagesTest, WritesScoresAndReformationErrors) {
  UnitScores scores;
  scores.layers.push_back({.attention = {{1, 2}, {3, 4}}, .mlp = {5, 6, 7}});
  v1::CalibrateOutcome calibrated;
  WriteUnitScores(scores, &calibrated);
  ASSERT_EQ(calibrated.layers_size(), 1);
  ASSERT_EQ(calibrated.layers(0).attention_size(), 2);
  EXPECT_THAT(calibrated.layers(0).attention(1).pairs(), ElementsAre(3, 4));
  EXPECT_THAT(calibrated.layers(0).mlp(), ElementsAre(5, 6, 7));

  v1::ReformOutcome reformed;
  WriteReformationErrors({{.layer = 3, .mlp = true, .before = 0.5, .after = 0.25}}, &reformed);
  ASSERT_EQ(reformed.errors_size(), 1);
  EXPECT_EQ(reformed.errors(0).layer(), 3);
  EXPECT_TRUE(reformed.errors(0).mlp());
  EXPECT_EQ(reformed.errors(0).before(), 0.5);
  EXPECT_EQ(reformed.errors(0).after(), 0.25);
}

// protobuf's parser refuses a message whose strings are not UTF-8: the stream would break on an
// error that names a file with a strange name.
TEST(MessagesTest, ErrorsAreAlwaysUtf8) {
  v1::TaskResult result;
  WriteError(absl::NotFoundError("no file \xff\xfe\xc3\xa9 there"), &result);
  EXPECT_EQ(result.error().code(), static_cast<int>(absl::StatusCode::kNotFound));
  EXPECT_EQ(result.error().message(), "no file ??\xc3\xa9 there");
}

}  // namespace
}  // namespace espalier
