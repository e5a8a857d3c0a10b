#include "coordinator/store/job_store.h"

#include <SQLiteCpp/Database.h>
#include <SQLiteCpp/Exception.h>
#include <SQLiteCpp/Statement.h>
#include <SQLiteCpp/Transaction.h>
#include <sqlite3.h>

#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/mutex.h"
#include "common/sha256.h"
#include "common/status_macros.h"
#include "coordinator/store/commit_counter.h"
#include "coordinator/store/file_lock.h"
#include "coordinator/store/schema.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

absl::Status StatusOf(const SQLite::Exception& error, const std::string& file) {
  const std::string text = absl::StrCat(file, ": ", error.what());
  switch (error.getErrorCode()) {
    case SQLITE_FULL:
      return absl::ResourceExhaustedError(absl::StrCat(text, "; make room on that disk"));
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::DataLossError(absl::StrCat(
          text, "; move the file away (finished results are not in it) or restore a copy"));
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
      return absl::PermissionDeniedError(
          absl::StrCat(text, "; the coordinator must be able to write there (--state)"));
    default:
      return absl::UnavailableError(text);
  }
}

// Runs `body`, turning SQLite's exceptions into statuses.
template <typename Body>
auto Guarded(const std::string& file, Body&& body) -> decltype(body()) {
  try {
    return body();
  } catch (const SQLite::Exception& error) {
    return StatusOf(error, file);
  }
}

void BindBlob(SQLite::Statement& statement, int index, const std::string& bytes) {
  statement.bind(index, bytes.data(), static_cast<int>(bytes.size()));
}

int64_t Signed(uint64_t value) { return static_cast<int64_t>(value); }

// 64 bits of a hash of `parts`, each with its length.
template <typename... Parts>
int64_t Checksum(std::string_view table, const Parts&... parts) {
  Sha256 hash;
  const auto add = [&hash](const std::string& part) {
    hash.Update(absl::StrCat(part.size(), ":"));
    hash.Update(part);
  };
  add(std::string(table));
  (add(absl::StrCat(parts)), ...);
  uint64_t sum = 0;
  (void)absl::SimpleHexAtoi(hash.HexDigest().substr(0, 16), &sum);
  return static_cast<int64_t>(sum);
}

// Rows of the first version have no checksum.
bool Fits(const SQLite::Column& stored, int64_t checksum) {
  return stored.isNull() || stored.getInt64() == checksum;
}

std::string Blob(const SQLite::Column& column) {
  return {static_cast<const char*>(column.getBlob()), static_cast<size_t>(column.getBytes())};
}

class SqliteJobStore : public JobStore {
 public:
  // May throw SQLite::Exception.
  SqliteJobStore(FileLock lock, std::string file)
      : lock_(std::move(lock)),
        file_(std::move(file)),
        counter_(fs::path(file_).replace_filename("commits")),
        database_(file_, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE) {}

  // May throw SQLite::Exception.
  absl::Status Prepare() {
    MutexLock lock(&mutex_);
    database_.exec("PRAGMA journal_mode = WAL");
    database_.exec("PRAGMA synchronous = FULL");
    database_.exec("PRAGMA foreign_keys = ON");
    const std::string structure = database_.execAndGet("PRAGMA quick_check(1)").getString();
    if (structure != "ok") return Damaged(structure);
    ESPALIER_RETURN_IF_ERROR(Migrate(database_, file_));
    const auto commits =
        static_cast<uint64_t>(database_.execAndGet("SELECT number FROM commits").getInt64());
    const std::optional<uint64_t> known = counter_.Read();
    if (known.has_value() && commits < *known) {
      return Damaged(absl::StrCat(
          "the last ", *known - commits, " of ", *known,
          " transactions are missing, as when its write-ahead log is damaged or an older copy was "
          "put back. To go on without them, remove ",
          fs::path(file_).replace_filename("commits").string(), "; otherwise"));
    }
    SQLite::Transaction transaction(database_);
    database_.exec("INSERT INTO lives DEFAULT VALUES");
    life_ = static_cast<uint64_t>(database_.getLastInsertRowid());
    CommitAndCount(transaction);
    return absl::OkStatus();
  }

