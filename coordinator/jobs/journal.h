// What a job's course depends on, as it is kept across a restart of the coordinator.
//
// A job is a deterministic function of its specification and of these facts in their order:
// replayed, they bring it back to where it was, with the same candidates, population log and queue.
// Anything else (who works on what, leases, uploads in progress) begins anew.
#ifndef ESPALIER_COORDINATOR_JOBS_JOURNAL_H_
#define ESPALIER_COORDINATOR_JOBS_JOURNAL_H_

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "coordinator/jobs/types.h"

namespace espalier {

// The texts were read: hashes of the data sets and of the files. A job whose texts or tokenizer
// changed meanwhile cannot go on.
struct TextsFixed {
  std::string calibration;
  std::string search;
  std::string eval;
  std::string text;
  std::string eval_text;

  friend bool operator==(const TextsFixed&, const TextsFixed&) = default;
};

// The first worker loaded the model: its content is settled, calibration begins.
struct ModelFixed {
  std::string hash;
  std::string worker;  // for the message
};

// Names a piece of work among those that wait at a time.
struct WorkKey {
  size_t kind = 0;    // Work::index()
  int64_t index = 0;  // WorkItem::index
  int64_t first = 0;  // EvaluateWork::first

  friend bool operator==(const WorkKey&, const WorkKey&) = default;
};

// An answer was accepted.
struct WorkDone {
  WorkKey key;
  Outcome outcome;
  TaskNotes notes{};
};

// An attempt failed: an error, a malformed answer, or a worker lost.
struct WorkFailed {
  WorkKey key;
  std::string reason;
};

// Of a job with several sizes: the result of one that is not the last lies in its folder.
struct SizeWritten {
  double seconds = 0;  // that it took
};

using Fact = std::variant<TextsFixed, ModelFixed, WorkDone, WorkFailed, SizeWritten>;

struct JournalEntry {
  TimeMs time = 0;
  Fact fact;
};

// An unfinished job as it was stored.
struct StoredJob {
  JobId id = 0;
  JobSpec spec;  // as it was submitted
  std::string idempotency_key;
  TimeMs created = 0;
  // As its last event showed it.
  uint64_t last_event = 0;
  JobState state = JobState::kQueued;
  ProgressView progress;
  std::vector<JournalEntry> journal;
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_JOBS_JOURNAL_H_
