#include "coordinator/service/journal_messages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

#include "espalier/v1/journal.pb.h"

namespace espalier {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kStart = 1'700'000'000'000;
constexpr int64_t kNoTimes[] = {std::numeric_limits<int64_t>::min(), -1,
                                std::numeric_limits<int64_t>::max()};

std::string EntryAt(int64_t unix_ms) {
  v1::JournalEntry message;
  message.set_unix_ms(unix_ms);
  message.mutable_model()->set_hash("hash");
  return message.SerializeAsString();
}

StoredJobRow Row() {
  StoredJobRow row;
  row.job.id = 7;
  row.job.spec = "seed: 1\n";
  row.job.created_unix_ms = kStart + 5;
  return row;
}

TEST(JournalMessagesTest, TimesAreThoseOfTheBrain) {
  EXPECT_EQ(JournalFromBytes(EntryAt(kStart + 5), kStart)->time, 5);
  EXPECT_EQ(JournalFromBytes(EntryAt(0), kStart)->time, -kStart);
  EXPECT_EQ(StoredJobFromRow(Row(), kStart)->created, 5);
}

TEST(JournalMessagesTest, KeepsWhatAWorkerSaidOfItsWork) {
  const JournalEntry entry{
      .time = 5,
      .fact = WorkDone{.key = {},
                       .outcome = ReformResult{},
                       .notes = {.seconds = 2, .preparation = 3, .warnings = {"one", "two"}}}};
  const auto read = JournalFromBytes(JournalBytes(entry, kStart), kStart);
  ASSERT_TRUE(read.ok()) << read.status();
  const TaskNotes& notes = std::get<WorkDone>(read->fact).notes;
  EXPECT_EQ(notes.seconds, 2);
  EXPECT_EQ(notes.preparation, 3);
  EXPECT_THAT(notes.warnings, ::testing::ElementsAre("one", "two"));
}

TEST(JournalMessagesTest, ImpossibleTimesAreDamage) {
  for (const int64_t time : kNoTimes) {
    EXPECT_TRUE(absl::IsDataLoss(JournalFromBytes(EntryAt(time), kStart).status())) << time;
    StoredJobRow row = Row();
    row.facts = {EntryAt(time)};
    EXPECT_THAT(std::string(StoredJobFromRow(row, kStart).status().message()),
                HasSubstr("journal of job-7"));
    row = Row();
    row.job.created_unix_ms = time;
    EXPECT_THAT(std::string(StoredJobFromRow(row, kStart).status().message()), HasSubstr("job-7"));
    EXPECT_TRUE(absl::IsDataLoss(FinishedJobFromRow(row, kStart).status()));
    row = Row();
    v1::JobEvent last;
    last.set_unix_ms(time);
    row.last_event = last.SerializeAsString();
    EXPECT_TRUE(absl::IsDataLoss(FinishedJobFromRow(row, kStart).status()));
  }
}

TEST(JournalMessagesTest, BytesThatAreNoEntryAreDamage) {
  EXPECT_TRUE(absl::IsDataLoss(JournalFromBytes("\xFF", kStart).status()));
  EXPECT_THAT(std::string(JournalFromBytes("", kStart).status().message()), HasSubstr("no fact"));
}

}  // namespace
}  // namespace espalier
