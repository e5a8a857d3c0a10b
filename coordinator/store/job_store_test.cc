#include "coordinator/store/job_store.h"

#include <SQLiteCpp/Database.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "coordinator/store/schema.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

const std::string kBytes("\0\xff\x01 bytes", 9);

class JobStoreTest : public ::testing::Test {
 protected:
  std::unique_ptr<JobStore> Open() {
    auto store = JobStore::Open(folder_);
    EXPECT_TRUE(store.ok()) << store.status();
    return store.ok() ? *std::move(store) : nullptr;
  }

  const fs::path folder_ = fs::path(::testing::TempDir()) /
                           ::testing::UnitTest::GetInstance()->current_test_info()->name();
};

StoreBatch NewJob(uint64_t id, const std::string& key) {
  StoreBatch batch;
  batch.jobs = {{.id = id,
                 .spec = "spec " + kBytes,
                 .idempotency_key = key,
                 .created_unix_ms = 1234567890123,
                 .staging = "/results/.x.partial-1"}};
  batch.events = {{.job = id, .number = 1, .bytes = "first"}};
  return batch;
}

TEST_F(JobStoreTest, WhatWasCommittedIsThereAfterReopening) {
  {
    const auto store = Open();
    ASSERT_TRUE(store->Commit(NewJob(1, "key")).ok());
    StoreBatch batch;
    batch.facts = {{.job = 1, .bytes = kBytes}, {.job = 1, .bytes = "two"}};
    batch.events = {{.job = 1, .number = 2, .bytes = kBytes}};
    ASSERT_TRUE(store->Commit(batch).ok());
    batch.events.clear();
    batch.facts = {{.job = 1, .bytes = "three"}};
    ASSERT_TRUE(store->Commit(batch).ok());
    ASSERT_TRUE(store->SetStaging(1, "/results/.x.partial-2").ok());
  }
  const auto store = Open();
  const auto rows = store->Jobs();
  ASSERT_TRUE(rows.ok()) << rows.status();
  ASSERT_THAT(*rows, SizeIs(1));
  const StoredJobRow& row = rows->front();
  EXPECT_EQ(row.job.id, 1u);
  EXPECT_EQ(row.job.spec, "spec " + kBytes);
  EXPECT_EQ(row.job.idempotency_key, "key");
  EXPECT_EQ(row.job.created_unix_ms, 1234567890123);
  EXPECT_EQ(row.job.staging, "/results/.x.partial-2");
  EXPECT_FALSE(row.final);
  EXPECT_EQ(row.last_event, kBytes);
  EXPECT_THAT(row.facts, ElementsAre(kBytes, "two", "three"));
  EXPECT_THAT(*store->Events(1), ElementsAre("first", kBytes));
}

TEST_F(JobStoreTest, ABatchIsStoredWholeOrNotAtAll) {
  const auto store = Open();
  ASSERT_TRUE(store->Commit(NewJob(1, "")).ok());
  StoreBatch batch;
  batch.facts = {{.job = 1, .bytes = "fact"}};
  batch.events = {{.job = 1, .number = 1, .bytes = "a number that is taken"}};
  EXPECT_FALSE(store->Commit(batch).ok());
  EXPECT_THAT(store->Jobs()->front().facts, IsEmpty());
}

TEST_F(JobStoreTest, FactsOfAJobThatEndedAreDropped) {
  const auto store = Open();
  ASSERT_TRUE(store->Commit(NewJob(1, "")).ok());
  ASSERT_TRUE(store->Commit(NewJob(2, "")).ok());
  StoreBatch batch;
  batch.facts = {{.job = 1, .bytes = "one"}, {.job = 2, .bytes = "two"}};
  batch.events = {{.job = 1, .number = 2, .bytes = "last", .final = true}};
  ASSERT_TRUE(store->Commit(batch).ok());
  const auto rows = *store->Jobs();
  EXPECT_TRUE(rows[0].final);
  EXPECT_THAT(rows[0].facts, IsEmpty());
  EXPECT_EQ(rows[0].last_event, "last");
  EXPECT_FALSE(rows[1].final);
  EXPECT_THAT(rows[1].facts, ElementsAre("two"));
}

