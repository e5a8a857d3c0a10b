#include "coordinator/service/journal_messages.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "coordinator/service/messages.h"
#include "espalier/v1/journal.pb.h"

namespace espalier {
namespace {

void WriteKey(const WorkKey& key, v1::WorkKey* message) {
  // The order of Work's alternatives; loads are no facts.
  message->set_kind(static_cast<v1::WorkKey::Kind>(key.kind));
  message->set_index(key.index);
  message->set_first(key.first);
}

WorkKey KeyFromMessage(const v1::WorkKey& message) {
  return {.kind = static_cast<size_t>(message.kind()),
          .index = message.index(),
          .first = message.first()};
}
static_assert(
    std::is_same_v<std::variant_alternative_t<v1::WorkKey::KIND_CALIBRATE, Work>, CalibrateWork>);
static_assert(
    std::is_same_v<std::variant_alternative_t<v1::WorkKey::KIND_EVALUATE, Work>, EvaluateWork>);
static_assert(
    std::is_same_v<std::variant_alternative_t<v1::WorkKey::KIND_REFORM, Work>, ReformWork>);
static_assert(
    std::is_same_v<std::variant_alternative_t<v1::WorkKey::KIND_EXPORT, Work>, ExportWork>);

void Write(const TextsFixed& fact, v1::JournalEntry* entry) {
  v1::TextsFixed* message = entry->mutable_texts();
  message->set_calibration(fact.calibration);
  message->set_search(fact.search);
  message->set_eval(fact.eval);
  message->set_text(fact.text);
  message->set_eval_text(fact.eval_text);
}
void Write(const ModelFixed& fact, v1::JournalEntry* entry) {
  entry->mutable_model()->set_hash(fact.hash);
  entry->mutable_model()->set_worker(Utf8(fact.worker));
}
void Write(const WorkDone& fact, v1::JournalEntry* entry) {
  WriteKey(fact.key, entry->mutable_done()->mutable_key());
  WriteOutcome(fact.outcome, entry->mutable_done()->mutable_result());
  v1::TaskResult* result = entry->mutable_done()->mutable_result();
  result->set_seconds(fact.notes.seconds);
  result->set_preparation_seconds(fact.notes.preparation);
  for (const std::string& text : fact.notes.warnings) result->add_warnings(Utf8(text));
}
void Write(const WorkFailed& fact, v1::JournalEntry* entry) {
  WriteKey(fact.key, entry->mutable_failed()->mutable_key());
  entry->mutable_failed()->set_reason(Utf8(fact.reason));
}
void Write(const SizeWritten& fact, v1::JournalEntry* entry) {
  entry->mutable_size()->set_seconds(fact.seconds);
}

TextsFixed FromMessage(const v1::TextsFixed& message) {
  return {.calibration = message.calibration(),
          .search = message.search(),
          .eval = message.eval(),
          .text = message.text(),
          .eval_text = message.eval_text()};
}

// Beyond any clock, and so that no difference of two times overflows.
constexpr int64_t kLatestUnixMs = int64_t{1} << 53;

// As the brain counts. False for what is no time of a clock: the bytes are damaged.
bool ToBrainTime(int64_t at_unix_ms, int64_t unix_ms, TimeMs& time) {
  if (at_unix_ms < 0 || at_unix_ms > kLatestUnixMs) return false;
  time = at_unix_ms - unix_ms;
  return true;
}

absl::Status Damaged(uint64_t job, const std::string& what) {
  return absl::DataLossError(
      absl::StrCat("the store's ", what, " of job-", job, " cannot be read: the file is damaged"));
}

// The specification, and the last event, of any job.
struct Common {
  std::shared_ptr<const JobSpec> spec;
  v1::JobEvent last;
};

absl::StatusOr<Common> ReadCommon(const StoredJobRow& row) {
  Common common;
  const absl::StatusOr<JobSpec> spec = ParseJobSpec(row.job.spec, "specification");
  if (!spec.ok()) return Damaged(row.job.id, "specification");
  common.spec = std::make_shared<const JobSpec>(*spec);
  if (!common.last.ParseFromString(row.last_event)) return Damaged(row.job.id, "last event");
  return common;
}

}  // namespace

std::string JournalBytes(const JournalEntry& entry, int64_t unix_ms) {
  v1::JournalEntry message;
  message.set_unix_ms(unix_ms + entry.time);
  std::visit([&message](const auto& fact) { Write(fact, &message); }, entry.fact);
  return message.SerializeAsString();
}

std::string AnswerBytes(const EvaluateResult& answer) {
  v1::TaskResult message;
  WriteOutcome(answer, &message);
  return message.evaluate().SerializeAsString();
}

absl::StatusOr<EvaluateResult> AnswerFromBytes(const std::string& bytes) {
  v1::TaskResult message;
  if (!message.mutable_evaluate()->ParseFromString(bytes)) {
    return absl::DataLossError("a stored answer is damaged");
  }
  return std::get<EvaluateResult>(OutcomeFromMessage(message));
}

absl::StatusOr<JournalEntry> JournalFromBytes(const std::string& bytes, int64_t unix_ms) {
  v1::JournalEntry message;
  JournalEntry entry;
  if (!message.ParseFromString(bytes)) return absl::DataLossError("a journal entry is damaged");
  if (!ToBrainTime(message.unix_ms(), unix_ms, entry.time)) {
    return absl::DataLossError("a journal entry has an impossible time");
  }
  switch (message.fact_case()) {
    case v1::JournalEntry::kTexts:
      entry.fact = FromMessage(message.texts());
      return entry;
    case v1::JournalEntry::kModel:
      entry.fact = ModelFixed{.hash = message.model().hash(), .worker = message.model().worker()};
      return entry;
    case v1::JournalEntry::kDone:
      entry.fact = WorkDone{.key = KeyFromMessage(message.done().key()),
                            .outcome = OutcomeFromMessage(message.done().result()),
                            .notes = NotesFromMessage(message.done().result())};
      return entry;
    case v1::JournalEntry::kFailed:
      entry.fact = WorkFailed{.key = KeyFromMessage(message.failed().key()),
                              .reason = message.failed().reason()};
      return entry;
    case v1::JournalEntry::kSize:
      entry.fact = SizeWritten{.seconds = message.size().seconds()};
      return entry;
    case v1::JournalEntry::FACT_NOT_SET:
      break;
  }
  return absl::DataLossError(
      "a journal entry has no fact that this version knows: was it written by a newer one?");
}

absl::StatusOr<StoredJob> StoredJobFromRow(const StoredJobRow& row, int64_t unix_ms) {
  ESPALIER_ASSIGN_OR_RETURN(const Common common, ReadCommon(row));
  StoredJob job;
  job.id = row.job.id;
  job.spec = *common.spec;
  job.idempotency_key = row.job.idempotency_key;
  if (!ToBrainTime(row.job.created_unix_ms, unix_ms, job.created)) {
    return Damaged(row.job.id, "time of submission");
  }
  job.last_event = common.last.number();
  job.state = StateFromMessage(common.last.state());
  if (IsFinal(job.state)) return Damaged(row.job.id, "end");
  job.progress = ProgressFromMessage(common.last.progress());
  job.journal.reserve(row.facts.size());
  for (const std::string& bytes : row.facts) {
    absl::StatusOr<JournalEntry> entry = JournalFromBytes(bytes, unix_ms);
    if (!entry.ok()) return Damaged(row.job.id, "journal");
    job.journal.push_back(*std::move(entry));
  }
  return job;
}

absl::StatusOr<JobView> FinishedJobFromRow(const StoredJobRow& row, int64_t unix_ms) {
  ESPALIER_ASSIGN_OR_RETURN(const Common common, ReadCommon(row));
  JobView view;
  view.id = row.job.id;
  view.state = StateFromMessage(common.last.state());
  if (!IsFinal(view.state)) return Damaged(row.job.id, "end");
  view.progress = ProgressFromMessage(common.last.progress());
  view.error = common.last.error();
  for (const v1::Result& result : common.last.results()) {
    view.results.push_back(std::make_shared<const ResultView>(ResultFromMessage(result)));
  }
  if (!ToBrainTime(row.job.created_unix_ms, unix_ms, view.created) ||
      !ToBrainTime(common.last.unix_ms(), unix_ms, view.finished)) {
    return Damaged(row.job.id, "time of submission or end");
  }
  view.spec = common.spec;
  return view;
}

}  // namespace espalier
