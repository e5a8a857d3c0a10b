#include "worker/service/data_set_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "worker/service/testing/tiny_model.h"

namespace espalier {
namespace {

using ::testing::HasSubstr;

TEST(DataSetStoreTest, KeepsWhatWasSentUntilCleared) {
  DataSetStore store;
  const TokenSequences sequences = TinySequences(3);
  ASSERT_TRUE(store.Add(ToMessage(sequences)).ok());
  const auto kept = store.Get(sequences.hash);
  ASSERT_TRUE(kept.ok()) << kept.status();
  EXPECT_EQ((*kept)->tokens, sequences.tokens);
  EXPECT_EQ((*kept)->sequence_length, 8);

  store.Clear();
  const auto gone = store.Get(sequences.hash);
  EXPECT_EQ(gone.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(gone.status().message(), HasSubstr(sequences.hash));
}

TEST(DataSetStoreTest, RefusesContentOfAnotherHash) {
  DataSetStore store;
  v1::DataSet message = ToMessage(TinySequences(3));
  message.set_tokens(5, message.tokens(5) ^ 1);
  const absl::Status status = store.Add(message);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr(message.hash()));
  EXPECT_FALSE(store.Get(message.hash()).ok());
}

TEST(DataSetStoreTest, RefusesHalfASequence) {
  DataSetStore store;
  v1::DataSet message = ToMessage(TinySequences(3));
  message.mutable_tokens()->RemoveLast();
  EXPECT_EQ(store.Add(message).code(), absl::StatusCode::kInvalidArgument);
  message.set_sequence_length(0);
  EXPECT_EQ(store.Add(message).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace espalier