  absl::Status Commit(const StoreBatch& batch) override {
    MutexLock lock(&mutex_);
    return Guarded(file_, [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      SQLite::Transaction transaction(database_);
      for (const StoreBatch::Job& job : batch.jobs) Insert(job);
      for (const StoreBatch::Fact& fact : batch.facts) Insert(fact);
      for (const StoreBatch::Event& event : batch.events) Insert(event);
      for (const StoreBatch::Answer& answer : batch.answers) Insert(answer);
      for (const uint64_t job : batch.deleted) Delete(job);
      CommitAndCount(transaction);
      return absl::OkStatus();
    });
  }

  absl::Status SetStaging(uint64_t job, const std::string& staging) override {
    MutexLock lock(&mutex_);
    return Guarded(file_, [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      ESPALIER_ASSIGN_OR_RETURN(std::vector<StoredJobRow> rows, ReadRows("WHERE id = ?", job));
      if (rows.empty()) return absl::OkStatus();
      rows.front().job.staging = staging;
      SQLite::Statement update(database_, "UPDATE jobs SET staging = ?, checksum = ? WHERE id = ?");
      BindBlob(update, 1, staging);
      update.bind(2, ChecksumOf(rows.front().job));
      update.bind(3, Signed(job));
      update.exec();
      return absl::OkStatus();
    });
  }

  absl::StatusOr<std::vector<StoredJobRow>> Jobs() override {
    MutexLock lock(&mutex_);
    return Guarded(file_,
                   [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(
                       mutex_) -> absl::StatusOr<std::vector<StoredJobRow>> { return ReadJobs(); });
  }

  absl::StatusOr<std::vector<std::string>> Events(uint64_t job) override {
    MutexLock lock(&mutex_);
    return Guarded(
        file_,
        [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) -> absl::StatusOr<std::vector<std::string>> {
          return Numbered("events",
                          "SELECT number, event, checksum FROM events WHERE job = ? ORDER BY "
                          "number",
                          job);
        });
  }

  absl::StatusOr<std::vector<std::pair<std::string, std::string>>> Answers(
      const std::string& context) override {
    using Rows = std::vector<std::pair<std::string, std::string>>;
    MutexLock lock(&mutex_);
    return Guarded(file_, [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) -> absl::StatusOr<Rows> {
      SQLite::Statement select(database_,
                               "SELECT subnet, answer, checksum FROM answers WHERE context = "
                               "(SELECT id FROM contexts WHERE context = ?)");
      select.bind(1, context);
      Rows rows;
      while (select.executeStep()) {
        std::string subnet = select.getColumn(0).getString();
        std::string bytes = Blob(select.getColumn(1));
        if (!Fits(select.getColumn(2), Checksum("answers", context, subnet, bytes))) continue;
        rows.emplace_back(std::move(subnet), std::move(bytes));
      }
      return rows;
    });
  }

  absl::StatusOr<uint64_t> LastJob() override {
    MutexLock lock(&mutex_);
    return Guarded(file_, [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) -> absl::StatusOr<uint64_t> {
      return static_cast<uint64_t>(
          database_
              .execAndGet("SELECT MAX(COALESCE((SELECT MAX(id) FROM jobs), 0), "
                          "COALESCE((SELECT MAX(last_job) FROM deleted), 0))")
              .getInt64());
    });
  }

  uint64_t life() const override { return life_; }

 private:
  void CommitAndCount(SQLite::Transaction& transaction) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    database_.exec("UPDATE commits SET number = number + 1");
    const int64_t commits = database_.execAndGet("SELECT number FROM commits").getInt64();
    transaction.commit();
    counter_.Write(static_cast<uint64_t>(commits));
  }

