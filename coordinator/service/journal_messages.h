// The journal of a job as bytes for the store, and back.
#ifndef ESPALIER_COORDINATOR_SERVICE_JOURNAL_MESSAGES_H_
#define ESPALIER_COORDINATOR_SERVICE_JOURNAL_MESSAGES_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "coordinator/jobs/journal.h"
#include "coordinator/store/job_store.h"
#include "espalier/v1/jobs.pb.h"

namespace espalier {

// `unix_ms` is the wall-clock time of the brain's time 0, here and below.
std::string JournalBytes(const JournalEntry& entry, int64_t unix_ms);
// DATA_LOSS for bytes that are no entry.
absl::StatusOr<JournalEntry> JournalFromBytes(const std::string& bytes, int64_t unix_ms);

// A candidate's losses.
std::string AnswerBytes(const EvaluateResult& answer);
absl::StatusOr<EvaluateResult> AnswerFromBytes(const std::string& bytes);

// An unfinished job, and one that ended, from what the store has of it.
absl::StatusOr<StoredJob> StoredJobFromRow(const StoredJobRow& row, int64_t unix_ms);
absl::StatusOr<JobView> FinishedJobFromRow(const StoredJobRow& row, int64_t unix_ms);

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_SERVICE_JOURNAL_MESSAGES_H_
