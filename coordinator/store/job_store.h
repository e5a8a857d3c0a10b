// What a coordinator keeps on disk: jobs, their journals and their events, in one SQLite database.
//
// Format (schema version 2, PRAGMA user_version), docs/store.md:
//   jobs(id, spec, idempotency_key, created_unix_ms, final, staging)
//   facts(job, number, fact)    of unfinished jobs: coordinator/jobs/journal.h as messages
//   events(job, number, event)  espalier.v1.JobEvent, numbered from 1
//   answers(context, subnet, answer)  losses of candidates, for all jobs
//   contexts(id, context)       what those depend on
//   deleted(last_job)           the highest number that a deleted job had
//   commits(number)             transactions so far (commit_counter.h)
//   lives(life)                 one row for each start
// It holds bytes; what they mean is the caller's business.
//
// Rows carry checksums of their keys and bytes, since SQLite would not notice a bit that changed on
// the disk. Reading a row that does not fit its checksum (or a gap in the numbers) is DATA_LOSS; an
// answer that does not is left out. Rows of the first version have none.
//
// WAL with synchronous=FULL: what Commit reported as stored survives a dead process and a power
// failure. A second coordinator on the same folder is refused.
#ifndef ESPALIER_COORDINATOR_STORE_JOB_STORE_H_
#define ESPALIER_COORDINATOR_STORE_JOB_STORE_H_

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace espalier {

// One transaction, in this order.
struct StoreBatch {
  struct Job {
    uint64_t id = 0;
    std::string spec;             // YAML
    std::string idempotency_key;  // empty: none
    int64_t created_unix_ms = 0;
    std::string staging;  // the folder that the result is built in, to be removed after a crash
  };
  struct Fact {
    uint64_t job = 0;
    std::string bytes;
  };
  struct Event {
    uint64_t job = 0;
    uint64_t number = 0;
    std::string bytes;
    bool final = false;  // the job ended with it: its facts are not needed any more
  };
  struct Answer {
    std::string context;
    std::string subnet;
    std::string bytes;
  };
  std::vector<Job> jobs;
  std::vector<Fact> facts;
  std::vector<Event> events;
  std::vector<Answer> answers;    // one that is there already stays
  std::vector<uint64_t> deleted;  // jobs to be forgotten; last

  bool empty() const {
    return jobs.empty() && facts.empty() && events.empty() && answers.empty() && deleted.empty();
  }
};

struct StoredJobRow {
  StoreBatch::Job job;
  bool final = false;
  std::string last_event;          // bytes; empty: none
  std::vector<std::string> facts;  // in order; of unfinished jobs only
};

// Thread-safe.
class JobStore {
 public:
  // Opens or makes `folder`/coordinator.db, checks the file's structure, brings an older schema up
  // to date, begins a new life. FAILED_PRECONDITION when another coordinator has it or a newer
  // version wrote it; DATA_LOSS when it is damaged. Errors name the file.
  static absl::StatusOr<std::unique_ptr<JobStore>> Open(const std::filesystem::path& folder);
  virtual ~JobStore() = default;

  // All or nothing, on disk when it returns. RESOURCE_EXHAUSTED when the disk is full: nothing was
  // stored, and the same batch may be tried again.
  virtual absl::Status Commit(const StoreBatch& batch) = 0;

  // The result of this unfinished job is built in another folder now.
  virtual absl::Status SetStaging(uint64_t job, const std::string& staging) = 0;

  virtual absl::StatusOr<std::vector<StoredJobRow>> Jobs() = 0;  // by id
  // The bytes of a job's events, from number 1.
  virtual absl::StatusOr<std::vector<std::string>> Events(uint64_t job) = 0;

  // Everything that is stored for a context, as pairs of subnet and bytes.
  virtual absl::StatusOr<std::vector<std::pair<std::string, std::string>>> Answers(
      const std::string& context) = 0;
  // The highest number that any job ever had, deleted ones too; 0: none.
  virtual absl::StatusOr<uint64_t> LastJob() = 0;

  // How often the store was opened, this time included.
  virtual uint64_t life() const = 0;
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_STORE_JOB_STORE_H_