  void Insert(const StoreBatch::Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    SQLite::Statement insert(database_,
                             "INSERT INTO jobs (id, spec, idempotency_key, created_unix_ms, "
                             "staging, checksum) VALUES (?, ?, ?, ?, ?, ?)");
    insert.bind(1, Signed(job.id));
    BindBlob(insert, 2, job.spec);
    if (!job.idempotency_key.empty()) insert.bind(3, job.idempotency_key);
    insert.bind(4, job.created_unix_ms);
    BindBlob(insert, 5, job.staging);
    insert.bind(6, ChecksumOf(job));
    insert.exec();
  }

  void Insert(const StoreBatch::Fact& fact) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    // The key's index gives the last number at once, however many there are.
    SQLite::Statement last(database_, "SELECT COALESCE(MAX(number), 0) FROM facts WHERE job = ?");
    last.bind(1, Signed(fact.job));
    last.executeStep();
    const int64_t number = last.getColumn(0).getInt64() + 1;
    SQLite::Statement insert(database_,
                             "INSERT INTO facts (job, number, fact, checksum) VALUES (?, ?, ?, ?)");
    insert.bind(1, Signed(fact.job));
    insert.bind(2, number);
    BindBlob(insert, 3, fact.bytes);
    insert.bind(4, Checksum("facts", fact.job, number, fact.bytes));
    insert.exec();
  }

  void Insert(const StoreBatch::Event& event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    SQLite::Statement insert(
        database_, "INSERT INTO events (job, number, event, checksum) VALUES (?, ?, ?, ?)");
    insert.bind(1, Signed(event.job));
    insert.bind(2, Signed(event.number));
    BindBlob(insert, 3, event.bytes);
    insert.bind(4, Checksum("events", event.job, event.number, event.bytes));
    insert.exec();
    if (!event.final) return;
    Run("UPDATE jobs SET final = 1 WHERE id = ?", Signed(event.job));
    Run("DELETE FROM facts WHERE job = ?", Signed(event.job));
  }

  void Insert(const StoreBatch::Answer& answer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    Run("INSERT OR IGNORE INTO contexts (context) VALUES (?)", answer.context);
    SQLite::Statement insert(database_,
                             "INSERT OR IGNORE INTO answers (context, subnet, answer, checksum) "
                             "VALUES ((SELECT id FROM contexts WHERE context = ?), ?, ?, ?)");
    insert.bind(1, answer.context);
    insert.bind(2, answer.subnet);
    BindBlob(insert, 3, answer.bytes);
    insert.bind(4, Checksum("answers", answer.context, answer.subnet, answer.bytes));
    insert.exec();
  }

  void Delete(uint64_t job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    for (const char* sql :
         {"DELETE FROM facts WHERE job = ?", "DELETE FROM events WHERE job = ?",
          "DELETE FROM jobs WHERE id = ?", "DELETE FROM deleted WHERE last_job < ?",
          "INSERT INTO deleted SELECT ?1 WHERE NOT EXISTS (SELECT 1 FROM deleted)"}) {
      Run(sql, Signed(job));
    }
  }

  // A statement with one parameter and no result.
  template <typename Value>
  void Run(const char* sql, const Value& value) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    SQLite::Statement statement(database_, sql);
    statement.bind(1, value);
    statement.exec();
  }

  absl::Status Damaged(const std::string& what) const {
    return absl::DataLossError(
        absl::StrCat(file_, ": ", what,
                     "; move the file away (finished results are not in it) or restore a "
                     "copy"));
  }

  static int64_t ChecksumOf(const StoreBatch::Job& job) {
    return Checksum("jobs", job.id, job.spec, job.idempotency_key, job.created_unix_ms,
                    job.staging);
  }

  // Columns number, bytes, checksum; the numbers are 1, 2, …
  absl::StatusOr<std::vector<std::string>> Numbered(const char* table, const char* sql,
                                                    uint64_t job)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    SQLite::Statement select(database_, sql);
    select.bind(1, Signed(job));
    std::vector<std::string> blobs;
    while (select.executeStep()) {
      const int64_t number = select.getColumn(0).getInt64();
      std::string bytes = Blob(select.getColumn(1));
      if (number != static_cast<int64_t>(blobs.size()) + 1 ||
          !Fits(select.getColumn(2), Checksum(table, job, number, bytes))) {
        return Damaged(absl::StrCat("row ", blobs.size() + 1, " of the ", table, " of job-", job,
                                    " is damaged"));
      }
      blobs.push_back(std::move(bytes));
    }
    return blobs;
  }

  absl::StatusOr<std::string> LastEvent(uint64_t job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    SQLite::Statement select(database_,
                             "SELECT number, event, checksum FROM events WHERE job = ? ORDER BY "
                             "number DESC LIMIT 1");
    select.bind(1, Signed(job));
    if (!select.executeStep()) return "";
    std::string bytes = Blob(select.getColumn(1));
    const int64_t number = select.getColumn(0).getInt64();
    if (Fits(select.getColumn(2), Checksum("events", job, number, bytes))) return bytes;
    return Damaged(absl::StrCat("the last of the events of job-", job, " is damaged"));
  }

  // Of the jobs themselves, without their events and facts. `which` has at most one parameter.
  absl::StatusOr<std::vector<StoredJobRow>> ReadRows(const std::string& which, uint64_t parameter)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    SQLite::Statement select(
        database_,
        "SELECT id, spec, COALESCE(idempotency_key, ''), created_unix_ms, final, staging, "
        "checksum FROM jobs " +
            which);
    if (select.getBindParameterCount() > 0) select.bind(1, Signed(parameter));
    std::vector<StoredJobRow> rows;
    while (select.executeStep()) {
      StoredJobRow& row = rows.emplace_back();
      row.job = {.id = static_cast<uint64_t>(select.getColumn(0).getInt64()),
                 .spec = Blob(select.getColumn(1)),
                 .idempotency_key = select.getColumn(2).getString(),
                 .created_unix_ms = select.getColumn(3).getInt64(),
                 .staging = Blob(select.getColumn(5))};
      row.final = select.getColumn(4).getInt() != 0;
      if (!Fits(select.getColumn(6), ChecksumOf(row.job))) {
        return Damaged(absl::StrCat("the row of job-", row.job.id, " is damaged"));
      }
    }
    return rows;
  }

  absl::StatusOr<std::vector<StoredJobRow>> ReadJobs() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    ESPALIER_ASSIGN_OR_RETURN(std::vector<StoredJobRow> rows, ReadRows("ORDER BY id", 0));
    for (StoredJobRow& row : rows) {
      ESPALIER_ASSIGN_OR_RETURN(row.last_event, LastEvent(row.job.id));
      if (row.final) continue;
      ESPALIER_ASSIGN_OR_RETURN(
          row.facts, Numbered("facts",
                              "SELECT number, fact, checksum FROM facts WHERE job = ? ORDER BY "
                              "number",
                              row.job.id));
    }
    return rows;
  }

  const FileLock lock_;
  const std::string file_;
  Mutex mutex_;
  CommitCounter counter_ ABSL_GUARDED_BY(mutex_);
  SQLite::Database database_ ABSL_GUARDED_BY(mutex_);
  uint64_t life_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<JobStore>> JobStore::Open(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) {
    return absl::PermissionDeniedError(
        absl::StrCat("cannot create ", folder.string(), ": ", error.message()));
  }
  absl::StatusOr<FileLock> lock = FileLock::Take(folder / "lock");
  if (!lock.ok()) {
    return absl::Status(lock.status().code(),
                        absl::StrCat("the state in ", folder.string(),
                                     " cannot be used: ", lock.status().message()));
  }
  const std::string file = folder / "coordinator.db";
  return Guarded(file, [&]() -> absl::StatusOr<std::unique_ptr<JobStore>> {
    auto store = std::make_unique<SqliteJobStore>(*std::move(lock), file);
    ESPALIER_RETURN_IF_ERROR(store->Prepare());
    return store;
  });
}

}  // namespace espalier