TEST_F(JobStoreTest, AnswersAreKeptByContextAndTheFirstOneStays) {
  {
    const auto store = Open();
    StoreBatch batch;
    batch.answers = {{.context = "a", .subnet = "1", .bytes = kBytes},
                     {.context = "a", .subnet = "2", .bytes = "two"},
                     {.context = "b", .subnet = "1", .bytes = "other"}};
    ASSERT_TRUE(store->Commit(batch).ok());
    batch.answers = {{.context = "a", .subnet = "1", .bytes = "late"}};
    ASSERT_TRUE(store->Commit(batch).ok());
  }
  const auto store = Open();
  EXPECT_THAT(*store->Answers("a"), UnorderedElementsAre(Pair("1", kBytes), Pair("2", "two")));
  EXPECT_THAT(*store->Answers("b"), ElementsAre(Pair("1", "other")));
  EXPECT_THAT(*store->Answers("c"), IsEmpty());
}

TEST_F(JobStoreTest, OfADeletedJobNothingStaysButItsNumber) {
  {
    const auto store = Open();
    EXPECT_EQ(*store->LastJob(), 0u);
    for (const uint64_t id : {1, 2, 3}) ASSERT_TRUE(store->Commit(NewJob(id, "")).ok());
    StoreBatch batch;
    batch.facts = {{.job = 3, .bytes = "fact"}};
    ASSERT_TRUE(store->Commit(batch).ok());
    StoreBatch deletion;
    deletion.deleted = {3, 2};
    ASSERT_TRUE(store->Commit(deletion).ok());
    EXPECT_EQ(*store->LastJob(), 3u);
  }
  const auto store = Open();
  EXPECT_THAT(*store->Jobs(), SizeIs(1));
  EXPECT_THAT(*store->Events(3), IsEmpty());
  EXPECT_EQ(*store->LastJob(), 3u);
  ASSERT_TRUE(store->Commit(NewJob(4, "")).ok());
  EXPECT_EQ(*store->LastJob(), 4u);
}

TEST_F(JobStoreTest, AStoreOfTheFirstVersionIsBroughtUpToDate) {
  fs::create_directories(folder_);
  {
    SQLite::Database database((folder_ / "coordinator.db").string(),
                              SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
    database.exec(kMigrations[0]);
    database.exec("PRAGMA user_version = 1");
    database.exec("INSERT INTO jobs VALUES (7, 'spec', 'key', 5, 0, '/staging')");
    database.exec("INSERT INTO facts VALUES (7, 1, 'fact')");
    database.exec("INSERT INTO events VALUES (7, 1, 'event')");
  }
  const auto store = Open();
  const auto rows = store->Jobs();
  ASSERT_THAT(*rows, SizeIs(1));
  EXPECT_EQ(rows->front().job.idempotency_key, "key");
  EXPECT_THAT(rows->front().facts, ElementsAre("fact"));
  EXPECT_EQ(*store->LastJob(), 7u);
  StoreBatch batch;
  batch.answers = {{.context = "a", .subnet = "1", .bytes = "one"}};
  EXPECT_TRUE(store->Commit(batch).ok());
}

TEST_F(JobStoreTest, EveryLifeHasItsNumber) {
  EXPECT_EQ(Open()->life(), 1u);
  EXPECT_EQ(Open()->life(), 2u);
}

TEST_F(JobStoreTest, AKilledProcessLosesNothingThatWasCommitted) {
  const pid_t child = fork();
  if (child == 0) {
    const auto store = Open();
    const bool stored = store->Commit(NewJob(1, "key")).ok();
    if (stored) kill(getpid(), SIGKILL);
    _exit(1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_THAT(*Open()->Jobs(), SizeIs(1));
}

TEST_F(JobStoreTest, ASecondCoordinatorIsRefused) {
  const auto store = Open();
  const absl::Status second = JobStore::Open(folder_).status();
  EXPECT_EQ(second.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(second.message(), HasSubstr("another espalier-coordinator"));
}

TEST_F(JobStoreTest, ANewerSchemaIsRefused) {
  Open();
  SQLite::Database(folder_ / "coordinator.db", SQLite::OPEN_READWRITE)
      .exec("PRAGMA user_version = 99");
  const absl::Status status = JobStore::Open(folder_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("newer version"));
}

TEST_F(JobStoreTest, ADamagedFileIsRefusedByName) {
  fs::create_directories(folder_);
  std::ofstream(folder_ / "coordinator.db") << std::string(8192, 'x');
  const absl::Status status = JobStore::Open(folder_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(status.message(), HasSubstr("coordinator.db"));
}

// A bit that changed on the disk, where SQLite does not notice it.
TEST_F(JobStoreTest, ADamagedRowIsRefusedByName) {
  const auto change = [this](const char* sql) {
    SQLite::Database database((folder_ / "coordinator.db").string(), SQLite::OPEN_READWRITE);
    ASSERT_EQ(database.exec(sql), 1) << sql;
  };
  {
    const auto store = Open();
    ASSERT_TRUE(store->Commit(NewJob(1, "key")).ok());
    StoreBatch batch;
    batch.facts = {{.job = 1, .bytes = "one"}, {.job = 1, .bytes = "two"}};
    batch.events = {{.job = 1, .number = 2, .bytes = "second"},
                    {.job = 1, .number = 3, .bytes = "third"}};
    batch.answers = {{.context = "a", .subnet = "1", .bytes = "x"},
                     {.context = "a", .subnet = "2", .bytes = "y"}};
    ASSERT_TRUE(store->Commit(batch).ok());
  }
  struct Damage {
    const char* sql;
    const char* repair;
    const char* message;
  };
  for (const Damage& damage : {
           Damage{"UPDATE facts SET fact = 'twp' WHERE number = 2",
                  "UPDATE facts SET fact = 'two' WHERE number = 2", "row 2 of the facts of job-1"},
           Damage{"UPDATE facts SET number = 4 WHERE number = 2",
                  "UPDATE facts SET number = 2 WHERE number = 4", "row 2 of the facts of job-1"},
           Damage{"UPDATE events SET event = 'thire' WHERE number = 3",
                  "UPDATE events SET event = 'third' WHERE number = 3", "events of job-1"},
           Damage{"UPDATE jobs SET created_unix_ms = created_unix_ms + 1",
                  "UPDATE jobs SET created_unix_ms = created_unix_ms - 1", "the row of job-1"},
       }) {
    change(damage.sql);
    const auto rows = Open()->Jobs();
    EXPECT_EQ(rows.status().code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(std::string(rows.status().message()),
                ::testing::AllOf(HasSubstr(damage.message), HasSubstr("coordinator.db")));
    change(damage.repair);
    EXPECT_TRUE(Open()->Jobs().ok());
  }
  change("UPDATE answers SET answer = 'z' WHERE subnet = '1'");
  EXPECT_THAT(*Open()->Answers("a"), ElementsAre(Pair("2", "y")));
  change("DELETE FROM events WHERE number = 2");
  EXPECT_EQ(Open()->Events(1).status().code(), absl::StatusCode::kDataLoss);
}

// As with a write-ahead log that SQLite ends early, or a copy that was put back.
TEST_F(JobStoreTest, AStoreThatIsBehindItsCountIsRefused) {
  ASSERT_TRUE(Open()->Commit(NewJob(1, "")).ok());
  const fs::path file = folder_ / "coordinator.db";
  const fs::path copy = folder_ / "copy";
  fs::copy_file(file, copy);
  ASSERT_TRUE(Open()->Commit(NewJob(2, "")).ok());
  fs::copy_file(copy, file, fs::copy_options::overwrite_existing);
  const auto refused = JobStore::Open(folder_);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kDataLoss);
  // The second start and the commit.
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("the last 2 of 4 transactions"));
  // A count that nobody can read says nothing.
  fs::resize_file(folder_ / "commits", 3);
  EXPECT_THAT(*Open()->Jobs(), SizeIs(1));
}

TEST_F(JobStoreTest, AFolderThatCannotBeMadeIsRefusedByName) {
  std::ofstream(folder_.string()) << "a file";
  EXPECT_THAT(JobStore::Open(folder_ / "state").status().message(), HasSubstr("state"));
}

}  // namespace
}  // namespace espalier
